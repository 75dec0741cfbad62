/** What the histogram tells apart: 10 µs to 10 s, in steps of 4.4 % (16 to an octave). */
const lowestMs = 0.01;
const stepsPerOctave = 16;
const bucketCount = 20 * stepsPerOctave + 2;
/** Weights are brought back to 1 before they leave the range in which sums of doubles are exact enough. */
const weightMax = 2 ** 20;

/**
 * Quantiles of recent durations: a histogram of logarithmic buckets in which a record counts half as much for every `halfLifeMs`
 * that has passed since. Nothing is ever aged: a new record weighs more instead (forward decay: Cormode, Shkapenyuk, Srivastava,
 * Xu, "Forward Decay: A Practical Time Decay Model for Streaming Systems", 2009, section III). A record costs one logarithm.
 */
export class DecayingQuantile {
  readonly #weights = new Float64Array(bucketCount);
  readonly #stepMs: number;
  #weight = 1;
  #total = 0;
  #steppedMs = Number.NaN;

  constructor(halfLifeMs: number) {
    // The weight moves eight times per half-life: often enough that no quantile notices, rare enough to cost nothing.
    this.#stepMs = halfLifeMs / 8;
  }

  record(durationMs: number, nowMs: number): void {
    this.#advance(nowMs);
    this.#weights[bucketOf(durationMs)]! += this.#weight;
    this.#total += this.#weight;
  }

  /** How many records as new as `nowMs` would weigh as much as all that are left: what a quantile stands on. */
  sampleCount(nowMs: number): number {
    this.#advance(nowMs);
    return this.#total / this.#weight;
  }

  /** The duration that a share `quantile` of the records did not exceed, at most 4.4 % too high; 0 when there are none. */
  valueAt(quantile: number): number {
    if (this.#total === 0) return 0;
    const wanted = this.#total * quantile;
    let sum = 0;
    let last = 0;
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      const weight = this.#weights[bucket]!;
      if (weight === 0) continue;
      sum += weight;
      last = bucket;
      if (sum >= wanted) break;
    }
    return upperBoundOf(last);
  }

  #advance(nowMs: number): void {
    if (Number.isNaN(this.#steppedMs)) this.#steppedMs = nowMs;
    const steps = Math.floor((nowMs - this.#steppedMs) / this.#stepMs);
    if (steps <= 0) return;
    this.#steppedMs += steps * this.#stepMs;
    this.#weight *= 2 ** (Math.min(steps, 800) / 8);
    if (this.#weight > weightMax) this.#rescale();
  }

  #rescale(): void {
    this.#total = 0;
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      const weight = this.#weights[bucket]! / this.#weight;
      // What weighs less than a millionth of a new record is forgotten.
      this.#weights[bucket] = weight < 1e-6 ? 0 : weight;
      this.#total += this.#weights[bucket]!;
    }
    this.#weight = 1;
  }
}

function bucketOf(durationMs: number): number {
  if (!(durationMs > lowestMs)) return 0;
  const bucket = Math.ceil(Math.log2(durationMs / lowestMs) * stepsPerOctave);
  return bucket < bucketCount ? bucket : bucketCount - 1;
}

function upperBoundOf(bucket: number): number {
  return lowestMs * 2 ** (bucket / stepsPerOctave);
}
