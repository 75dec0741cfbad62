/** What a batch costs on this model and this machine: fixed + rows × per row, in ms of wall clock. */
export type BatchCost = { readonly fixedMs: number; readonly perRowMs: number };

/** Before anything was measured: 60 µs and 0.7 µs a row, one core of a Zen 4 that others use too. */
export const assumedCost: BatchCost = { fixedMs: 0.06, perRowMs: 0.0007 };

/** What is learnt fades over about 256 batches: a few hundred milliseconds at full load. */
const memoryBatches = 256;
/** Weight of the two points that keep the line determined when all batches have the same size: their pull is 1 in 500. */
const anchorWeight = 0.25;
const anchorRows = [0, 1600] as const;
/** A residual beyond this many typical ones counts as one of that size: a descheduled thread is no news about the model. */
const outlierRatio = 3;

/**
 * Learns the cost of a batch online by exponentially weighted least squares, with far-off measurements pulled in. Anchored
 * by what was measured at warm-up, so that it has an answer from the first batch on, and for sizes not seen lately.
 */
export class CostModel {
  fixedMs: number;
  perRowMs: number;
  readonly #anchor: BatchCost;
  #weight = 0;
  #sumX = 0;
  #sumY = 0;
  #sumXX = 0;
  #sumXY = 0;
  /** Mean absolute residual; starts at half the anchor's batch of 200 so that the first batches are heard. */
  #typicalMs: number;

  constructor(anchor: BatchCost = assumedCost) {
    this.#anchor = anchor;
    this.fixedMs = anchor.fixedMs;
    this.perRowMs = anchor.perRowMs;
    this.#typicalMs = (anchor.fixedMs + 200 * anchor.perRowMs) / 2;
  }

  of(rowCount: number): number {
    return this.fixedMs + rowCount * this.perRowMs;
  }

  /** What a batch of `rowCount` rows took. Nonsense (a clock that jumped) is ignored. */
  learn(rowCount: number, tookMs: number): void {
    if (!(tookMs >= 0 && Number.isFinite(tookMs) && rowCount > 0)) return;
    const predictedMs = this.of(rowCount);
    const residual = tookMs - predictedMs;
    const bound = outlierRatio * this.#typicalMs;
    const heardMs = predictedMs + Math.min(bound, Math.max(-bound, residual));
    // Grows with what is bounded too, so that a lasting change is believed after some tens of batches.
    this.#typicalMs += (Math.min(Math.abs(residual), 2 * bound) - this.#typicalMs) / 32;
    const keep = 1 - 1 / memoryBatches;
    this.#weight = this.#weight * keep + 1;
    this.#sumX = this.#sumX * keep + rowCount;
    this.#sumY = this.#sumY * keep + heardMs;
    this.#sumXX = this.#sumXX * keep + rowCount * rowCount;
    this.#sumXY = this.#sumXY * keep + rowCount * heardMs;
    this.#solve();
  }

  #solve(): void {
    let weight = this.#weight;
    let x = this.#sumX;
    let y = this.#sumY;
    let xx = this.#sumXX;
    let xy = this.#sumXY;
    for (const rows of anchorRows) {
      const costMs = this.#anchor.fixedMs + rows * this.#anchor.perRowMs;
      weight += anchorWeight;
      x += anchorWeight * rows;
      y += anchorWeight * costMs;
      xx += anchorWeight * rows * rows;
      xy += anchorWeight * rows * costMs;
    }
    const slope = (weight * xy - x * y) / (weight * xx - x * x);
    const start = (y - slope * x) / weight;
    // Neither part of a cost is negative; what the other part must then be is least squares again.
    if (start < 0) {
      this.fixedMs = 0;
      this.perRowMs = xy / xx;
    } else if (slope < 0) {
      this.fixedMs = y / weight;
      this.perRowMs = 0;
    } else {
      this.fixedMs = start;
      this.perRowMs = slope;
    }
  }
}
