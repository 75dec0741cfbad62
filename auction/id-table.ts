/**
 * Ids → numbers for the main thread: open addressing over an Int32Array, 8 bytes per id, where a Map of a million strings takes
 * some 90 MB. The ids themselves stay where they are (`idOf`). Nothing is ever taken out.
 */
export class IdTable {
  readonly #slots: Int32Array;
  readonly #mask: number;
  readonly #idOf: (number: number) => string;

  constructor(capacity: number, idOf: (number: number) => string) {
    let size = 16;
    while (size < capacity * 1.5) size *= 2;
    this.#slots = new Int32Array(size);
    this.#mask = size - 1;
    this.#idOf = idOf;
  }

  /** −1 when unknown. */
  get(id: string): number {
    for (let at = hashOf(id) & this.#mask; ; at = (at + 1) & this.#mask) {
      const number = this.#slots[at]! - 1;
      if (number < 0 || this.#idOf(number) === id) return number;
    }
  }

  /** An id that is not there yet. */
  add(id: string, number: number): void {
    let at = hashOf(id) & this.#mask;
    while (this.#slots[at] !== 0) at = (at + 1) & this.#mask;
    this.#slots[at] = number + 1;
  }
}

/** FNV-1a with a final mix: ids that count upward differ in their last characters only. */
function hashOf(id: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < id.length; index++) hash = Math.imul(hash ^ id.charCodeAt(index), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
