import type { FeatureSchema } from './feature-schema.ts';
import { fieldPlace, placeCount } from './field-places.ts';
import type { LightRankerWeights, RankerHead } from './light-ranker.ts';

/** What the light ranker and the cross features keep per ad row: 16 bytes. */
export type AdColumns = {
  /** Sum of the ad fields' own weights. */
  readonly lightClick: Float32Array;
  readonly lightConversion: Float32Array;
  /** Ids in the model's vocabularies, 0 unknown. */
  readonly category: Uint16Array;
  readonly advertiser: Uint32Array;
  readonly size: Uint16Array;
};

/** In shared memory, so that every thread sees ads that are added later. */
export function allocateAdColumns(rowCount: number): AdColumns {
  return {
    lightClick: new Float32Array(new SharedArrayBuffer(rowCount * 4)),
    lightConversion: new Float32Array(new SharedArrayBuffer(rowCount * 4)),
    category: new Uint16Array(new SharedArrayBuffer(rowCount * 2)),
    advertiser: new Uint32Array(new SharedArrayBuffer(rowCount * 4)),
    size: new Uint16Array(new SharedArrayBuffer(rowCount * 2)),
  };
}

/** Fills columns from vocabulary ids of ads, `Σ widths` places per ad. */
export class AdColumnFiller {
  readonly #schema: FeatureSchema;
  readonly #weights: LightRankerWeights;
  readonly #categoryPlace: number;
  readonly #advertiserPlace: number;
  readonly #sizePlace: number;

  constructor(schema: FeatureSchema, weights: LightRankerWeights) {
    this.#schema = schema;
    this.#weights = weights;
    const place = (name: string): number => fieldPlace(schema.ad, name)?.place ?? -1;
    this.#categoryPlace = place('category');
    this.#advertiserPlace = place('advertiser');
    this.#sizePlace = place('size');
  }

  fill(columns: AdColumns, row: number, ids: ArrayLike<number>, at: number): void {
    const idAt = (place: number): number => (place < 0 ? 0 : ids[at + place]!);
    columns.lightClick[row] = this.#ownWeights(this.#weights.click, ids, at);
    columns.lightConversion[row] = this.#ownWeights(this.#weights.conversion, ids, at);
    columns.category[row] = idAt(this.#categoryPlace);
    columns.advertiser[row] = idAt(this.#advertiserPlace);
    columns.size[row] = idAt(this.#sizePlace);
  }

  #ownWeights({ ad }: RankerHead, ids: ArrayLike<number>, at: number): number {
    let sum = 0;
    let place = at;
    for (const [field, { width }] of this.#schema.ad.entries()) {
      const weights = ad[field];
      for (let index = 0; index < width; index++, place++) {
        const id = ids[place]!;
        if (weights !== undefined && id < weights.length && (id > 0 || width === 1)) sum += weights[id]!;
      }
    }
    return sum;
  }
}

/** Columns for ads given as a table of columns (`values[f]` holds count × width ids): what a trainer has. */
export function adColumnsOf(
  schema: FeatureSchema,
  weights: LightRankerWeights,
  values: readonly ArrayLike<number>[],
  count: number,
): AdColumns {
  const columns = allocateAdColumns(count);
  const filler = new AdColumnFiller(schema, weights);
  const ids = new Uint32Array(placeCount(schema.ad));
  for (let row = 0; row < count; row++) {
    let place = 0;
    for (const [field, { width }] of schema.ad.entries())
      for (let index = 0; index < width; index++) ids[place++] = values[field]![row * width + index]!;
    filler.fill(columns, row, ids, 0);
  }
  return columns;
}
