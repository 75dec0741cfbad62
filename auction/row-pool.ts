/** How long a withdrawn ad's row stays unused: longer than any request, auction or reservation that may know it lives. */
export const graceMsDefault = 60_000;

/** Which row the next ad gets, and which ads a line item has. Main thread; the chains of rows are columns that all threads read. */
export class RowPool {
  readonly #capacity: number;
  /** Next row of the same line item; −1 at the end. */
  readonly #next: Int32Array;
  readonly #first: Int32Array;
  #used = 0;
  #free: number[] = [];
  /** `sinceMs` is set by the first `reclaim` after the withdrawal. */
  #withdrawn: { row: number; sinceMs: number | undefined }[] = [];

  constructor({ adNext, liFirstAd }: { readonly adNext: Int32Array; readonly liFirstAd: Int32Array }) {
    this.#capacity = adNext.length;
    this.#next = adNext.fill(-1);
    this.#first = liFirstAd.fill(-1);
  }

  /** Rows ever given out. */
  get usedCount(): number {
    return this.#used;
  }
  get freeCount(): number {
    return this.#capacity - this.#used + this.#free.length;
  }

  /** Never used rows first: what comes new belongs behind the rows in order of value, where it is looked for. */
  take(lineItem: number): number {
    const row = this.#used < this.#capacity ? this.#used++ : this.#free.pop();
    if (row === undefined) throw new RangeError('No row is free.');
    this.#next[row] = this.#first[lineItem]!;
    this.#first[lineItem] = row;
    return row;
  }

  withdraw(row: number, lineItem: number): void {
    if (this.#first[lineItem] === row) this.#first[lineItem] = this.#next[row]!;
    else {
      let before = this.#first[lineItem]!;
      while (before >= 0 && this.#next[before] !== row) before = this.#next[before]!;
      if (before >= 0) this.#next[before] = this.#next[row]!;
    }
    this.#withdrawn.push({ row, sinceMs: undefined });
  }

  rowsOf(lineItem: number): number[] {
    const rows: number[] = [];
    for (let row = this.#first[lineItem]!; row >= 0; row = this.#next[row]!) rows.push(row);
    return rows.toSorted((left, right) => left - right);
  }

  /** Frees the rows withdrawn at least `graceMs` before; returns them. */
  reclaim(nowMs: number, graceMs: number): number[] {
    const freed: number[] = [];
    this.#withdrawn = this.#withdrawn.filter((each) => {
      each.sinceMs ??= nowMs;
      if (nowMs - each.sinceMs < graceMs) return true;
      freed.push(each.row);
      return false;
    });
    // The highest first to come last: rows that stood high in the order of value are taken first.
    if (freed.length > 0) this.#free = [...this.#free, ...freed].toSorted((left, right) => right - left);
    return freed;
  }
}
