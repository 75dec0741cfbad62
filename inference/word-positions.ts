/**
 * Word → its place in a list, in 6 to 12 bytes a word beside the list itself: a Map takes about 50, and the list of a vocabulary is
 * held anyway. For lists without repetition.
 */
export class WordPositions {
  readonly #words: readonly string[];
  /** Place + 1 of a word; 0 is empty. At most two thirds full. */
  readonly #slots: Int32Array;
  readonly #mask: number;

  constructor(words: readonly string[]) {
    this.#words = words;
    const slotCount = 2 ** Math.ceil(Math.log2(Math.max(1, words.length) * 1.5 + 1));
    this.#slots = new Int32Array(slotCount);
    this.#mask = slotCount - 1;
    for (let position = 0; position < words.length; position++) {
      const slot = this.#find(words[position]!);
      if (this.#slots[slot] === 0) this.#slots[slot] = position + 1;
    }
  }

  /** −1 when the word is not in the list. */
  of(word: string): number {
    return this.#slots[this.#find(word)]! - 1;
  }

  /** The word's slot, or the empty one where it would go. */
  #find(word: string): number {
    const slots = this.#slots;
    let slot = hashOf(word) & this.#mask;
    for (;;) {
      const seen = slots[slot]!;
      if (seen === 0 || this.#words[seen - 1] === word) return slot;
      slot = (slot + 1) & this.#mask;
    }
  }
}

/** FNV-1a over UTF-16 units, mixed so that the low bits depend on all of it. */
function hashOf(word: string): number {
  let hash = 0x811c_9dc5;
  for (let index = 0; index < word.length; index++) hash = Math.imul(hash ^ word.charCodeAt(index), 0x0100_0193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x85eb_ca6b);
  return hash ^ (hash >>> 13);
}
