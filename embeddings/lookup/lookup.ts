import { type KeyValueStore, type ReadValues, storeKeyBytesMax } from '../stores/store.ts';
import { envelopeBytes, writtenMsOf } from '../stores/stored-value.ts';
import { ColdFills } from './cold-fills.ts';
import { type HedgeAllowance, hedgeDefaults } from './hedging.ts';
import { type LookupLimits, lookupDefaults, tickMs } from './lookup-limits.ts';
import { LookupRun, ShardCall } from './lookup-run.ts';
import { type LookupStatus, copyStatus, tableStatus } from './lookup-status.ts';
import { type LookupTable, type LookupTicket, outcomeNumbers, sourceNumbers, unknownAge } from './lookup-table.ts';
import { ShardCaller } from './shard-caller.ts';
import { StoreCopies } from './store-copies.ts';
import { StoreState, TableState, conditionNumbers } from './table-state.ts';
import { ValueCache } from './value-cache.ts';

export type LookupOptions = {
  /** At most 256; a ticket speaks of them by their place here. */
  readonly tables: readonly LookupTable[];
  /** Epoch ms that never go back, with fractions. */
  readonly now: () => number;
  readonly limits?: Partial<LookupLimits>;
  readonly hedge?: Partial<HedgeAllowance>;
  /** Told what should not happen: a `done` that throws, a store that breaks its contract. Whatever it is, other lookups go on. */
  readonly onError?: (error: unknown) => void;
  /** Mixed into the hashes of the thread's cache, so that nobody outside knows which keys meet. */
  readonly seed?: number;
};

type Done = (ticket: LookupTicket) => void;

/** A tick later than this was kept waiting by our own loop. */
const stallMsMin = 2;

/**
 * All keys of a request in one go: the thread's own cache first, then one `read` per shard, all stores side by side. What has not
 * arrived at the cut-off is `late`; it still fills the cache when it comes. One per serving thread; it never throws and never waits
 * for more than one round trip.
 */
export class Lookup {
  readonly #now: () => number;
  readonly #limits: LookupLimits;
  readonly #onError: (error: unknown) => void;
  readonly #tables: readonly TableState[];
  readonly #cache: ValueCache;
  readonly #copies: StoreCopies;
  readonly #caller: ShardCaller;
  readonly #cold: ColdFills;
  readonly #runs: LookupRun[] = [];
  readonly #freeRuns: LookupRun[] = [];
  readonly #freeCalls: ShardCall[] = [];
  /** One timer for everything that is pending; refreshed, never made again. */
  #timer: NodeJS.Timeout | undefined;
  #isArmed = false;
  #armedMs = 0;
  #stalledMs = 0;
  #isClosed = false;
  #isStopped = false;
  #idle: (() => void) | undefined;

  constructor({ tables, now, limits, hedge, onError = rethrow, seed = 0 }: LookupOptions) {
    if (tables.length > 256) throw new RangeError(`${tables.length} tables: a ticket counts to 256`);
    this.#now = now;
    this.#limits = { ...lookupDefaults, ...limits };
    this.#onError = onError;
    const stores = new Map<KeyValueStore, StoreState>();
    this.#tables = tables.map((table, index) => {
      const storeState = stores.get(table.store) ?? new StoreState(table.store);
      stores.set(table.store, storeState);
      return new TableState(index, table, storeState);
    });
    const allowance = { ...hedgeDefaults, ...hedge };
    this.#cache = new ValueCache(this.#limits.cacheEntriesMax, this.#limits.cacheBytesMax, seed);
    this.#copies = new StoreCopies(this.#limits, allowance);
    const owner = { answered: this.#answered, gaveUp: this.#gaveUp, settled: this.#settled };
    this.#caller = new ShardCaller(owner, this.#copies, this.#limits, allowance, now, onError);
    this.#cold = new ColdFills(this.#limits, this.#copies, now, this.#coldFound, onError, this.#tellIfIdle);
  }

  /**
   * True: everything was in the process, the ticket is complete and `done` is not called. False: `done(ticket)` is called exactly
   * once, later, within a millisecond or two of `cutoffMs` (epoch ms) at the latest. Keys are copied: they may change once this returns.
   */
  begin(ticket: LookupTicket, cutoffMs: number, done: Done): boolean {
    const nowMs = this.#now();
    const run = this.#freeRuns.pop() ?? new LookupRun();
    run.ticket = ticket;
    run.done = done;
    run.cutoffMs = cutoffMs;
    for (let place = 0; place < ticket.count; place++) {
      try {
        this.#place(run, place, nowMs);
      } catch (error) {
        // A store that cannot even say where a key lies: the others' calls must not be left half made.
        this.#refuse(ticket, place);
        this.#onError(error);
      }
    }
    const { calls } = run;
    run.waiting = calls.length;
    // Every shard has its call before any is sent; a store in the process answers while it is sent.
    for (let index = 0; index < calls.length; index++) {
      const call = calls[index]!;
      this.#tables[call.tables[0]!]!.storeState.open[call.shard] = undefined;
    }
    for (let index = 0; index < calls.length; index++) this.#caller.send(calls[index]!, nowMs);
    if (run.waiting === 0) {
      this.#release(run);
      return true;
    }
    run.index = this.#runs.length;
    this.#runs.push(run);
    this.#arm(nowMs);
    return false;
  }

  /** Drops what this thread keeps under a key, and what is being read of it right now will not be kept either. */
  invalidate(table: number, key: Buffer): void {
    const state = this.#tables[table];
    if (state === undefined) return;
    const hash = this.#cache.hashOf(table, key);
    state.invalidate(hash);
    this.#cache.drop(table, hash, key);
  }

  invalidateTable(table: number): void {
    const state = this.#tables[table];
    if (state === undefined) return;
    state.invalidateAll();
    this.#cache.dropTable(table);
  }

  status(): LookupStatus {
    const { budget } = this.#caller;
    return {
      tables: this.#tables.map(tableStatus),
      copies: [...this.#copies.all()].map(copyStatus),
      cache: { entries: this.#cache.entries, bytes: this.#cache.bytes, evicted: this.#cache.evicted },
      pending: {
        lookups: this.#runs.length,
        calls: this.#caller.pendingCount,
        coldKeys: this.#cold.pendingCount,
      },
      hedging: { firstCalls: budget.firstCalls, extraCalls: budget.extraCalls, refused: budget.refused },
      stalledMs: this.#stalledMs,
    };
  }

  /**
   * Hands over every open ticket as it is and waits for the stores to settle what was asked of them, so close those first or at the
   * same time. Afterwards every key asked for is `failed`.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cold.close();
    while (this.#runs.length > 0) this.#finish(this.#runs.at(-1)!);
    if (this.#caller.pendingCount > 0 || this.#cold.pendingCount > 0) {
      await new Promise<void>((resolve) => {
        const limit = setTimeout(resolve, this.#limits.closeWaitMs);
        this.#idle = () => {
          clearTimeout(limit);
          resolve();
        };
      });
    }
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#cache.clear();
  }

  /** Answers one key from the cache, or puts it into the call of its shard. */
  #place(run: LookupRun, place: number, nowMs: number): void {
    const { ticket } = run;
    const table = ticket.tables[place]!;
    const key = ticket.keys[place]!;
    const state = this.#tables[table];
    if (state === undefined || this.#isClosed || state.prefix.length + key.length > storeKeyBytesMax) {
      this.#refuse(ticket, place);
      return;
    }
    let hash = 0;
    if (state.isCached) {
      hash = this.#cache.hashOf(table, key);
      const slot = this.#cache.find(table, hash, key, nowMs);
      if (slot >= 0) {
        const value = this.#cache.valueAt(slot);
        const outcome = value === undefined ? outcomeNumbers.absent : outcomeNumbers.found;
        write(state, ticket, place, value, outcome, sourceNumbers.process, ageOf(this.#cache.writtenMsAt(slot), nowMs));
        return;
      }
    } else if (state.table.cold !== undefined) hash = this.#cache.hashOf(table, key);
    const bytes = state.storeKey(key);
    const { store, open } = state.storeState;
    const shard = store.shardCount === 1 ? 0 : store.shardOf(bytes);
    let call = open[shard];
    if (call === undefined) {
      call = this.#freeCalls.pop() ?? new ShardCall();
      call.store = store;
      call.shard = shard;
      call.run = run;
      call.isResolved = false;
      call.attempts = 0;
      call.asked = undefined;
      call.askedIndex = -1;
      call.isRefused = false;
      open[shard] = call;
      run.calls.push(call);
    }
    call.add(table, place, bytes, hash, state.generationOf(hash));
  }

  #refuse(ticket: LookupTicket, place: number): void {
    const state = this.#tables[ticket.tables[place]!];
    if (state === undefined) ticket.outcomes[place] = outcomeNumbers.failed;
    else write(state, ticket, place, undefined, outcomeNumbers.failed, sourceNumbers.none, unknownAge);
  }

  readonly #answered = (call: ShardCall, values: ReadValues, isHedge: boolean, nowMs: number): void => {
    const source = isHedge ? sourceNumbers.hedge : sourceNumbers.store;
    const { keys } = call;
    for (let index = 0; index < keys.length; index++) {
      const state = this.#tables[call.tables[index]!]!;
      this.#take(call, index, state, values[index], source, nowMs);
    }
    this.#countDown(call.run);
    this.#cold.send();
  };

  #take(
    call: ShardCall,
    index: number,
    state: TableState,
    bytes: Buffer | undefined,
    source: number,
    nowMs: number,
  ): void {
    let outcome: number = outcomeNumbers.absent;
    let isForeign = false;
    let payload: Buffer | undefined;
    let writtenMs = unknownAge;
    if (bytes !== undefined) {
      const condition = state.judge(bytes);
      if (condition === 'VALID') {
        outcome = outcomeNumbers.found;
        payload = state.hasEnvelope ? bytes.subarray(envelopeBytes) : bytes;
        if (state.hasEnvelope) writtenMs = writtenMsOf(bytes);
      } else if (condition !== 'KNOWN_ABSENT') {
        outcome = outcomeNumbers.invalid;
        isForeign = condition === 'VERSION_WRONG';
        state.conditions[conditionNumbers[condition]]! += 1;
      }
    }
    const { run } = call;
    if (run === undefined) state.lateAnswers += 1;
    else write(state, run.ticket, call.places[index]!, payload, outcome, source, ageOf(writtenMs, nowMs));
    if (state.isCached && outcome !== outcomeNumbers.invalid) {
      this.#keep(state, call.hashes[index]!, call.generations[index]!, call.keys[index]!, payload, writtenMs, nowMs);
    }
    // What nobody can read is missing in the warm store, too.
    const isMissing = outcome === outcomeNumbers.invalid || bytes === undefined;
    if (isMissing && state.table.cold !== undefined) {
      this.#cold.want(state, call.keys[index]!, call.hashes[index]!, call.generations[index]!, isForeign);
    }
  }

  /** Keeps a value for this thread, unless its key was invalidated since it was asked for. `key` begins with the table's prefix. */
  #keep(
    state: TableState,
    hash: number,
    generation: number,
    key: Buffer,
    payload: Buffer | undefined,
    writtenMs: number,
    nowMs: number,
  ): void {
    const keepMs = payload === undefined ? state.table.absentCacheMs : state.table.cacheMs;
    if (state.generationOf(hash) !== generation || this.#isClosed) return;
    if (!(keepMs > 0)) {
      // What is no longer there must not come back when the store fails.
      this.#cache.drop(state.index, hash, key, state.prefix.length);
      return;
    }
    const goneMs = nowMs + (payload === undefined ? keepMs : Math.max(keepMs, state.table.staleMs));
    this.#cache.put(state.index, hash, key, state.prefix.length, payload, writtenMs, nowMs + keepMs, goneMs);
  }

  readonly #coldFound = (
    cold: { state: TableState; key: Buffer; hash: number; generation: number },
    bytes: Buffer | undefined,
    nowMs: number,
  ): void => {
    const { state, key, hash, generation } = cold;
    const payload = bytes?.subarray(envelopeBytes);
    this.#keep(state, hash, generation, key, payload, bytes === undefined ? unknownAge : writtenMsOf(bytes), nowMs);
  };

  readonly #gaveUp = (call: ShardCall): void => {
    this.#writeAll(call, outcomeNumbers.failed);
    this.#countDown(call.run);
  };

  readonly #settled = (call: ShardCall): void => {
    const { keys, tables } = call;
    for (let index = 0; index < keys.length; index++) this.#tables[tables[index]!]!.freeKey(keys[index]!);
    keys.length = 0;
    call.run = undefined;
    this.#freeCalls.push(call);
    this.#tellIfIdle();
  };

  readonly #tellIfIdle = (): void => {
    if (this.#idle !== undefined && this.#caller.pendingCount === 0 && this.#cold.pendingCount === 0) this.#idle();
  };

  /** Writes to all places of a call that is still waited for: an older value where the thread keeps one, else an outcome without values. */
  #writeAll(call: ShardCall, outcome: number): void {
    const { run, keys } = call;
    if (run === undefined) return;
    const nowMs = this.#now();
    for (let index = 0; index < keys.length; index++) {
      const state = this.#tables[call.tables[index]!]!;
      const slot = this.#staleSlot(state, call.hashes[index]!, keys[index]!, nowMs);
      const value = slot < 0 ? undefined : this.#cache.valueAt(slot);
      const place = call.places[index]!;
      if (value === undefined) {
        write(state, run.ticket, place, undefined, outcome, sourceNumbers.none, unknownAge);
      } else {
        state.staleFound += 1;
        const ageMs = ageOf(this.#cache.writtenMsAt(slot), nowMs);
        write(state, run.ticket, place, value, outcomeNumbers.found, sourceNumbers.process, ageMs);
      }
    }
  }

  /** `key` begins with the table's prefix. */
  #staleSlot({ table, isCached, index, prefix }: TableState, hash: number, key: Buffer, nowMs: number): number {
    return isCached && table.staleMs > 0 ? this.#cache.findStale(index, hash, key, prefix.length, nowMs) : -1;
  }

  #countDown(run: LookupRun | undefined): void {
    if (run === undefined) return;
    run.waiting -= 1;
    if (run.waiting === 0 && run.index >= 0) this.#finish(run);
  }

  /** Hands the ticket over; calls still under way are the caches' from now on. */
  #finish(run: LookupRun): void {
    const last = this.#runs.at(-1)!;
    this.#runs[run.index] = last;
    last.index = run.index;
    this.#runs.pop();
    for (const call of run.calls) {
      if (call.run === run && !call.isResolved) this.#writeAll(call, outcomeNumbers.late);
    }
    const { ticket } = run;
    const done = run.done!;
    this.#release(run);
    try {
      done(ticket);
    } catch (error) {
      this.#onError(error);
    }
  }

  #release(run: LookupRun): void {
    for (const call of run.calls) if (call.run === run) call.run = undefined;
    run.calls.length = 0;
    run.done = undefined;
    run.index = -1;
    this.#freeRuns.push(run);
  }

  #arm(nowMs: number): void {
    if (this.#isArmed || this.#isStopped) return;
    this.#isArmed = true;
    this.#armedMs = nowMs;
    if (this.#timer === undefined) this.#timer = setTimeout(this.#tick, tickMs);
    else this.#timer.refresh();
  }

  /** Sockets are read between a timer and an immediate: what has arrived meanwhile must not be called late. */
  readonly #tick = (): void => {
    if (this.#runs.length === 0 && this.#caller.pendingCount === 0) this.#isArmed = false;
    else setImmediate(this.#sweep);
  };

  readonly #sweep = (): void => {
    const nowMs = this.#now();
    const lateMs = nowMs - this.#armedMs - tickMs;
    const stalledMs = lateMs > stallMsMin ? lateMs : 0;
    this.#stalledMs += stalledMs;
    for (let index = this.#runs.length - 1; index >= 0; index--) {
      const run = this.#runs[index];
      // Half a tick early is nearer to the cut-off than half a tick late.
      if (run !== undefined && nowMs + tickMs / 2 >= run.cutoffMs) this.#finish(run);
    }
    this.#caller.sweep(nowMs, stalledMs);
    this.#isArmed = false;
    if (this.#runs.length > 0 || this.#caller.pendingCount > 0) this.#arm(nowMs);
  };
}

function write(
  state: TableState,
  ticket: LookupTicket,
  place: number,
  value: Buffer | undefined,
  outcome: number,
  source: number,
  ageMs: number,
): void {
  ticket.values[place] = value;
  ticket.outcomes[place] = outcome;
  ticket.sources[place] = source;
  ticket.ageMs[place] = ageMs;
  state.outcomes[outcome]! += 1;
  state.sources[source]! += 1;
}

/** A clock of another machine may be ahead of ours: nothing is younger than now. */
function ageOf(writtenMs: number, nowMs: number): number {
  return writtenMs < 0 ? unknownAge : Math.max(0, nowMs - writtenMs);
}

/** Without somebody to tell, it is told to the process. */
function rethrow(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
