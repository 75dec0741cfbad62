/**
 * 64-bit keyed hash of a user key, in two halves that are read after `of`. Two independent 32-bit lanes over the UTF-16 code
 * units; keyed, so that nobody outside can choose keys that fall together or recognize whom a hash names. Notices carry the result
 * across restarts and pods: whoever makes one passes the same secret seeds every time.
 */
export class UserHash {
  readonly #seedHigh: number;
  readonly #seedLow: number;
  high = 0;
  low = 0;

  constructor(seedHigh: number, seedLow: number) {
    this.#seedHigh = seedHigh;
    this.#seedLow = seedLow;
  }

  of(key: string): void {
    let high = this.#seedHigh;
    let low = this.#seedLow;
    for (let index = 0; index < key.length; index++) {
      const unit = key.charCodeAt(index) + 1;
      high = Math.imul(high ^ unit, 0x9e3779b1);
      high ^= high >>> 15;
      low = Math.imul(low ^ unit, 0x85ebca77);
      low ^= low >>> 13;
    }
    // The lanes meet only here: what falls together in one is told apart by the other.
    this.high = finish(high ^ Math.imul(low, 0xc2b2ae3d), key.length);
    this.low = finish(low ^ Math.imul(high, 0x27d4eb2f), ~key.length);
  }
}

function finish(hash: number, length: number): number {
  let mixed = hash ^ length;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
