/** One bidder's best offer for one slot. */
export type Offer = {
  readonly bidder: number;
  readonly candidate: number;
  /** What the assignment adds up; positive, no two alike (see `tieBits`). */
  readonly value: bigint;
};

/**
 * The low bits of every value hold its tie key. Sixteen keys of 32 bits on either side of a comparison cannot reach the bits
 * above, so the best assignment is one of the best without keys, and the keys choose among those alone.
 */
export const tieBits = 40n;

/**
 * Gives each slot to at most one bidder and each bidder at most one slot, so that the values add up to the most there can be.
 * Slots join one by one along the best chain of moves (the longest path over at most 16 slots), which keeps the assignment the
 * best for the slots joined so far.
 */
export class SlotAssignment {
  readonly #offers: readonly (readonly Offer[])[];
  readonly #offerOf: readonly ReadonlyMap<number, Offer>[];
  readonly #winner: (Offer | undefined)[];
  readonly #gain: (bigint | undefined)[];
  readonly #from: number[];

  /** `offers`: per slot, one per bidder. */
  constructor(offers: readonly (readonly Offer[])[]) {
    this.#offerOf = offers.map((slot) => new Map(slot.map((offer) => [offer.bidder, offer])));
    // The others hold at most as many bidders as there are slots, one of them is looked away from when prices are set: beyond
    // the first slots + 1 an offer can never be the best free one.
    this.#offers = offers.map((slot) => slot.toSorted(byValue).slice(0, offers.length + 1));
    this.#winner = offers.map(() => undefined);
    this.#gain = offers.map(() => undefined);
    this.#from = offers.map(() => -1);
    for (let slot = 0; slot < offers.length; slot++) this.#join(slot);
  }

  winnerOf(slot: number): Offer | undefined {
    return this.#winner[slot];
  }

  /** What all others could have had more, had the slot's winner stayed away: W(−i) − (W − v_i), without the tie bits. */
  externalityOf(slot: number): bigint {
    const winner = this.#winner[slot];
    if (winner === undefined) return 0n;
    this.#winner[slot] = undefined;
    const end = this.#search(slot, winner.bidder);
    const gain = this.#gain[end]! + (this.#bestFree(end, winner.bidder)?.value ?? 0n);
    this.#winner[slot] = winner;
    // Rounds to the nearest: the keys may have left a little more or less than a whole value.
    return (gain + (1n << (tieBits - 1n))) >> tieBits;
  }

  #join(slot: number): void {
    let to = this.#search(slot, -1);
    let incoming = this.#bestFree(to, -1);
    while (to !== slot) {
      const leaving = this.#winner[to]!;
      this.#winner[to] = incoming;
      to = this.#from[to]!;
      incoming = this.#offerOf[to]!.get(leaving.bidder);
    }
    this.#winner[to] = incoming;
  }

  /** Longest path from the empty slot `start`, where a step takes the bidder of the next slot; returns where it ends best. */
  #search(start: number, excludedBidder: number): number {
    const slotCount = this.#offers.length;
    const gain = this.#gain.fill(undefined);
    gain[start] = 0n;
    for (let round = 0, hasMoved = true; hasMoved && round < slotCount; round++) {
      hasMoved = false;
      for (let slot = 0; slot < slotCount; slot++) {
        const soFar = gain[slot];
        if (soFar === undefined) continue;
        for (let next = 0; next < slotCount; next++) {
          const holder = this.#winner[next];
          const offer = holder === undefined ? undefined : this.#offerOf[slot]!.get(holder.bidder);
          if (offer === undefined || next === slot) continue;
          const reached = soFar + offer.value - holder!.value;
          const before = gain[next];
          if (before !== undefined && reached <= before) continue;
          gain[next] = reached;
          this.#from[next] = slot;
          hasMoved = true;
        }
      }
    }
    let end = start;
    let best = -1n;
    for (let slot = 0; slot < slotCount; slot++) {
      const reached = gain[slot];
      if (reached === undefined) continue;
      const total = reached + (this.#bestFree(slot, excludedBidder)?.value ?? 0n);
      if (total <= best) continue;
      best = total;
      end = slot;
    }
    return end;
  }

  #bestFree(slot: number, excludedBidder: number): Offer | undefined {
    return this.#offers[slot]!.find(
      ({ bidder }) => bidder !== excludedBidder && !this.#winner.some((holder) => holder?.bidder === bidder),
    );
  }
}

function byValue(left: Offer, right: Offer): number {
  return left.value > right.value ? -1 : left.value < right.value ? 1 : 0;
}
