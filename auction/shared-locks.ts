import { AuctionError } from './errors.ts';

/** A critical section is some hundred nanoseconds; only a thread that lost its core or died holds a lock for longer. */
const spinCountMax = 1000;
const napMs = 1;
const waitMsMaxDefault = 2000;

/**
 * Locks in shared memory, one word each, for sections of a few hundred nanoseconds. Waiting is bounded: a thread that died
 * inside one makes the others fail with SHARED_LOCK_STUCK rather than wait for ever.
 */
export class SharedLocks {
  readonly #words: Int32Array;
  readonly #waitMsMax: number;

  static allocate(count: number): SharedArrayBuffer {
    return new SharedArrayBuffer(count * 4);
  }

  constructor(shared: SharedArrayBuffer, waitMsMax: number = waitMsMaxDefault) {
    this.#words = new Int32Array(shared);
    this.#waitMsMax = waitMsMax;
  }

  acquire(index: number): void {
    const words = this.#words;
    for (let spin = 0; spin < spinCountMax; spin++) {
      if (Atomics.compareExchange(words, index, 0, 1) === 0) return;
    }
    for (let waitedMs = 0; waitedMs < this.#waitMsMax; waitedMs += napMs) {
      Atomics.wait(words, index, 1, napMs);
      if (Atomics.compareExchange(words, index, 0, 1) === 0) return;
    }
    throw new AuctionError('SHARED_LOCK_STUCK');
  }

  release(index: number): void {
    Atomics.store(this.#words, index, 0);
  }
}
