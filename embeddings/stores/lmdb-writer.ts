import { Worker } from 'node:worker_threads';
import type { LmdbAnswer, LmdbRequest } from './lmdb-operations.ts';
import type { LmdbWriterData } from './lmdb-writer-thread.ts';
import { StoreError } from './store-errors.ts';

type Answered = Extract<LmdbAnswer, { kind: 'done' | 'found' }>;
type Pending = {
  readonly resolve: (answer: Answered) => void;
  readonly reject: (error: StoreError) => void;
  readonly dueMs: number;
};
/** What is sent, without its number. */
type Unnumbered = LmdbRequest extends infer Each ? (Each extends { id: number } ? Omit<Each, 'id'> : never) : never;

export type LmdbWriterLimits = {
  /** After this long a call is answered by STORE_TIMEOUT; it may still be carried out. */
  readonly waitMsMax: number;
  readonly callCountMax: number;
};

/** The serving thread's side of the writing thread, which is started by the first call, and anew by the first after it broke. */
export class LmdbWriter {
  readonly #data: LmdbWriterData;
  readonly #limits: LmdbWriterLimits;
  /** In the order they were sent, so the first is due first. */
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #nextId = 1;
  #ended: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(data: LmdbWriterData, limits: LmdbWriterLimits) {
    this.#data = data;
    this.#limits = limits;
  }

  start(): void {
    if (this.#worker === undefined) this.#begin();
  }

  call(request: Unnumbered, transfer: readonly ArrayBuffer[] = []): Promise<Answered> {
    if (this.#closed) return Promise.reject(new StoreError('STORE_CLOSED'));
    if (this.#pending.size >= this.#limits.callCountMax)
      return Promise.reject(new StoreError('STORE_BUSY', this.#data.path));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, dueMs: performance.now() + this.#limits.waitMsMax });
      this.#watch();
      (this.#worker ?? this.#begin()).postMessage({ ...request, id }, transfer);
    });
  }

  /** What was sent before is still carried out. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#worker?.postMessage({ kind: 'close' } satisfies LmdbRequest);
    }
    await this.#ended;
    clearTimeout(this.#timer);
  }

  /** Closes, and waits no longer: a thread inside of lmdb cannot be ended, but ends by itself once the disk or the lock lets it go. */
  abandon(): void {
    void this.close();
    clearTimeout(this.#timer);
    this.#rejectAll(new StoreError('STORE_CLOSED'));
    this.#worker?.unref();
  }

  #begin(): Worker {
    const worker = new Worker(new URL('lmdb-writer-thread.ts', import.meta.url), {
      workerData: this.#data,
      name: 'lmdb-writer',
    });
    let reason = new StoreError('STORE_CLOSED');
    worker.on('message', (answer: LmdbAnswer) => this.#settle(answer));
    worker.on('error', (error) => {
      reason = new StoreError('STORE_FAULTY', `${this.#data.path}: ${error.message}`, { cause: error });
    });
    this.#ended = new Promise((resolve) => {
      worker.once('exit', () => {
        if (this.#worker === worker) this.#worker = undefined;
        this.#rejectAll(reason);
        resolve();
      });
    });
    this.#worker = worker;
    return worker;
  }

  #settle(answer: LmdbAnswer): void {
    const pending = this.#pending.get(answer.id);
    // One that was given up is answered late: its caller knows.
    if (pending === undefined) return;
    this.#pending.delete(answer.id);
    if (answer.kind === 'failed')
      pending.reject(new StoreError('STORE_FAULTY', `${this.#data.path}: ${answer.detail}`));
    else pending.resolve(answer);
  }

  #watch(): void {
    if (this.#timer !== undefined) return;
    const [first] = this.#pending.values();
    if (first === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        const nowMs = performance.now();
        for (const [id, each] of this.#pending) {
          if (each.dueMs > nowMs) break;
          this.#pending.delete(id);
          each.reject(new StoreError('STORE_TIMEOUT', this.#data.path));
        }
        this.#watch();
      },
      Math.max(1, first.dueMs - performance.now()),
    );
    this.#timer.unref();
  }

  #rejectAll(error: StoreError): void {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of all) reject(error);
  }
}
