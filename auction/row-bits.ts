import {
  activeBitmap,
  BitmapPoolWriter,
  type BitmapPoolShared,
  ruledBitmap,
  secureBitmap,
  spareBitmapCount,
} from './bitmap-pool.ts';
import type { TargetingSpec } from './catalog-spec.ts';
import type { TextHeapWriter } from './text-heap.ts';

/** Conditions that are kept as bitmaps, by their field in a targeting and their name in the index. */
const conditionFields = [
  ['country', 'countries'],
  ['device', 'devices'],
  ['os', 'os'],
  ['language', 'languages'],
  ['hour', 'hours'],
  ['day', 'days'],
] as const;
const sizeField = 'size';

/** Every bit of one ad but `active`. */
export type RowFacts = {
  readonly targeting: TargetingSpec | undefined;
  /** "300x250", "video", "native". */
  readonly size: string;
  readonly isSecure: boolean;
  /** Has conditions on segments or places. */
  readonly isRuled: boolean;
};

/** Which bitmaps an ad needs: "size=300x250", "country" and "country=USA". */
export function bitmapKeys(targeting: TargetingSpec | undefined, size: string): string[] {
  const keys = size === '' ? [] : [`${sizeField}=${size}`];
  for (const [field, name] of conditionFields) {
    const values = targeting?.[name];
    if (values !== undefined) keys.push(field, ...values.map((value) => `${field}=${value}`));
  }
  return keys;
}

/** Writes the bits of ads. For the one writer. */
export class RowBits {
  readonly #pool: BitmapPoolWriter;
  /** Bitmap by value; the value '' is the bare field's. */
  readonly #fields = new Map<string, Map<string, number>>();

  /** `keys`: what the ads at start need. */
  constructor(keys: ReadonlySet<string>, rowCapacity: number, texts: TextHeapWriter) {
    this.#pool = new BitmapPoolWriter(keys.size + spareBitmapCount, rowCapacity, texts);
    this.ensure(keys);
  }

  get shared(): BitmapPoolShared {
    return this.#pool.shared;
  }

  hasRoomFor(keys: ReadonlySet<string>): boolean {
    let missing = 0;
    for (const key of keys) if (this.#pool.numberOf(key) < 0) missing++;
    return missing <= this.#pool.freeCount;
  }

  /** Bare fields come before their values, as `bitmapKeys` lists them. */
  ensure(keys: Iterable<string>): void {
    for (const key of keys) {
      if (this.#pool.numberOf(key) >= 0) continue;
      const [field = '', value = ''] = key.split('=');
      let values = this.#fields.get(field);
      if (values === undefined) this.#fields.set(field, (values = new Map()));
      // Nobody had a condition on this field so far: all ads meet any value. A new value was an unlisted one until now.
      const content = field === sizeField ? 'empty' : value === '' ? 'full' : values.get('')!;
      values.set(value, this.#pool.add(key, content));
    }
  }

  /** All bits but `active`, whatever they were before. */
  write(row: number, facts: RowFacts): void {
    const pool = this.#pool;
    for (const [field, name] of conditionFields) {
      const values = this.#fields.get(field);
      if (values === undefined) continue;
      const asked: readonly (string | number)[] | undefined = facts.targeting?.[name];
      for (const bitmap of values.values()) pool.put(bitmap, row, asked === undefined);
      for (const value of asked ?? []) pool.put(values.get(String(value))!, row, true);
    }
    for (const [size, bitmap] of this.#fields.get(sizeField) ?? []) pool.put(bitmap, row, size === facts.size);
    pool.put(secureBitmap, row, facts.isSecure);
    pool.put(ruledBitmap, row, facts.isRuled);
  }

  setActive(row: number, isActive: boolean): void {
    this.#pool.put(activeBitmap, row, isActive);
  }
}
