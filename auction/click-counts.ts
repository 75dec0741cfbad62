import { SharedLocks } from './shared-locks.ts';

/** Crosses threads by workerData. */
export type ClickCountsShared = {
  readonly locks: SharedArrayBuffer;
  /** Per entry: two words of key, views, clicks. */
  readonly counts: SharedArrayBuffer;
};

/** A view or click counts this much, so that decay has fractions to take away. */
export const countUnit = 1024;
/** From here on both counts of an entry are halved: a million views say no less than two. */
const countMax = 2 ** 31;
const waysPerSet = 4;
const entryWords = 4;
const word = { high: 0, low: 1, views: 2, clicks: 3 } as const;
const lockCount = 64;

/**
 * Views and clicks by 64-bit key in shared memory, for any number of threads: counts move by atomic integers, new keys come in under
 * a lock, readers take none. Sets of four; in a full one the entry with the fewest views makes room.
 */
export class ClickCounts {
  readonly #locks: SharedLocks;
  readonly #counts: Uint32Array;
  readonly #setCount: number;

  static allocate(capacity: number): ClickCountsShared {
    const entries = 2 ** Math.ceil(Math.log2(Math.max(waysPerSet, capacity)));
    return {
      locks: SharedLocks.allocate(lockCount),
      counts: new SharedArrayBuffer(entries * entryWords * 4),
    };
  }

  constructor(shared: ClickCountsShared) {
    this.#locks = new SharedLocks(shared.locks);
    this.#counts = new Uint32Array(shared.counts);
    this.#setCount = this.#counts.length / entryWords / waysPerSet;
  }

  /** Bytes of shared memory. */
  get byteLength(): number {
    return this.#counts.byteLength;
  }

  /** Adds `views` and `clicks`, both in units. Keys are never 0, 0. */
  add(high: number, low: number, views: number, clicks: number): void {
    let at = this.#find(high, low);
    if (at < 0) at = this.#insert(high, low);
    const counts = this.#counts;
    const viewsNow = Atomics.add(counts, at + word.views, views) + views;
    const clicksNow = Atomics.add(counts, at + word.clicks, clicks) + clicks;
    if (viewsNow >= countMax || clicksNow >= countMax) this.#halve(at);
  }

  /** Place of a key's counts, −1 when there are none: for `viewsAt` and `clicksAt` of the same call chain. */
  find(high: number, low: number): number {
    return this.#find(high, low);
  }

  /** In views and clicks, with fractions. */
  viewsAt(place: number): number {
    return this.#counts[place + word.views]! / countUnit;
  }
  clicksAt(place: number): number {
    return this.#counts[place + word.clicks]! / countUnit;
  }

  /** Multiplies every count by `factor` < 1; whatever is added meanwhile stays whole. */
  decay(factor: number): void {
    const counts = this.#counts;
    for (let at = 0; at < counts.length; at += entryWords) {
      this.#scale(at + word.views, factor);
      this.#scale(at + word.clicks, factor);
    }
  }

  /** Calls back with every key that has counts (views and clicks in units). */
  forEach(visit: (high: number, low: number, views: number, clicks: number) => void): void {
    const counts = this.#counts;
    for (let at = 0; at < counts.length; at += entryWords) {
      const high = counts[at]!;
      const low = counts[at + word.low]!;
      const views = counts[at + word.views]!;
      const clicks = counts[at + word.clicks]!;
      if ((high !== 0 || low !== 0) && (views > 0 || clicks > 0)) visit(high, low, views, clicks);
    }
  }

  #find(high: number, low: number): number {
    const counts = this.#counts;
    const base = this.#setOf(high, low) * waysPerSet * entryWords;
    for (let at = base; at < base + waysPerSet * entryWords; at += entryWords) {
      if (counts[at] === high && counts[at + word.low] === low) return at;
    }
    return -1;
  }

  #insert(high: number, low: number): number {
    const counts = this.#counts;
    const set = this.#setOf(high, low);
    this.#locks.acquire(set % lockCount);
    try {
      const found = this.#find(high, low);
      if (found >= 0) return found;
      const base = set * waysPerSet * entryWords;
      let place = base;
      for (let at = base; at < base + waysPerSet * entryWords; at += entryWords) {
        if (counts[at + word.views]! < counts[place + word.views]!) place = at;
      }
      // Nobody finds it while its counts are another's.
      Atomics.store(counts, place, 0);
      Atomics.store(counts, place + word.low, 0);
      Atomics.store(counts, place + word.views, 0);
      Atomics.store(counts, place + word.clicks, 0);
      Atomics.store(counts, place + word.low, low);
      Atomics.store(counts, place, high);
      return place;
    } finally {
      this.#locks.release(set % lockCount);
    }
  }

  /** Only the thread that halves the views halves the clicks. */
  #halve(at: number): void {
    const counts = this.#counts;
    const views = Atomics.load(counts, at + word.views);
    if (Atomics.compareExchange(counts, at + word.views, views, views >>> 1) !== views) return;
    const clicks = Atomics.load(counts, at + word.clicks);
    Atomics.sub(counts, at + word.clicks, clicks - (clicks >>> 1));
  }

  #scale(at: number, factor: number): void {
    const value = Atomics.load(this.#counts, at);
    if (value > 0) Atomics.sub(this.#counts, at, value - Math.round(value * factor));
  }

  #setOf(high: number, low: number): number {
    const hash = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0xc2b2ae35);
    return ((hash ^ (hash >>> 15)) & (this.#setCount - 1)) >>> 0;
  }
}
