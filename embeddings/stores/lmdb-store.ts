import { LRUCache } from 'lru-cache';
import { settledWithin } from '../settled-within.ts';
import { rememberClosed } from './lmdb-file.ts';
import { expiryOfWrapped, type LmdbFolder, valueOfWrapped } from './lmdb-folder.ts';
import { type LmdbOperation, packed, unpacked } from './lmdb-operations.ts';
import { LmdbOpening, type LmdbOpeningMode } from './lmdb-opening.ts';
import { LmdbWriter } from './lmdb-writer.ts';
import { StoreError } from './store-errors.ts';
import { checkAppend, checkEntries, checkKeys } from './store-limits.ts';
import { type AppendingStore, type OrderedStore, type ReadValues, type StoreEntry, storeKeyBytesMax } from './store.ts';

export type LmdbStoreOptions = {
  /** The folder that holds `data.mdb`; made where it is missing. */
  readonly path: string;
  /** Epoch ms. */
  readonly now: () => number;
  /** Live entries on the disk; beyond it writes are refused. The file grows to about 1.5 times that. Default 4 GiB. */
  readonly bytesMax?: number;
  /** Values that this thread keeps in memory. Default 32 MiB; 0: none. */
  readonly memoryBytesMax?: number;
  /** One of the threads and processes that share a folder takes out what has expired; the others say false. Default true. */
  readonly sweeps?: boolean;
  /** Default `after-walk`. */
  readonly opening?: LmdbOpeningMode;
  readonly limits?: Partial<LmdbLimits>;
};

export type LmdbLimits = {
  /** A read that the disk holds up is rejected after this long. */
  readonly readMsMax: number;
  /** Reads that may wait for the disk at once; more are STORE_BUSY. */
  readonly readCountMax: number;
  readonly writeMsMax: number;
  readonly writeCountMax: number;
  /** What the disk or another process's lock holds up for longer is not waited for when the store is closed; it ends when it can. */
  readonly closeMsMax: number;
  /** A folder that could not be opened is tried again after this long, or ten times as long as the attempt took. */
  readonly reopenMs: number;
  /**
   * A value in memory that is older than this is looked up again behind the answer that it still gives: another process may have
   * written it. Threads of one process know at once.
   */
  readonly memoryMsMax: number;
  /** One older than this gives no answer any more. */
  readonly staleMsMax: number;
  /** Keys that wait to be looked up again; beyond it the next answer is as old as this one. */
  readonly refreshCountMax: number;
};

const defaultLimits: LmdbLimits = {
  readMsMax: 1000,
  readCountMax: 512,
  writeMsMax: 10_000,
  writeCountMax: 20_000,
  closeMsMax: 3000,
  reopenMs: 5000,
  memoryMsMax: 1000,
  staleMsMax: 3_600_000,
  refreshCountMax: 8192,
};
/** Beside its bytes: objects, a string of the key, places in the cache's arrays. */
const memoryEntryBytes = 140;
const scanStep = 256;

type Remembered = {
  /** Undefined: the folder has nothing under this key. */
  readonly value: Buffer | undefined;
  readonly expiresMs: number;
  readonly generation: number;
  /** When it was looked up, or last asked to be. */
  readMs: number;
};

type Waiting = {
  readonly keys: readonly Buffer[];
  readonly values: (Buffer | undefined)[];
  /** Places of the keys that memory did not have. */
  readonly places: readonly number[];
  readonly resolve: (values: ReadValues) => void;
  readonly reject: (error: StoreError) => void;
  readonly dueMs: number;
  settled: boolean;
};

/**
 * A folder on this machine: the default for every tier. Values that were used lately are answered from memory, without a promise; for the
 * rest lmdb's pages are first touched off the event loop and then read. A thread of its own writes, scans and sweeps. Threads of one
 * process see each other's writes once these have resolved; what another process wrote is seen by the second read that comes
 * `memoryMsMax` after the last look.
 */
export class LmdbStore implements AppendingStore, OrderedStore {
  readonly kind = 'lmdb';
  readonly shardCount = 1;
  readonly #path: string;
  readonly #now: () => number;
  readonly #limits: LmdbLimits;
  readonly #memory: LRUCache<string, Remembered> | undefined;
  readonly #writer: LmdbWriter;
  readonly #opening: LmdbOpening;
  #waiting: Waiting[] = [];
  #refreshKeys: Buffer[] = [];
  #isRefreshing = false;
  readonly #touching = new Set<Promise<void>>();
  #reading: readonly Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor({
    path,
    now,
    bytesMax = 2 ** 32,
    memoryBytesMax = 32 << 20,
    sweeps = true,
    opening = 'after-walk',
    limits = {},
  }: LmdbStoreOptions) {
    this.#path = path;
    this.#now = now;
    this.#limits = { ...defaultLimits, ...limits };
    if (memoryBytesMax > 0)
      this.#memory = new LRUCache({
        max: Math.max(16, Math.ceil(memoryBytesMax / 256)),
        maxSize: memoryBytesMax,
        sizeCalculation: ({ value }, key) => (value?.length ?? 0) + key.length + memoryEntryBytes,
      });
    this.#writer = new LmdbWriter(
      { path, bytesMax, sweeps },
      { waitMsMax: this.#limits.writeMsMax, callCountMax: this.#limits.writeCountMax },
    );
    this.#opening = new LmdbOpening(path, this.#limits.reopenMs, () => {
      if (sweeps) this.#writer.start();
    });
    this.#opening.attempt(opening);
  }

  shardOf(): number {
    return 0;
  }

  copyCount(): number {
    return 1;
  }

  copyName(): string {
    return this.#path;
  }

  read(_shard: number, _copy: number, keys: readonly Buffer[]): ReadValues | Promise<ReadValues> {
    const folder = this.#opened();
    const nowMs = this.#now();
    const values: (Buffer | undefined)[] = [];
    let places: number[] | undefined;
    for (let place = 0; place < keys.length; place++) {
      const key = keys[place]!;
      const remembered = this.#memory?.get(key.toString('latin1'));
      values.push(remembered?.value);
      if (remembered !== undefined && folder.generationOf(key) === remembered.generation) {
        const ageMs = nowMs - remembered.readMs;
        if (ageMs >= 0 && ageMs < this.#limits.staleMsMax) {
          if (remembered.expiresMs <= nowMs) values[place] = undefined;
          if (ageMs >= this.#limits.memoryMsMax) this.#lookAgain(key, remembered, nowMs);
          continue;
        }
      }
      values[place] = undefined;
      if (key.length > 0 && key.length <= storeKeyBytesMax) (places ??= []).push(place);
    }
    return places === undefined ? values : this.#readLater(keys, values, places);
  }

  async write(entries: readonly StoreEntry[]): Promise<void> {
    this.#opened();
    checkEntries(entries);
    const nowMs = this.#now();
    await this.#carryOut(
      entries.map(({ key, value, ttlMs }) => ({
        kind: 'put',
        key,
        value,
        expiresMs: ttlMs === undefined ? Infinity : nowMs + ttlMs,
      })),
      nowMs,
    );
  }

  async remove(keys: readonly Buffer[]): Promise<void> {
    this.#opened();
    checkKeys(keys);
    await this.#carryOut(
      keys.map((key) => ({ kind: 'remove', key })),
      this.#now(),
    );
  }

  async append(key: Buffer, record: Buffer, countMax: number, ttlMs: number): Promise<void> {
    this.#opened();
    checkAppend(key, record, countMax);
    const nowMs = this.#now();
    await this.#carryOut([{ kind: 'append', key, value: record, expiresMs: nowMs + ttlMs, countMax }], nowMs);
  }

  /** Read by the writing thread, 256 entries at a step; what is written meanwhile may be among them or not. */
  async *scan(prefix: Buffer, limit: number): AsyncIterable<StoreEntry> {
    let from: Buffer = Buffer.from(prefix);
    let left = limit;
    while (left > 0) {
      this.#opened();
      const nowMs = this.#now();
      const step = Math.min(left, scanStep);
      const answer = await this.#writer.call({ kind: 'scan', nowMs, from, prefix, limit: step });
      if (answer.kind !== 'found') return;
      for (const operation of unpacked(Buffer.from(answer.operations.buffer))) {
        if (operation.kind !== 'put') continue;
        const { key, value, expiresMs } = operation;
        from = Buffer.concat([key, Buffer.from([0])]);
        yield expiresMs === Infinity ? { key, value } : { key, value, ttlMs: Math.max(1, expiresMs - nowMs) };
      }
      left -= answer.count;
      if (answer.count < step) return;
    }
  }

  async ready(): Promise<void> {
    this.#refuseIfClosed();
    if (this.#opening.folder === undefined) this.#opening.attempt('after-walk');
    this.#opened();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#opening.end();
    const closed = new StoreError('STORE_CLOSED');
    for (const each of [...this.#reading, ...this.#waiting]) reject(each, closed);
    this.#waiting = [];
    clearTimeout(this.#timer);
    this.#memory?.clear();
    if (!(await settledWithin(this.#end(), this.#limits.closeMsMax))) this.#writer.abandon();
  }

  /**
   * In this order: a folder that is closed under a prefetch may hang its thread; and whoever closes it as the last of a process waits for
   * the disk, which is the writing thread's to do.
   */
  async #end(): Promise<void> {
    await Promise.all(this.#touching);
    const { folder } = this.#opening;
    await folder?.close();
    await this.#writer.close();
    if (folder !== undefined) rememberClosed(this.#path);
  }

  #opened(): LmdbFolder {
    this.#refuseIfClosed();
    const { folder } = this.#opening;
    if (folder === undefined) throw this.#opening.fault;
    return folder;
  }

  #refuseIfClosed(): void {
    if (this.#closing !== undefined) throw new StoreError('STORE_CLOSED');
  }

  async #carryOut(operations: readonly LmdbOperation[], nowMs: number): Promise<void> {
    if (operations.length === 0) return;
    const bytes = packed(operations);
    await this.#writer.call({ kind: 'write', nowMs, operations: bytes }, [bytes.buffer]);
  }

  /** Nobody waits for it: the value is remembered anew when the disk has given it. */
  #lookAgain(key: Buffer, remembered: Remembered, nowMs: number): void {
    if (this.#refreshKeys.length >= this.#limits.refreshCountMax) return;
    // Not again before this one is done.
    remembered.readMs = nowMs;
    this.#refreshKeys.push(Buffer.from(key));
    if (!this.#isRefreshing) this.#refresh();
  }

  /** One prefetch at a time here, too: a disk that hangs costs one thread of libuv's for this and one for reads. */
  #refresh(): void {
    const keys = this.#refreshKeys;
    this.#refreshKeys = [];
    this.#isRefreshing = true;
    this.#touch(keys, () => {
      this.#isRefreshing = false;
      try {
        const folder = this.#opening.folder!;
        const nowMs = this.#now();
        const generations = keys.map((key) => folder.generationOf(key));
        folder.refresh();
        for (const [place, key] of keys.entries()) this.#valueOf(folder, key, generations[place]!, nowMs);
      } catch {
        // The next read of these keys meets the same fault, and has somebody to tell.
        for (const key of keys) this.#memory?.delete(key.toString('latin1'));
      }
      if (this.#refreshKeys.length > 0) this.#refresh();
    });
  }

  #readLater(keys: readonly Buffer[], values: (Buffer | undefined)[], places: readonly number[]): Promise<ReadValues> {
    if (this.#waiting.length + this.#reading.length >= this.#limits.readCountMax)
      return Promise.reject(new StoreError('STORE_BUSY', this.#path));
    return new Promise((resolve, reject) => {
      const dueMs = performance.now() + this.#limits.readMsMax;
      this.#waiting.push({ keys, values, places, resolve, reject, dueMs, settled: false });
      this.#watch();
      if (this.#reading.length === 0) this.#prefetch();
    });
  }

  /** One prefetch at a time, for all that gathered meanwhile: a disk that hangs holds one of libuv's few threads and not all of them. */
  #prefetch(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    this.#reading = batch;
    const keys = batch.flatMap((each) => each.places.map((place) => each.keys[place]!));
    this.#touch(keys, () => {
      this.#reading = [];
      this.#answer(batch);
      if (this.#waiting.length > 0) this.#prefetch();
    });
  }

  /** Off the event loop, brings the pages of the keys into memory; then `read`, unless the store has been closed meanwhile. */
  #touch(keys: Buffer[], read: () => void): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#touching.add(promise);
    void this.#opening.folder!.database.prefetch(keys, () => {
      this.#touching.delete(promise);
      resolve();
      if (this.#closing === undefined) read();
    });
  }

  #answer(reads: readonly Waiting[]): void {
    // Whoever has been told that his read took too long uses his array of keys for something else by now.
    const batch = reads.filter(({ settled }) => !settled);
    const folder = this.#opening.folder!;
    const nowMs = this.#now();
    try {
      // In this order: what is committed after the counters were read must not be taken for older than them.
      const generations = batch.map((each) => each.places.map((place) => folder.generationOf(each.keys[place]!)));
      folder.refresh();
      for (const [index, each] of batch.entries()) {
        for (const [which, place] of each.places.entries())
          each.values[place] = this.#valueOf(folder, each.keys[place]!, generations[index]![which]!, nowMs);
        each.resolve(each.values);
        each.settled = true;
      }
    } catch (error) {
      const fault = new StoreError('STORE_FAULTY', `${this.#path}: ${(error as Error).message}`, { cause: error });
      for (const each of batch) reject(each, fault);
    }
  }

  #valueOf(folder: LmdbFolder, key: Buffer, generation: number, nowMs: number): Buffer | undefined {
    const bytes = folder.wrappedOf(key);
    const expiresMs = bytes === undefined ? Infinity : expiryOfWrapped(bytes);
    const value = bytes === undefined || expiresMs <= nowMs ? undefined : valueOfWrapped(bytes);
    this.#memory?.set(key.toString('latin1'), { value, expiresMs, generation, readMs: nowMs });
    return value;
  }

  #watch(): void {
    if (this.#timer !== undefined) return;
    const first = this.#reading.find(({ settled }) => !settled) ?? this.#waiting[0];
    if (first === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        const nowMs = performance.now();
        for (const each of this.#reading)
          if (each.dueMs <= nowMs) reject(each, new StoreError('STORE_TIMEOUT', this.#path));
        while (this.#waiting.length > 0 && this.#waiting[0]!.dueMs <= nowMs)
          reject(this.#waiting.shift()!, new StoreError('STORE_TIMEOUT', this.#path));
        this.#watch();
      },
      Math.max(1, first.dueMs - performance.now()),
    );
    this.#timer.unref();
  }
}

function reject(each: Waiting, error: StoreError): void {
  if (!each.settled) each.reject(error);
  each.settled = true;
}
