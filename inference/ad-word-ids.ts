import { type FeatureSchema, adFieldNames } from './feature-schema.ts';
import { WordPositions } from './word-positions.ts';

/**
 * Words of live ads → vocabulary ids of the model's ad fields. Whatever the model has not seen is 0: a new ad is then known by
 * its advertiser, category and size, which is how it starts cold.
 */
export class AdWordIds {
  readonly #fields: readonly {
    readonly word: number;
    readonly width: number;
    readonly positions: WordPositions;
  }[];

  constructor({ ad }: FeatureSchema) {
    this.#fields = ad.map(({ name, width, vocabulary }) => ({
      word: (adFieldNames as readonly string[]).indexOf(name),
      width,
      positions: new WordPositions(vocabulary ?? []),
    }));
  }

  /** `words` in the order of `adFieldNames`; fields that live ads do not have stay 0. */
  idsInto(words: readonly string[], ids: Int32Array, at: number): void {
    let place = at;
    for (const { word, width, positions } of this.#fields) {
      ids.fill(0, place, place + width);
      if (word >= 0) ids[place] = positions.of(words[word] ?? '') + 1;
      place += width;
    }
  }
}
