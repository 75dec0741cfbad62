import type { PredictionCache } from '#inference/prediction-cache.ts';
import type { PredictionsPort, ServingModel } from './pipeline-ports.ts';

/**
 * Candidates kept per second and thread, whole requests: at 0.1 to 0.15 µs each (the cache's memory is cold) that is 0.75 % of a thread
 * at most. What is kept is a mean of the last few, so more would tell little that is new.
 */
const keptPerSecondMax = 50_000;

/**
 * What the head says, kept by user segment and ad. Not its logits themselves but what they are above the light ranker's: the light
 * ranker knows the request in hand, the head's part is about the pair, so their sum is closer to what the head would say.
 */
export class KeptPredictions implements PredictionsPort {
  readonly #cache: PredictionCache;
  readonly #adKeys: Uint32Array;
  readonly #now: () => number;
  #allowance = keptPerSecondMax;
  #refilledMs = Number.NEGATIVE_INFINITY;

  /** `adKeys`: 32 bits by ad row that tell its ad from whichever had the row before. */
  constructor(cache: PredictionCache, adKeys: Uint32Array, now: () => number) {
    this.#cache = cache;
    this.#adKeys = adKeys;
    this.#now = now;
  }

  read(
    model: ServingModel,
    userIds: Uint32Array,
    rows: Uint32Array,
    first: number,
    count: number,
    light: Float32Array,
    logits: Float32Array,
  ): number {
    const cache = this.#cache;
    cache.begin(model.predictionKey, model.userSegmentOf(userIds), this.#now());
    let found = 0;
    for (let at = first; at < first + count; at++) {
      const above = cache.read(rows[at]!, this.#adKeys[rows[at]!]!);
      logits[at] = light[at]! + above;
      if (!Number.isNaN(above)) found++;
    }
    return found;
  }

  keep(
    model: ServingModel,
    userIds: Uint32Array,
    rows: Uint32Array,
    first: number,
    count: number,
    light: Float32Array,
    logits: Float32Array,
  ): void {
    const nowMs = this.#now();
    const passedMs = nowMs - this.#refilledMs;
    if (!(Math.abs(passedMs) < 1000)) {
      this.#refilledMs = nowMs;
      this.#allowance = keptPerSecondMax;
    }
    if (this.#allowance < count) return;
    this.#allowance -= count;
    const cache = this.#cache;
    cache.begin(model.predictionKey, model.userSegmentOf(userIds), nowMs);
    for (let index = 0; index < count; index++) {
      const row = rows[first + index]!;
      cache.keep(row, this.#adKeys[row]!, logits[index * 2]! - light[first + index]!);
    }
  }
}
