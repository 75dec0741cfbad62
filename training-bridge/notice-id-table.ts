const free = 0;

/** 64-bit notice ids with their expiry: exact, growing, at most `countMax`. 24 to 40 bytes an id. */
export class NoticeIdTable {
  readonly #countMax: number;
  #high = new Uint32Array(1024);
  #low = new Uint32Array(1024);
  #expiresMs = new Float64Array(1024);
  /** Open addressing: number of the entry plus one. Twice as many places as entries. */
  #places = new Uint32Array(2048);
  count = 0;
  /** Ids that found no room: they are not recognised again. */
  refusedCount = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** False when the id is known already. */
  add(high: number, low: number, expiresMs: number): boolean {
    const mask = this.#places.length - 1;
    let place = hash(high, low) & mask;
    for (; this.#places[place] !== free; place = (place + 1) & mask) {
      const entry = this.#places[place]! - 1;
      if (this.#high[entry] === high && this.#low[entry] === low) return false;
    }
    if (this.count >= this.#countMax) {
      this.refusedCount++;
      return true;
    }
    if (this.count === this.#high.length) {
      this.#grow();
      return this.add(high, low, expiresMs);
    }
    this.#high[this.count] = high;
    this.#low[this.count] = low;
    this.#expiresMs[this.count] = expiresMs;
    this.#places[place] = ++this.count;
    return true;
  }

  forEach(visit: (high: number, low: number, expiresMs: number) => void): void {
    for (let entry = 0; entry < this.count; entry++) {
      visit(this.#high[entry]!, this.#low[entry]!, this.#expiresMs[entry]!);
    }
  }

  #grow(): void {
    const length = this.#high.length * 2;
    const [high, low, expiresMs] = [this.#high, this.#low, this.#expiresMs];
    this.#high = new Uint32Array(length);
    this.#low = new Uint32Array(length);
    this.#expiresMs = new Float64Array(length);
    this.#high.set(high);
    this.#low.set(low);
    this.#expiresMs.set(expiresMs);
    this.#places = new Uint32Array(length * 2);
    const mask = this.#places.length - 1;
    for (let entry = 0; entry < this.count; entry++) {
      let place = hash(high[entry]!, low[entry]!) & mask;
      while (this.#places[place] !== free) place = (place + 1) & mask;
      this.#places[place] = entry + 1;
    }
  }
}

function hash(high: number, low: number): number {
  // Ids are well mixed; one more step keeps a stranger's from lining up.
  const mixed = Math.imul(low ^ (high >>> 7), 0x9e3779b1) ^ high;
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
