import { type FeatureSchema, crossFeatureNames } from './feature-schema.ts';
import { fieldPlace, sameWordIds } from './field-places.ts';
import type { LightRanker } from './light-ranker.ts';

/** Numbers per candidate: 16. */
export const crossWidth = crossFeatureNames.length;
/** Views are logged in a byte: beyond this they count as this many, in serving too. */
export const viewCountMax = 255;
/** Click rates of a few percent have logits near −4: the square of a quarter of it is of the size of the other features. */
const logitScale = 1 / 4;

const viewsLog = Float64Array.from({ length: viewCountMax + 1 }, (_, views) => Math.log1p(views));

/**
 * The per-candidate numbers of the head. Serving and training both end in `rowInto`; serving prepares the ranker once for all
 * rows of a request, training (`oneInto`) for the row alone, with the same additions in the same order: equal to the last bit.
 *
 * - `light_logit`, `light_ad`, `light_category`, `light_advertiser`: the ranker's click logit and its parts.
 * - `line_item_views_log`: ln(1 + views of the line item by this user in its window).
 * - `site_category_match`, `interest_match`, `size_match`: 1 when the words are the same; unknown words match nothing.
 * - `is_video`, `is_native`: by the ad's size word. `light_logit_squared`: (light_logit ÷ 4)². `light_conversion_logit`.
 * - `hour_sin`, `hour_cos`: the UTC hour on a circle; both 0 when unknown.
 */
export class CrossFeatures {
  readonly #ranker: LightRanker;
  readonly #contextSize: Uint32Array;
  readonly #sizePlace: number;
  readonly #hourPlace: number;
  readonly #hourSin: Float64Array;
  readonly #hourCos: Float64Array;
  readonly #videoId: number;
  readonly #nativeId: number;
  #size = 0;
  #sin = 0;
  #cos = 0;

  constructor(schema: FeatureSchema, ranker: LightRanker) {
    this.#ranker = ranker;
    const adSize = fieldPlace(schema.ad, 'size')?.field;
    const contextSize = fieldPlace(schema.context, 'size');
    this.#contextSize = sameWordIds(contextSize?.field, adSize);
    this.#sizePlace = contextSize?.place ?? -1;
    const idOf = (word: string): number => (adSize?.vocabulary?.indexOf(word) ?? -1) + 1;
    this.#videoId = idOf('video');
    this.#nativeId = idOf('native');
    const hour = fieldPlace(schema.context, 'hour');
    this.#hourPlace = hour?.place ?? -1;
    const angles = (hour?.field.vocabulary ?? []).map((word) => (2 * Math.PI * Number(word)) / 24);
    const finite = (value: number): number => (Number.isFinite(value) ? value : 0);
    this.#hourSin = Float64Array.of(0, ...angles.map((angle) => finite(Math.sin(angle))));
    this.#hourCos = Float64Array.of(0, ...angles.map((angle) => finite(Math.cos(angle))));
  }

  /** Once per imp, beside the ranker's own `prepare`. */
  prepare(contextIds: Uint32Array, contextAt: number): void {
    this.#size = this.#sizePlace < 0 ? 0 : (this.#contextSize[contextIds[contextAt + this.#sizePlace]!] ?? 0);
    const hourId = this.#hourPlace < 0 ? 0 : contextIds[contextAt + this.#hourPlace]!;
    this.#sin = this.#hourSin[hourId] ?? 0;
    this.#cos = this.#hourCos[hourId] ?? 0;
  }

  /** Writes the 16 numbers of one ad row at `at`; the ranker and this must be prepared. */
  rowInto(target: Float32Array, at: number, row: number, views: number): void {
    const ranker = this.#ranker;
    const logit = ranker.clickLogit(row);
    const size = ranker.ads.size[row]!;
    target[at] = logit;
    target[at + 1] = ranker.ads.lightClick[row]!;
    target[at + 2] = ranker.categoryPart(row);
    target[at + 3] = ranker.advertiserPart(row);
    target[at + 4] = viewsLog[views < viewCountMax ? views : viewCountMax]!;
    target[at + 5] = ranker.matchesSite(row);
    target[at + 6] = ranker.matchesInterest(row);
    target[at + 7] = size > 0 && size === this.#size ? 1 : 0;
    target[at + 8] = size > 0 && size === this.#videoId ? 1 : 0;
    target[at + 9] = size > 0 && size === this.#nativeId ? 1 : 0;
    target[at + 10] = logit * logitScale * (logit * logitScale);
    target[at + 11] = ranker.conversionLogit(row);
    target[at + 12] = this.#sin;
    target[at + 13] = this.#cos;
    target[at + 14] = 0;
    target[at + 15] = 1;
  }

  /** The trainer's way: one impression, ids at places of long columns (`userIds` without the identity). */
  oneInto(
    target: Float32Array,
    at: number,
    row: number,
    contextIds: Uint32Array,
    contextAt: number,
    userIds: Uint32Array,
    userAt: number,
    views: number,
  ): void {
    this.#ranker.prepareFor(row, contextIds, contextAt, userIds, userAt);
    this.prepare(contextIds, contextAt);
    this.rowInto(target, at, row, views);
  }
}
