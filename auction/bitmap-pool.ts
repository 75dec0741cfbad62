import type { TextHeap, TextHeapWriter } from './text-heap.ts';

/**
 * Bitmaps over ad rows, one bit per row, each known by a key such as "country=USA"; the key "country" alone holds the ads
 * without a condition on countries, for values that no line item names.
 */
export type BitmapPoolShared = {
  readonly count: SharedArrayBuffer;
  /** Text reference of the key, by bitmap number. */
  readonly keyText: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
  readonly wordsPerBitmap: number;
};

/** Bitmaps that every pool begins with. */
export const activeBitmap = 0;
export const secureBitmap = 1;
export const ruledBitmap = 2;
const fixedKeys = ['active', 'secure', 'ruled'];

/** A reader's view: any thread. */
export class BitmapPool {
  readonly words: Int32Array;
  readonly wordsPerBitmap: number;
  readonly #count: Int32Array;
  readonly #keyText: Uint32Array;
  readonly #texts: TextHeap;
  /** Field → value → bitmap; value '' is the field's bare key. */
  readonly #fields = new Map<string, Map<string, number>>();
  #known = 0;

  constructor(shared: BitmapPoolShared, texts: TextHeap) {
    this.words = new Int32Array(shared.words);
    this.wordsPerBitmap = shared.wordsPerBitmap;
    this.#count = new Int32Array(shared.count);
    this.#keyText = new Uint32Array(shared.keyText);
    this.#texts = texts;
    this.learn();
  }

  /** Takes up bitmaps added since. */
  learn(): void {
    const count = Atomics.load(this.#count, 0);
    for (; this.#known < count; this.#known++) {
      const [field = '', value = ''] = this.#texts.read(this.#keyText[this.#known]!).split('=');
      const values = this.#fields.get(field);
      if (values === undefined) this.#fields.set(field, new Map([[value, this.#known]]));
      else values.set(value, this.#known);
    }
  }

  /** The bitmap of a value, else the one of the bare field, else −1: nobody has a condition on the field. */
  numberOf(field: string, value: string): number {
    const values = this.#fields.get(field);
    return values?.get(value) ?? values?.get('') ?? -1;
  }
}

/** An eighth of a byte per ad each: 64 values may appear later that nothing named at start. */
export const spareBitmapCount = 64;

/** The one writer. */
export class BitmapPoolWriter {
  readonly shared: BitmapPoolShared;
  readonly #words: Int32Array;
  readonly #wordsPerBitmap: number;
  readonly #count: Int32Array;
  readonly #keyText: Uint32Array;
  readonly #texts: TextHeapWriter;
  readonly #numbers = new Map<string, number>();
  readonly #capacity: number;

  constructor(capacity: number, rowCapacity: number, texts: TextHeapWriter) {
    this.#texts = texts;
    this.#wordsPerBitmap = Math.ceil(rowCapacity / 32);
    this.#capacity = capacity + fixedKeys.length;
    this.shared = {
      count: new SharedArrayBuffer(4),
      keyText: new SharedArrayBuffer(4 * this.#capacity),
      words: new SharedArrayBuffer(4 * this.#capacity * this.#wordsPerBitmap),
      wordsPerBitmap: this.#wordsPerBitmap,
    };
    this.#words = new Int32Array(this.shared.words);
    this.#count = new Int32Array(this.shared.count);
    this.#keyText = new Uint32Array(this.shared.keyText);
    for (const key of fixedKeys) this.add(key, 'empty');
  }

  get freeCount(): number {
    return this.#capacity - this.#numbers.size;
  }

  numberOf(key: string): number {
    return this.#numbers.get(key) ?? -1;
  }

  /** A new bitmap: empty, full, or a copy of another one. It can be seen only once it is filled. */
  add(key: string, content: 'empty' | 'full' | number): number {
    const number = this.#numbers.size;
    if (number >= this.#capacity) throw new RangeError('The bitmap pool is full.');
    const start = number * this.#wordsPerBitmap;
    if (content === 'full') this.#words.fill(-1, start, start + this.#wordsPerBitmap);
    else if (content !== 'empty') {
      const from = content * this.#wordsPerBitmap;
      this.#words.copyWithin(start, from, from + this.#wordsPerBitmap);
    }
    this.#numbers.set(key, number);
    this.#keyText[number] = this.#texts.append(key);
    Atomics.store(this.#count, 0, number + 1);
    return number;
  }

  /** Whoever sees this bit in the bitmap `active` also sees what was written before it: the store is atomic. */
  put(bitmap: number, row: number, isSet: boolean): void {
    const at = bitmap * this.#wordsPerBitmap + (row >>> 5);
    const word = this.#words[at]!;
    const bit = 1 << (row & 31);
    const next = isSet ? word | bit : word & ~bit;
    if (next === word) return;
    if (bitmap === activeBitmap) Atomics.store(this.#words, at, next);
    else this.#words[at] = next;
  }
}
