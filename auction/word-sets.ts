import type { TextHeap, TextHeapWriter } from './text-heap.ts';

/**
 * Small sets of words, each kept once and known by a number: the categories of a creative, the segments a line item asks for.
 * Many ads share few sets, so a request is matched against sets, not ads. Only ever grows: a number once given out stays.
 * Set 0 is the empty set.
 */
export type WordSetsShared = {
  /** How many words, sets and items there are. */
  readonly counts: SharedArrayBuffer;
  /** Text reference by word number. */
  readonly wordText: SharedArrayBuffer;
  /** Where a set's word numbers end in `items`; they begin where those of the set before it end. */
  readonly setEnd: SharedArrayBuffer;
  readonly items: SharedArrayBuffer;
};

const wordCountAt = 0;
const setCountAt = 1;

/** A reader's view: any thread. */
export class WordSets {
  readonly #counts: Int32Array;
  readonly #wordText: Uint32Array;
  readonly #setEnd: Uint32Array;
  readonly #items: Uint32Array;
  readonly #texts: TextHeap;

  constructor(shared: WordSetsShared, texts: TextHeap) {
    this.#counts = new Int32Array(shared.counts);
    this.#wordText = new Uint32Array(shared.wordText);
    this.#setEnd = new Uint32Array(shared.setEnd);
    this.#items = new Uint32Array(shared.items);
    this.#texts = texts;
  }

  get wordCount(): number {
    return Atomics.load(this.#counts, wordCountAt);
  }
  get setCount(): number {
    return Atomics.load(this.#counts, setCountAt);
  }
  word(number: number): string {
    return this.#texts.read(this.#wordText[number]!);
  }
  /** Word numbers of a set, in the order in which they were stated. */
  wordNumbersOf(set: number): Uint32Array {
    return set === 0 ? this.#items.subarray(0, 0) : this.#items.subarray(this.#setEnd[set - 1], this.#setEnd[set]);
  }
  wordsOf(set: number): string[] {
    return [...this.wordNumbersOf(set)].map((number) => this.word(number));
  }
}

/** Room for sets that later changes bring: a quarter of what there is, and 256 of each, 1,024 items. */
const sparesMin = { words: 256, sets: 256, items: 1024 };
const spareShare = 0.25;

/** The one writer. Grows freely until `share`. */
export class WordSetsWriter {
  readonly #texts: TextHeapWriter;
  readonly #wordNumbers = new Map<string, number>();
  readonly #setNumbers = new Map<string, number>([['', 0]]);
  readonly #setOfList = new WeakMap<readonly (string | number)[], number>();
  // Before `share` only.
  #wordText: number[] = [];
  #setEnd: number[] = [0];
  #items: number[] = [];
  #views: { counts: Int32Array; wordText: Uint32Array; setEnd: Uint32Array; items: Uint32Array } | undefined;
  #itemCount = 0;

  constructor(texts: TextHeapWriter) {
    this.#texts = texts;
  }

  /** The number of the set of these words, made if need be. The caller has made sure of the room (`hasRoomFor`). */
  add(words: readonly (string | number)[]): number {
    if (words.length === 0) return 0;
    // A file's lists are few objects shared by many entries.
    let set = this.#setOfList.get(words);
    if (set === undefined) this.#setOfList.set(words, (set = this.#addList(words)));
    return set;
  }

  #addList(words: readonly (string | number)[]): number {
    const distinct = new Set(words.map(String));
    const numbers = [...distinct].map((word) => this.#wordNumber(word));
    const key = numbers.join(',');
    const known = this.#setNumbers.get(key);
    if (known !== undefined) return known;
    const set = this.#setNumbers.size;
    this.#setNumbers.set(key, set);
    const views = this.#views;
    if (views === undefined) {
      this.#items.push(...numbers);
      this.#setEnd.push(this.#items.length);
    } else {
      views.items.set(numbers, this.#itemCount);
      this.#itemCount += numbers.length;
      views.setEnd[set] = this.#itemCount;
      Atomics.store(views.counts, setCountAt, set + 1);
    }
    return set;
  }

  #wordNumber(word: string): number {
    let number = this.#wordNumbers.get(word);
    if (number !== undefined) return number;
    number = this.#wordNumbers.size;
    this.#wordNumbers.set(word, number);
    const reference = this.#texts.append(word);
    if (this.#views === undefined) this.#wordText.push(reference);
    else {
      this.#views.wordText[number] = reference;
      Atomics.store(this.#views.counts, wordCountAt, number + 1);
    }
    return number;
  }

  /** Whether the set of these words is there, so that `add` would take no room. */
  has(words: readonly string[]): boolean {
    const numbers: number[] = [];
    for (const word of new Set(words)) {
      const number = this.#wordNumbers.get(word);
      if (number === undefined) return false;
      numbers.push(number);
    }
    return this.#setNumbers.has(numbers.join(','));
  }

  /** Whether `setCount` more sets of `itemCount` words in all, each of them new, would fit. */
  hasRoomFor(setCount: number, itemCount: number): boolean {
    const views = this.#views;
    if (views === undefined) return true;
    return (
      this.#setNumbers.size + setCount <= views.setEnd.length &&
      this.#wordNumbers.size + itemCount <= views.wordText.length &&
      this.#itemCount + itemCount <= views.items.length
    );
  }

  share(): WordSetsShared {
    const roomFor = (count: number, spare: number): SharedArrayBuffer =>
      new SharedArrayBuffer(4 * (count + Math.ceil(count * spareShare) + spare));
    const shared: WordSetsShared = {
      counts: new SharedArrayBuffer(8),
      wordText: roomFor(this.#wordText.length, sparesMin.words),
      setEnd: roomFor(this.#setEnd.length, sparesMin.sets),
      items: roomFor(this.#items.length, sparesMin.items),
    };
    const views = {
      counts: new Int32Array(shared.counts),
      wordText: new Uint32Array(shared.wordText),
      setEnd: new Uint32Array(shared.setEnd),
      items: new Uint32Array(shared.items),
    };
    views.wordText.set(this.#wordText);
    views.setEnd.set(this.#setEnd);
    views.items.set(this.#items);
    views.counts[wordCountAt] = this.#wordText.length;
    views.counts[setCountAt] = this.#setEnd.length;
    this.#itemCount = this.#items.length;
    this.#wordText = [];
    this.#setEnd = [];
    this.#items = [];
    this.#views = views;
    return shared;
  }
}
