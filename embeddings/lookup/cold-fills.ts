import { type KeyValueStore, type ReadValues, type StoreEntry } from '../stores/store.ts';
import { StoreError } from '../stores/store-errors.ts';
import { storedAbsence } from '../stores/stored-value.ts';
import { noPass } from './breaker.ts';
import type { LookupLimits } from './lookup-limits.ts';
import type { StoreCopies, StoreCopy } from './store-copies.ts';
import type { TableState } from './table-state.ts';

/** A key that the warm store does not have, on its way to the cold one. */
export type ColdKey = {
  readonly state: TableState;
  /** With the table's prefix; nobody else's buffer. */
  readonly key: Buffer;
  readonly hash: number;
  /** Of the key's stripe when it was found missing: an invalidation since then makes the answer worthless. */
  readonly generation: number;
  /** The warm store has a value of another version: whoever reads that one shall find it, so nothing is written over it. */
  readonly isForeign: boolean;
};

/** Told what the cold store has (undefined: nothing), so that the thread keeps it. `bytes` is a stored value. */
export type ColdAnswer = (cold: ColdKey, bytes: Buffer | undefined, nowMs: number) => void;

/**
 * Asks cold stores for what warm ones do not have, behind the requests' backs: each key once at a time, in batches by shard, with a
 * bound on keys and calls. What is found goes into the warm store for a while, and so does the knowledge that nothing was; what
 * other versions wrote is left alone in both stores.
 */
export class ColdFills {
  readonly #limits: LookupLimits;
  readonly #copies: StoreCopies;
  readonly #now: () => number;
  readonly #found: ColdAnswer;
  readonly #onError: (error: unknown) => void;
  readonly #onIdle: () => void;
  /** Everything asked and not yet written, by table and key; those in `#waiting` have no call yet. */
  readonly #known = new Set<string>();
  readonly #waiting = new Map<string, ColdKey>();
  #inFlight = 0;
  #isClosed = false;

  constructor(
    limits: LookupLimits,
    copies: StoreCopies,
    now: () => number,
    found: ColdAnswer,
    onError: (error: unknown) => void,
    onIdle: () => void,
  ) {
    this.#limits = limits;
    this.#copies = copies;
    this.#now = now;
    this.#found = found;
    this.#onError = onError;
    this.#onIdle = onIdle;
  }

  get pendingCount(): number {
    return this.#known.size;
  }

  /** Remembers a key to ask for; `send` sends. `key` is copied. */
  want(state: TableState, key: Buffer, hash: number, generation: number, isForeign: boolean): void {
    if (this.#isClosed) return;
    const name = nameOf(state, key);
    if (this.#known.has(name)) return;
    if (this.#known.size >= this.#limits.coldKeysMax) {
      state.coldDropped += 1;
      return;
    }
    state.coldAsked += 1;
    this.#known.add(name);
    this.#waiting.set(name, { state, key: Buffer.from(key), hash, generation, isForeign });
  }

  send(): void {
    while (this.#waiting.size > 0 && this.#inFlight < this.#limits.coldCallsInFlightMax) this.#sendOne();
  }

  /** What waits is forgotten; what is under way ends with its stores. */
  close(): void {
    this.#isClosed = true;
    for (const name of this.#waiting.keys()) this.#known.delete(name);
    this.#waiting.clear();
  }

  #sendOne(): void {
    let store: KeyValueStore | undefined;
    let shard = 0;
    const batch: ColdKey[] = [];
    for (const [name, cold] of this.#waiting) {
      const itsStore = cold.state.table.cold!.store;
      const itsShard = this.#shardOf(itsStore, cold);
      if (itsShard < 0) {
        this.#waiting.delete(name);
        this.#known.delete(name);
        continue;
      }
      if (store === undefined) {
        store = itsStore;
        shard = itsShard;
      }
      if (itsStore !== store || itsShard !== shard) continue;
      batch.push(cold);
      this.#waiting.delete(name);
      if (batch.length >= this.#limits.coldBatchKeysMax) break;
    }
    if (store === undefined) return;
    this.#inFlight += 1;
    this.#fill(store, shard, batch)
      .catch(this.#onError)
      .finally(() => {
        this.#inFlight -= 1;
        for (const { state, key } of batch) this.#known.delete(nameOf(state, key));
        this.send();
        if (this.#known.size === 0) this.#onIdle();
      })
      .catch(this.#onError);
  }

  /** −1 where a store cannot even say where a key lies: the keys behind it must not wait for that. */
  #shardOf(store: KeyValueStore, { state, key }: ColdKey): number {
    try {
      return store.shardOf(key);
    } catch (error) {
      state.coldFailed += 1;
      this.#onError(error);
      return -1;
    }
  }

  async #fill(store: KeyValueStore, shard: number, batch: readonly ColdKey[]): Promise<void> {
    const values = await this.#read(store, shard, batch);
    if (values === undefined) {
      for (const { state } of batch) state.coldFailed += 1;
      return;
    }
    const nowMs = this.#now();
    const writes = new Map<TableState, StoreEntry[]>();
    for (const [index, cold] of batch.entries()) {
      const { state, hash, generation, key, isForeign } = cold;
      // Somebody wrote it meanwhile: what the cold store said is older.
      if (state.generationOf(hash) !== generation) continue;
      const bytes = values[index];
      const condition = bytes === undefined ? 'KNOWN_ABSENT' : state.judge(bytes);
      const isFound = condition === 'VALID';
      if (isFound) state.coldFound += 1;
      else if (condition === 'KNOWN_ABSENT') state.coldAbsent += 1;
      else state.coldInvalid += 1;
      this.#found(cold, isFound ? bytes : undefined, nowMs);
      // Nothing that this version can read is not nothing: only this thread goes by it.
      if (isForeign || !(isFound || condition === 'KNOWN_ABSENT')) continue;
      const { warmMs, absentMs } = state.table.cold!;
      const entry = isFound
        ? { key, value: bytes!, ttlMs: warmMs }
        : { key, value: storedAbsence(state.version, nowMs), ttlMs: absentMs };
      const entries = writes.get(state);
      if (entries === undefined) writes.set(state, [entry]);
      else entries.push(entry);
    }
    await Promise.all([...writes].map(([state, entries]) => this.#write(state, entries)));
  }

  async #read(store: KeyValueStore, shard: number, batch: readonly ColdKey[]): Promise<ReadValues | undefined> {
    const copy = this.#copies.copyOf(store, shard, 0);
    const startedMs = this.#now();
    const pass = this.#enter(copy, startedMs);
    if (pass === noPass) return undefined;
    copy.inFlight += 1;
    copy.calls += 1;
    copy.usedMs = startedMs;
    try {
      const values = await store.read(
        shard,
        0,
        batch.map(({ key }) => key),
      );
      const nowMs = this.#now();
      copy.answered(nowMs - startedMs, nowMs);
      if (values.length !== batch.length) throw new StoreError('STORE_FAULTY', `${batch.length} keys, other values.`);
      copy.breaker.succeeded(pass, nowMs);
      return values;
    } catch (error) {
      copy.failures += 1;
      copy.breaker.failed(pass, this.#now());
      if (!(error instanceof StoreError)) this.#onError(error);
      return undefined;
    } finally {
      copy.inFlight -= 1;
    }
  }

  #enter(copy: StoreCopy, nowMs: number): number {
    if (copy.inFlight >= this.#limits.callsInFlightMax) {
      copy.busy += 1;
      return noPass;
    }
    const pass = copy.breaker.enter(nowMs);
    if (pass === noPass) copy.broken += 1;
    return pass;
  }

  async #write(state: TableState, entries: readonly StoreEntry[]): Promise<void> {
    try {
      await state.table.store.write(entries);
    } catch (error) {
      state.warmWriteFailed += entries.length;
      if (!(error instanceof StoreError)) this.#onError(error);
    }
  }
}

function nameOf(state: TableState, key: Buffer): string {
  return `${state.index}:${key.toString('latin1')}`;
}
