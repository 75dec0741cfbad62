import type { FeatureSchema } from './feature-schema.ts';

/**
 * What a light ranker knows of a user by their profile, read off the user's vector when the profile is lost: one linear map,
 * [(dims.user + 1) × columns] row-major, whose last row is what is added whatever the vector. Its columns are the parts of a request
 * that user ids have a say in (`LightRanker.partsInto`): for click and then for conversion the request's own and one per category, then
 * the interest match per category.
 */
export type VectorProfileWeights = Float32Array;

/** With more categories than this a map would take more than 0.2 ms per request to read, and is not made. */
export const vectorProfileCategoryMax = 1024;

/** Ids of the ad field `category`, the unknown one included; 1 where there is no such field. */
export function categoryCountOf(schema: FeatureSchema): number {
  return schema.ad.find(({ name }) => name === 'category')?.size ?? 1;
}

/** Where the parts of one request lie in the columns of the map. */
export function vectorProfileColumns(categoryCount: number): {
  readonly click: number;
  readonly conversion: number;
  readonly interest: number;
  readonly count: number;
} {
  const conversion = 1 + categoryCount;
  const interest = 2 * conversion;
  return { click: 0, conversion, interest, count: interest + categoryCount };
}

/** Reads vectors by a map; what it said last is in `said`. */
export class VectorProfile {
  readonly said: Float64Array;
  readonly #weights: VectorProfileWeights;
  readonly #dimension: number;

  constructor(weights: VectorProfileWeights, categoryCount: number) {
    const { count } = vectorProfileColumns(categoryCount);
    this.#weights = weights;
    this.#dimension = weights.length / count - 1;
    this.said = new Float64Array(count);
  }

  /** 64 dimensions and 24 categories: 4,810 multiplications. */
  read(vector: Float32Array): void {
    const { said } = this;
    const weights = this.#weights;
    const columns = said.length;
    let at = this.#dimension * columns;
    for (let column = 0; column < columns; column++) said[column] = weights[at + column]!;
    at = 0;
    for (let d = 0; d < this.#dimension; d++) {
      const value = vector[d]!;
      for (let column = 0; column < columns; column++) said[column] = said[column]! + value * weights[at + column]!;
      at += columns;
    }
  }
}
