import type { TransactionFlags } from 'lmdb';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { expiryOfWrapped, LmdbFolder, valueOfWrapped, wrapped } from './lmdb-folder.ts';
import { type LmdbAnswer, type LmdbOperation, type LmdbRequest, packed, unpacked } from './lmdb-operations.ts';
import { appended, endOfPrefix } from './record-list.ts';

export type LmdbWriterData = {
  readonly path: string;
  readonly bytesMax: number;
  /** Whether this thread also takes out what has expired. */
  readonly sweeps: boolean;
};

/** One transaction takes what is waiting, up to this much: the lock is held some tens of ms at most. */
const transactionBytesMax = 8 << 20;
/** Expired entries are looked for so many at a time, so often: 4,000 entries/s, 1 % of a core; all the time while the store is full. */
const sweepCount = 1000;
const sweepEveryMs = 250;
const sweepWhenFullMs = 10;
/** Commits at once, and abortable as a whole; the disk is waited for by lmdb behind it (its overlapping sync). */
const transactionFlags = 0x10003 as TransactionFlags;

type Write = Extract<LmdbRequest, { kind: 'write' }>;
type Unpacked = {
  readonly id: number;
  readonly nowMs: number;
  readonly operations: readonly LmdbOperation[];
  /** Nothing of it takes room. */
  readonly isRemoval: boolean;
};

/**
 * Writes, scans and sweeps beside the thread that serves: whatever waits for the disk or for another writer's lock waits here. Writes that
 * gathered meanwhile share one transaction, so a slow disk makes batches longer and not queues.
 */
class LmdbWriterThread {
  readonly #port: MessagePort;
  readonly #folder: LmdbFolder;
  readonly #bytesMax: number;
  readonly #sweeps: boolean;
  #sweepTimer: NodeJS.Timeout | undefined;
  #sweptTo: Buffer | undefined;
  #full = false;

  constructor({ path, bytesMax, sweeps }: LmdbWriterData, port: MessagePort) {
    this.#port = port;
    this.#folder = new LmdbFolder(path);
    this.#bytesMax = bytesMax;
    this.#sweeps = sweeps;
    this.#sweepLater();
  }

  take(first: LmdbRequest): void {
    let request: LmdbRequest | undefined = first;
    while (request !== undefined) {
      if (request.kind === 'write') request = this.#writeWithCompany(request);
      else if (request.kind === 'scan') {
        this.#scan(request);
        request = undefined;
      } else {
        void this.#close();
        request = undefined;
      }
    }
  }

  /** Returns what was waiting behind and is no write. */
  #writeWithCompany(first: Write): LmdbRequest | undefined {
    const batch = [first];
    let bytes = first.operations.length;
    let other: LmdbRequest | undefined;
    while (bytes < transactionBytesMax && other === undefined) {
      const next = receiveMessageOnPort(this.#port);
      if (next === undefined) break;
      if (next.message.kind === 'write') {
        batch.push(next.message);
        bytes += next.message.operations.length;
      } else other = next.message;
    }
    this.#writeAndAnswer(batch);
    return other;
  }

  /** Where the store or its disk is full, what removes is carried out and only the rest is refused: else nobody could make room. */
  #writeAndAnswer(batch: readonly Write[]): void {
    const writes = batch.map(({ id, nowMs, operations }): Unpacked => {
      const each = [...unpacked(bufferOf(operations))];
      return { id, nowMs, operations: each, isRemoval: each.every(({ kind }) => kind === 'remove') };
    });
    const removals = writes.filter(({ isRemoval }) => isRemoval);
    const isMixed = removals.length > 0 && removals.length < writes.length;
    const fault = this.#tryToWrite(writes);
    const faultOfRemovals = fault !== undefined && isMixed ? this.#tryToWrite(removals) : fault;
    for (const { id, isRemoval } of writes) {
      const detail = isRemoval ? faultOfRemovals : fault;
      this.#answer(detail === undefined ? { id, kind: 'done' } : { id, kind: 'failed', detail });
    }
  }

  /** What went wrong, and then nothing of it was written. */
  #tryToWrite(writes: readonly Unpacked[]): string | undefined {
    try {
      this.#write(writes);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  #write(writes: readonly Unpacked[]): void {
    const { nowMs } = writes.at(-1)!;
    this.#refuseIfFull(writes);
    const { database } = this.#folder;
    const operations = writes.flatMap((each) => each.operations);
    database.transactionSync(() => {
      for (const each of operations) {
        if (each.kind === 'remove') database.removeSync(each.key);
        else
          database.putSync(
            each.key,
            wrapped(each.kind === 'put' ? each.value : this.#appended(each, nowMs), each.expiresMs),
          );
      }
    }, transactionFlags);
    for (const { key } of operations) this.#folder.bumpGeneration(key);
  }

  #appended({ key, value, countMax }: Extract<LmdbOperation, { kind: 'append' }>, nowMs: number): Buffer {
    const bytes = this.#folder.wrappedOf(key);
    const list = bytes === undefined || expiryOfWrapped(bytes) <= nowMs ? undefined : valueOfWrapped(bytes);
    return appended(list, value, countMax);
  }

  /** Removing must go on working. */
  #refuseIfFull(writes: readonly Unpacked[]): void {
    this.#folder.refresh();
    this.#full = this.#folder.liveBytes() >= this.#bytesMax;
    if (!this.#full || writes.every(({ isRemoval }) => isRemoval)) return;
    if (this.#sweeps) this.#sweepLater(sweepWhenFullMs);
    throw new Error(`it is full: ${this.#bytesMax} bytes are the limit it was given`);
  }

  #scan({ id, nowMs, from, prefix, limit }: Extract<LmdbRequest, { kind: 'scan' }>): void {
    try {
      const found: LmdbOperation[] = [];
      for (const { key, bytes } of this.#range(bufferOf(from), endOfPrefix(bufferOf(prefix)))) {
        const expiresMs = expiryOfWrapped(bytes);
        if (expiresMs <= nowMs) continue;
        found.push({ kind: 'put', key, value: valueOfWrapped(bytes), expiresMs });
        if (found.length >= limit) break;
      }
      const operations = packed(found);
      this.#answer({ id, kind: 'found', operations, count: found.length }, [operations.buffer]);
    } catch (error) {
      this.#answer({ id, kind: 'failed', detail: (error as Error).message });
    }
  }

  *#range(start: Buffer, end: Buffer | undefined): Generator<{ key: Buffer; bytes: Buffer }> {
    this.#folder.refresh();
    const options = start.length === 0 ? {} : { start };
    for (const { key, value } of this.#folder.database.getRange(end === undefined ? options : { ...options, end }))
      if (value.length >= 8) yield { key: bufferOf(key), bytes: bufferOf(value) };
  }

  #sweepLater(afterMs = sweepEveryMs): void {
    if (!this.#sweeps) return;
    clearTimeout(this.#sweepTimer);
    this.#sweepTimer = setTimeout(() => this.#sweep(), afterMs);
  }

  #sweep(): void {
    const expired: Buffer[] = [];
    let seen = 0;
    let last: Buffer | undefined;
    const nowMs = performance.timeOrigin + performance.now();
    try {
      for (const { key, bytes } of this.#range(this.#sweptTo ?? Buffer.alloc(0), undefined)) {
        last = key;
        if (expiryOfWrapped(bytes) <= nowMs) expired.push(key);
        if (++seen >= sweepCount) break;
      }
      // The end of the round: the next begins at the first key again.
      this.#sweptTo = seen < sweepCount || last === undefined ? undefined : Buffer.concat([last, Buffer.from([0])]);
      if (expired.length > 0) this.#removeExpired(expired, nowMs);
      this.#full = this.#full && this.#folder.liveBytes() >= this.#bytesMax;
    } catch {
      // A disk that fails now is told to whoever writes; what has expired is not handed out in any case.
      this.#sweptTo = undefined;
    }
    this.#sweepLater(this.#full && this.#sweptTo !== undefined ? sweepWhenFullMs : sweepEveryMs);
  }

  /** Looks again under the lock: somebody may have written meanwhile. */
  #removeExpired(keys: readonly Buffer[], nowMs: number): void {
    const { database } = this.#folder;
    database.transactionSync(() => {
      for (const key of keys) {
        const bytes = this.#folder.wrappedOf(key);
        if (bytes !== undefined && expiryOfWrapped(bytes) <= nowMs) database.removeSync(key);
      }
    }, transactionFlags);
  }

  #answer(answer: LmdbAnswer, transfer: readonly ArrayBuffer[] = []): void {
    this.#port.postMessage(answer, transfer);
  }

  async #close(): Promise<void> {
    clearTimeout(this.#sweepTimer);
    await this.#folder.close();
    this.#port.close();
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const thread = new LmdbWriterThread(workerData as LmdbWriterData, parentPort!);
parentPort!.on('message', (request: LmdbRequest) => thread.take(request));
