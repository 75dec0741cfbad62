/** Line items with views that one request looks at. The server's requests know of 64 at most. */
const viewedCountMax = 128;
/** Twice as many places as entries: probes stay near one. */
const placeCount = 256;
const empty = -1;

/**
 * How often the user of the request in hand has seen a line item. Two hundred candidates against dozens of viewed line items
 * would be thousands of comparisons; here each candidate is one probe into a kilobyte.
 */
export class ViewLookup {
  readonly #lineItems = new Int32Array(placeCount).fill(empty);
  readonly #views = new Uint32Array(placeCount);
  #count = 0;

  /** Forgets the request before. Entries beyond 128 are left out. */
  fill(count: number, lineItems: Uint32Array, views: Uint32Array): void {
    if (this.#count > 0) this.#lineItems.fill(empty);
    this.#count = count < viewedCountMax ? count : viewedCountMax;
    for (let index = 0; index < this.#count; index++) {
      const place = this.#placeOf(lineItems[index]!);
      this.#lineItems[place] = lineItems[index]!;
      this.#views[place] = views[index]!;
    }
  }

  viewsOf(lineItem: number): number {
    if (this.#count === 0) return 0;
    const place = this.#placeOf(lineItem);
    return this.#lineItems[place] === lineItem ? this.#views[place]! : 0;
  }

  /** Where the line item is, or where it would go. Fibonacci hashing: neighbouring numbers land far apart. */
  #placeOf(lineItem: number): number {
    const lineItems = this.#lineItems;
    let place = Math.imul(lineItem, 0x9e37_79b1) >>> 24;
    while (lineItems[place] !== empty && lineItems[place] !== lineItem) place = (place + 1) & (placeCount - 1);
    return place;
  }
}
