import { AuctionError } from './errors.ts';
import { SharedLocks } from './shared-locks.ts';

/** Crosses threads by workerData. */
export type SeenShared = { readonly locks: SharedArrayBuffer; readonly entries: SharedArrayBuffer };

/** Id high, id low, and when it may be forgotten: whole seconds since the epoch, rounded up, 0 = an empty place. */
const wordsPerEntry = 3;
const segmentCount = 256;
const capacityDefault = 2 ** 20;
/** Places per id: at 3/4 full a search looks at 2.5 places (8.5 for one that is absent). */
const spare = 4 / 3;

/**
 * Which notices have come: an exact set of 64-bit ids in shared memory (open addressing with linear probing, 256 segments with
 * a lock each; 16 bytes per id). `add` is true for exactly one caller, in whatever thread. A live id is never forgotten: when a
 * segment is full of them, `add` throws SEEN_NOTICES_FULL, the notice is answered 503 and its sender comes again.
 */
export class SeenNotices {
  readonly #locks: SharedLocks;
  /** Ids per segment; written under the segment's lock. */
  readonly #counts: Int32Array;
  readonly #entries: Uint32Array;
  readonly #placesPerSegment: number;
  readonly #liveMaxPerSegment: number;

  /** `capacity`: live ids it can hold. Ids spread evenly; a segment may fill up some per cent earlier than the whole. */
  static allocate(capacity: number = capacityDefault): SeenShared {
    const places = Math.max(8, Math.ceil((capacity * spare) / segmentCount));
    return {
      locks: SharedLocks.allocate(segmentCount * 2),
      entries: new SharedArrayBuffer(segmentCount * places * wordsPerEntry * 4),
    };
  }

  constructor(shared: SeenShared) {
    this.#locks = new SharedLocks(shared.locks);
    this.#counts = new Int32Array(shared.locks, segmentCount * 4);
    this.#entries = new Uint32Array(shared.entries);
    this.#placesPerSegment = this.#entries.length / wordsPerEntry / segmentCount;
    // One place stays empty in any case, or a search for an absent id would not end.
    this.#liveMaxPerSegment = Math.min(this.#placesPerSegment - 1, Math.ceil(this.#placesPerSegment * 0.9));
  }

  /** Live and not yet swept ids. */
  get size(): number {
    let total = 0;
    for (let segment = 0; segment < segmentCount; segment++) total += Atomics.load(this.#counts, segment);
    return total;
  }

  /** True the first time: the caller acts on the notice. A repetition keeps the later of the two expiries. */
  add(high: number, low: number, expiresMs: number, nowMs: number): boolean {
    const segment = segmentOf(high, low);
    const expiresS = secondsUp(expiresMs);
    this.#locks.acquire(segment);
    try {
      let at = this.#find(segment, high, low);
      if (this.#entries[at + 2]! > 0) {
        const isForgettable = this.#entries[at + 2]! * 1000 <= nowMs;
        if (isForgettable || this.#entries[at + 2]! < expiresS) this.#entries[at + 2] = expiresS;
        return isForgettable;
      }
      if (this.#counts[segment]! >= this.#liveMaxPerSegment) {
        this.#sweepSegment(segment, nowMs);
        if (this.#counts[segment]! >= this.#liveMaxPerSegment) throw new AuctionError('SEEN_NOTICES_FULL');
        at = this.#find(segment, high, low);
      }
      this.#entries[at] = high;
      this.#entries[at + 1] = low;
      this.#entries[at + 2] = expiresS;
      Atomics.add(this.#counts, segment, 1);
      return true;
    } finally {
      this.#locks.release(segment);
    }
  }

  /** Takes an id back whose notice could not be carried out, so that its repetition counts as the first. */
  remove(high: number, low: number): void {
    const segment = segmentOf(high, low);
    this.#locks.acquire(segment);
    try {
      const at = this.#find(segment, high, low);
      if (this.#entries[at + 2]! > 0) this.#empty(segment, at);
    } finally {
      this.#locks.release(segment);
    }
  }

  /** Forgets what has expired, a segment at a time (about 20 µs each when well filled); returns how many. Once a minute is plenty. */
  sweep(nowMs: number): number {
    let forgotten = 0;
    for (let segment = 0; segment < segmentCount; segment++) {
      this.#locks.acquire(segment);
      try {
        forgotten += this.#sweepSegment(segment, nowMs);
      } finally {
        this.#locks.release(segment);
      }
    }
    return forgotten;
  }

  #sweepSegment(segment: number, nowMs: number): number {
    const first = segment * this.#placesPerSegment * wordsPerEntry;
    const end = first + this.#placesPerSegment * wordsPerEntry;
    let forgotten = 0;
    for (let at = first; at < end; at += wordsPerEntry) {
      // Emptying a place may move a later id into it: look at it again.
      while (this.#entries[at + 2]! > 0 && this.#entries[at + 2]! * 1000 <= nowMs) {
        this.#empty(segment, at);
        forgotten++;
      }
    }
    return forgotten;
  }

  /** Where the id is, or the empty place where it belongs. */
  #find(segment: number, high: number, low: number): number {
    const entries = this.#entries;
    const first = segment * this.#placesPerSegment;
    let place = this.#homeOf(high, low);
    for (;;) {
      const at = (first + place) * wordsPerEntry;
      if (entries[at + 2] === 0 || (entries[at] === high && entries[at + 1] === low)) return at;
      place = place + 1 === this.#placesPerSegment ? 0 : place + 1;
    }
  }

  /** Closes the gap by moving later ids of the same run up, so that no search ever ends too early. */
  #empty(segment: number, at: number): void {
    const entries = this.#entries;
    const places = this.#placesPerSegment;
    const first = segment * places;
    let gap = at / wordsPerEntry - first;
    let place = gap;
    for (;;) {
      place = place + 1 === places ? 0 : place + 1;
      const from = (first + place) * wordsPerEntry;
      if (entries[from + 2] === 0) break;
      const home = this.#homeOf(entries[from]!, entries[from + 1]!);
      // An id whose home lies after the gap would not be found there.
      const fromHome = place >= home ? place - home : place - home + places;
      const fromGap = place >= gap ? place - gap : place - gap + places;
      if (fromHome < fromGap) continue;
      entries.copyWithin((first + gap) * wordsPerEntry, from, from + wordsPerEntry);
      gap = place;
    }
    entries.fill(0, (first + gap) * wordsPerEntry, (first + gap + 1) * wordsPerEntry);
    Atomics.sub(this.#counts, segment, 1);
  }

  #homeOf(high: number, low: number): number {
    return (Math.imul(low ^ (high >>> 16), 0x9e3779b1) >>> 0) % this.#placesPerSegment;
  }
}

function segmentOf(high: number, low: number): number {
  return Math.imul(high ^ Math.imul(low, 0x85ebca6b), 0xc2b2ae35) >>> 24;
}

function secondsUp(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}
