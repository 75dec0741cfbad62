import type { WordSets } from './word-sets.ts';

/**
 * Which sets a request's words touch, as one thread sees it. `mark` stamps the sets that hold a word (or a word below it) with
 * the request's own number, so nothing has to be cleared; the hot loop compares one stamp per ad.
 */
export class SetMatcher {
  readonly #sets: WordSets;
  /** The words above a word: whoever marks one of them marks this word too. */
  readonly #ancestorsOf: (word: string) => readonly string[];
  /** Word numbers at or below a word. */
  readonly #numbersBelow = new Map<string, number[]>();
  /** Sets that hold a word, by its number. */
  readonly #setsWith: number[][] = [];
  #wordCount = 0;
  #setCount = 0;
  #wordStamps: Uint32Array = new Uint32Array(256);
  /** A set is touched when its stamp is `stamp`. Valid from `begin` to the next `begin`. */
  setStamps: Uint32Array = new Uint32Array(256);
  stamp = 0;
  /** false: no set of ours holds any of the words marked, so nothing needs to be asked. */
  hasMarked = false;

  constructor(sets: WordSets, ancestorsOf: (word: string) => readonly string[] = () => []) {
    this.#sets = sets;
    this.#ancestorsOf = ancestorsOf;
  }

  /** Forgets what was marked, and takes up the sets that were added meanwhile. */
  begin(): void {
    if (this.#sets.setCount !== this.#setCount) this.#learn();
    this.hasMarked = false;
    this.stamp += 1;
    if (this.stamp > 0xffff_ffff) {
      this.setStamps.fill(0);
      this.#wordStamps.fill(0);
      this.stamp = 1;
    }
  }

  mark(word: string): void {
    const numbers = this.#numbersBelow.get(word);
    if (numbers === undefined) return;
    this.hasMarked = true;
    const { stamp, setStamps } = this;
    for (let index = 0; index < numbers.length; index++) {
      const number = numbers[index]!;
      if (this.#wordStamps[number] === stamp) continue;
      this.#wordStamps[number] = stamp;
      const holders = this.#setsWith[number]!;
      for (let place = 0; place < holders.length; place++) setStamps[holders[place]!] = stamp;
    }
  }

  markAll(words: readonly (string | number)[]): void {
    for (let index = 0; index < words.length; index++) this.mark(String(words[index]));
  }

  /** Takes back what `mark` said of sets that hold only this word. */
  unmark(word: string): void {
    for (const number of this.#numbersBelow.get(word) ?? []) {
      for (const set of this.#setsWith[number]!) this.setStamps[set] = 0;
    }
  }

  /** Whether every word of the set is marked. */
  isCovered(set: number): boolean {
    const numbers = this.#sets.wordNumbersOf(set);
    for (let index = 0; index < numbers.length; index++)
      if (this.#wordStamps[numbers[index]!] !== this.stamp) return false;
    return true;
  }

  #learn(): void {
    // Sets first: their words were written before them.
    const setCount = this.#sets.setCount;
    const wordCount = this.#sets.wordCount;
    for (let number = this.#wordCount; number < wordCount; number++) {
      const word = this.#sets.word(number);
      this.#setsWith[number] = [];
      for (const each of new Set([word, ...this.#ancestorsOf(word)])) {
        const below = this.#numbersBelow.get(each);
        if (below === undefined) this.#numbersBelow.set(each, [number]);
        else below.push(number);
      }
    }
    for (let set = Math.max(1, this.#setCount); set < setCount; set++) {
      for (const number of this.#sets.wordNumbersOf(set)) this.#setsWith[number]!.push(set);
    }
    this.#wordCount = wordCount;
    this.#setCount = setCount;
    this.setStamps = grown(this.setStamps, setCount);
    this.#wordStamps = grown(this.#wordStamps, wordCount);
  }
}

function grown(stamps: Uint32Array, count: number): Uint32Array {
  if (count <= stamps.length) return stamps;
  const larger = new Uint32Array(Math.ceil(count * 1.5));
  larger.set(stamps);
  return larger;
}
