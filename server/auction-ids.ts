/**
 * Ids of auctions: 64 bits, unique while their process lives and, by 32 random bits, across restarts with odds of 2^-32 a pair.
 * Written as 16 hexadecimal digits. The low half is a bijection of a counter, so ids of one process never repeat.
 */
export class AuctionIds {
  readonly #high: number;
  #counter = 0;
  high = 0;
  low = 0;

  /** `nonce` is 32 random bits; threads of one process get different ones. */
  constructor(nonce: number) {
    this.#high = nonce >>> 0;
  }

  /** Moves on to the next id, in `high` and `low`. */
  next(): void {
    this.#counter++;
    const low = this.#counter >>> 0;
    this.high = (this.#high + Math.floor(this.#counter / 4_294_967_296)) >>> 0;
    // Murmur3's finaliser: a bijection of 32 bits, so that neighbours in time are not neighbours in any hash of the id.
    let mixed = low;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    this.low = (mixed ^ (mixed >>> 16)) >>> 0;
  }
}

export function auctionIdText(high: number, low: number): string {
  return (high >>> 0).toString(16).padStart(8, '0') + (low >>> 0).toString(16).padStart(8, '0');
}

/** The two halves of an id's text, or undefined when it is not one. */
export function parseAuctionId(text: string): { high: number; low: number } | undefined {
  if (!/^[0-9a-f]{16}$/u.test(text)) return undefined;
  return { high: Number.parseInt(text.slice(0, 8), 16), low: Number.parseInt(text.slice(8), 16) };
}
