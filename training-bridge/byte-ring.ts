/** Bytes between two counters that different threads write: one cache line each. */
const lineWords = 16;
const headerWords = 2 * lineWords;
const headWord = 0;
const tailWord = lineWords;

/**
 * A queue of sealed records from one thread to one other, in shared memory, without locks. Records lie whole, never around
 * the end: the producer leaves a gap there that begins with a zero length. Positions run freely modulo 2^32, so the
 * capacity is a power of two.
 */
export class ByteRing {
  /** The payload area; valid for the producer between `reserve` and `commit`. */
  readonly bytes: Uint8Array;
  readonly capacity: number;
  readonly #positions: Int32Array;
  readonly #view: DataView;
  #reservedAt = 0;

  static allocate(capacityBytes: number): SharedArrayBuffer {
    if (capacityBytes < 1024 || (capacityBytes & (capacityBytes - 1)) !== 0) {
      throw new RangeError(`A ring of ${capacityBytes} bytes: needed is a power of two from 1024 on.`);
    }
    return new SharedArrayBuffer(headerWords * 4 + capacityBytes);
  }

  constructor(shared: SharedArrayBuffer) {
    this.capacity = shared.byteLength - headerWords * 4;
    this.#positions = new Int32Array(shared, 0, headerWords);
    this.bytes = new Uint8Array(shared, headerWords * 4, this.capacity);
    this.#view = new DataView(shared, headerWords * 4, this.capacity);
  }

  /** Producer: where `byteCount` bytes may be written, or -1 when the reader has not made room yet. Never waits. */
  reserve(byteCount: number): number {
    const head = Atomics.load(this.#positions, headWord) >>> 0;
    const tail = Atomics.load(this.#positions, tailWord) >>> 0;
    const free = this.capacity - ((head - tail) >>> 0);
    const at = head & (this.capacity - 1);
    const toEnd = this.capacity - at;
    if (byteCount <= toEnd) {
      if (byteCount > free) return -1;
      this.#reservedAt = head;
      return at;
    }
    if (byteCount + toEnd > free) return -1;
    // Records are multiples of 4, so at least these 4 bytes are left.
    this.#view.setUint32(at, 0, true);
    this.#reservedAt = (head + toEnd) >>> 0;
    return 0;
  }

  /** Producer: the reader may take what was written at the place reserved last. `byteCount` is a multiple of 4, at most what was reserved. */
  commit(byteCount: number): void {
    Atomics.store(this.#positions, headWord, (this.#reservedAt + byteCount) | 0);
  }

  /** Reader: what is committed now; hand it to `take` to take no more than that. */
  get head(): number {
    return Atomics.load(this.#positions, headWord) >>> 0;
  }

  get usedBytes(): number {
    return (this.head - (Atomics.load(this.#positions, tailWord) >>> 0)) >>> 0;
  }

  /** Reader: copies whole records up to `head` to `target` from `offset` on, as many as fit; `target` undefined drops them. */
  take(head: number, target: Uint8Array | undefined, offset: number, taken: { bytes: number; records: number }): void {
    let tail = Atomics.load(this.#positions, tailWord) >>> 0;
    const room = target === undefined ? Number.POSITIVE_INFINITY : target.length - offset;
    let bytes = 0;
    let records = 0;
    while (tail !== head) {
      const from = tail & (this.capacity - 1);
      // One copy per run of records: up to the gap, the end of the ring, the head or the target's end.
      let run = 0;
      let isGap = false;
      while ((tail + run) >>> 0 !== head && from + run < this.capacity) {
        const length = this.#view.getUint32(from + run, true);
        if (length === 0) {
          isGap = true;
          break;
        }
        if (bytes + run + length > room) break;
        run += length;
        records++;
      }
      if (run === 0 && !isGap) break;
      target?.set(this.bytes.subarray(from, from + run), offset + bytes);
      bytes += run;
      tail = (tail + run + (isGap ? this.capacity - from - run : 0)) >>> 0;
    }
    Atomics.store(this.#positions, tailWord, tail | 0);
    taken.bytes = bytes;
    taken.records = records;
  }
}
