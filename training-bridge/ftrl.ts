export type FtrlOptions = {
  /** Learning rate of a coordinate that has seen nothing: α ÷ β. */
  readonly alpha: number;
  readonly beta: number;
  readonly l1: number;
  readonly l2: number;
};

/**
 * FTRL-proximal logistic regression over features that are there or not (McMahan et al., "Ad click prediction: a view from the
 * trenches", KDD 2013, algorithm 1): per-coordinate learning rates, L1 that leaves rare features at exactly 0. One row at a time;
 * weights are kept as plain numbers, so predicting is a sum of gathers.
 */
export class Ftrl {
  /** By slot; live: the next `update` changes them. */
  readonly weights: Float32Array;
  readonly #z: Float64Array;
  readonly #n: Float64Array;
  readonly #alphas: Float32Array;
  readonly #options: FtrlOptions;

  /** `rateShares`: factor of α by slot, where some features are known to need another rate than the rest. */
  constructor(slotCount: number, options: FtrlOptions, rateShares?: Float32Array) {
    this.weights = new Float32Array(slotCount);
    this.#z = new Float64Array(slotCount);
    this.#n = new Float64Array(slotCount);
    this.#alphas = new Float32Array(slotCount).fill(options.alpha);
    if (rateShares !== undefined) this.#alphas = this.#alphas.map((alpha, slot) => alpha * rateShares[slot]!);
    this.#options = options;
  }

  /** Where a slot begins, such as the bias at the rate of the log: what it learns is the difference. */
  startAt(slot: number, weight: number): void {
    const { beta, l1, l2 } = this.#options;
    this.#z[slot] = -weight * (beta / this.#alphas[slot]! + l2) - Math.sign(weight) * l1;
    this.weights[slot] = weight;
  }

  /** Σ of the weights of the first `count` slots. */
  logit(slots: Uint32Array, count: number): number {
    const { weights } = this;
    let sum = 0;
    for (let index = 0; index < count; index++) sum += weights[slots[index]!]!;
    return sum;
  }

  /** Learns one row: `gradient` = weight of the row × (predicted probability − outcome), the same for each of its features. */
  update(slots: Uint32Array, count: number, gradient: number): void {
    const { beta, l1, l2 } = this.#options;
    const { weights } = this;
    const alphas = this.#alphas;
    const z = this.#z;
    const n = this.#n;
    const square = gradient * gradient;
    for (let index = 0; index < count; index++) {
      const slot = slots[index]!;
      const alpha = alphas[slot]!;
      const before = n[slot]!;
      const after = before + square;
      const root = Math.sqrt(after);
      const moved = z[slot]! + gradient - ((root - Math.sqrt(before)) / alpha) * weights[slot]!;
      n[slot] = after;
      z[slot] = moved;
      const excess = moved > l1 ? moved - l1 : moved < -l1 ? moved + l1 : 0;
      weights[slot] = -excess / ((beta + root) / alpha + l2);
    }
  }

  /**
   * Ends learning for a column of slots (`count` of them, `stride` apart): those that no row had get the mean of the others, weighted
   * by how much each was learnt from. What is always there shares the level with the bias, so 0 would not be an average value.
   */
  fillUnseen(start: number, count: number, stride: number): void {
    const { weights } = this;
    const n = this.#n;
    let sum = 0;
    let total = 0;
    for (let index = 0; index < count; index++) {
      sum += n[start + index * stride]! * weights[start + index * stride]!;
      total += n[start + index * stride]!;
    }
    if (total === 0) return;
    for (let index = 0; index < count; index++)
      if (n[start + index * stride] === 0) weights[start + index * stride] = sum / total;
  }
}

export function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}
