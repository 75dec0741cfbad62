import type { FeatureSchema } from './feature-schema.ts';
import { fieldPlace, placeCount } from './field-places.ts';

/**
 * Fields of the user that tell people apart for kept predictions, first place of each: chosen by what a prediction is worth against how
 * often there is one (README, "Decisions").
 */
const segmentFields = ['segment', 'age', 'gender'];

/** Sorts users into the segments that predictions are kept by. Ids begin after the identity, as everywhere in serving. */
export class UserSegments {
  readonly #places: readonly number[];
  readonly #factors: readonly number[];
  readonly count: number;

  constructor(schema: FeatureSchema) {
    const identityWidth = placeCount(schema.user.slice(0, 1));
    const found = segmentFields.flatMap((name) => {
      const each = fieldPlace(schema.user, name);
      return each === undefined || each.place < identityWidth ? [] : [each];
    });
    this.#places = found.map(({ place }) => place - identityWidth);
    let count = 1;
    this.#factors = found.map(({ field }) => {
      const factor = count;
      count *= field.size;
      return factor;
    });
    this.count = count;
  }

  /** 0 up to `count`; 0 for somebody unknown. */
  of(userIds: ArrayLike<number>, at = 0): number {
    let segment = 0;
    for (let index = 0; index < this.#places.length; index++)
      segment += userIds[at + this.#places[index]!]! * this.#factors[index]!;
    return segment;
  }
}
