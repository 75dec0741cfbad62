import { type FeatureSchema, adFieldNames } from './feature-schema.ts';

/**
 * Words of live ads → vocabulary ids of the model's ad fields. Whatever the model has not seen is 0: a new ad is then known by
 * its advertiser, category and size, which is how it starts cold.
 */
export class AdWordIds {
  readonly #fields: readonly {
    readonly word: number;
    readonly width: number;
    readonly ids: ReadonlyMap<string, number>;
  }[];

  /** With `wanted`, only these words are indexed: a few new ads do not cost an index of a million. */
  constructor({ ad }: FeatureSchema, wanted?: ReadonlySet<string>) {
    this.#fields = ad.map(({ name, width, vocabulary }) => {
      const ids = new Map<string, number>();
      for (const [position, word] of (vocabulary ?? []).entries())
        if (wanted === undefined || wanted.has(word)) ids.set(word, position + 1);
      return { word: (adFieldNames as readonly string[]).indexOf(name), width, ids };
    });
  }

  /** `words` in the order of `adFieldNames`; fields that live ads do not have stay 0. */
  idsInto(words: readonly string[], ids: Int32Array, at: number): void {
    let place = at;
    for (const { word, width, ids: known } of this.#fields) {
      ids.fill(0, place, place + width);
      if (word >= 0) ids[place] = known.get(words[word] ?? '') ?? 0;
      place += width;
    }
  }
}
