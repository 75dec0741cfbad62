/** How often a user saw a line item today (UTC): open addressing over typed arrays, forgotten when the day changes. */
export class ViewCounts {
  readonly #keys: Float64Array;
  readonly #counts: Uint8Array;
  readonly #mask: number;
  readonly #pairsMax: number;
  #pairs = 0;
  #day = -1;

  /** `viewsMax`: the most views that one day can bring; beyond that new pairs are no longer counted. */
  constructor(viewsMax: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(1024, viewsMax / 2)));
    this.#keys = new Float64Array(slots).fill(-1);
    this.#counts = new Uint8Array(slots);
    this.#mask = slots - 1;
    this.#pairsMax = slots * 0.8;
  }

  /** Earlier views of the day, at most 255; counts this one. */
  add(user: number, lineItem: number, day: number): number {
    if (day !== this.#day) {
      this.#keys.fill(-1);
      this.#counts.fill(0);
      this.#pairs = 0;
      this.#day = day;
    }
    const slot = this.#find(user, lineItem);
    if (this.#keys[slot] === -1) {
      if (this.#pairs >= this.#pairsMax) return 0;
      this.#pairs += 1;
      this.#keys[slot] = user * 1_048_576 + lineItem;
    }
    const seen = this.#counts[slot]!;
    if (seen < 255) this.#counts[slot] = seen + 1;
    return seen;
  }

  /** Views so far on that day, without counting one. */
  seen(user: number, lineItem: number, day: number): number {
    return day === this.#day ? this.#counts[this.#find(user, lineItem)]! : 0;
  }

  #find(user: number, lineItem: number): number {
    const key = user * 1_048_576 + lineItem;
    let slot = (Math.imul(user ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(lineItem + 1, 0x27d4eb2f)) >>> 0;
    slot = (slot ^ (slot >>> 15)) & this.#mask;
    while (this.#keys[slot] !== key && this.#keys[slot] !== -1) slot = (slot + 1) & this.#mask;
    return slot;
  }
}
