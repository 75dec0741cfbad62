/** A monotone piecewise-linear map from logit to probability, clamped outside its knots. */
export type Calibrator = {
  /** Strictly rising. */
  readonly logits: readonly number[];
  /** Never falling, in (0, 1]; as many as logits. */
  readonly probabilities: readonly number[];
};

/** Rungs that every bundle calibrates, each by a calibrator of its own: it was fitted on what that rung serves. */
export const calibratedRungs = ['full', 'reduced', 'light-ranker'] as const;

/**
 * Rungs that came later: bundles of before have no calibrator for them, and then the neighbour's holds, whose logits are the nearest
 * in kind. 'as-is': the logit is that of a probability already.
 */
export const laterCalibratedRungs = {
  'average-embedding': 'full',
  'cached-prediction': 'full',
  'default-features': 'light-ranker',
  'smoothed-rate': 'as-is',
  'vector-only': 'full',
} as const satisfies Readonly<Record<string, (typeof calibratedRungs)[number] | 'as-is'>>;
export type LaterCalibratedRung = keyof typeof laterCalibratedRungs;
export type CalibratedRung = (typeof calibratedRungs)[number] | LaterCalibratedRung;

export type HeadCalibrators = Readonly<
  Record<(typeof calibratedRungs)[number], Calibrator> & Partial<Record<LaterCalibratedRung, Calibrator>>
>;
export type CalibrationHeads = { readonly click: HeadCalibrators; readonly conversion: HeadCalibrators };

/** All calibrators of a model. `id` is the hash of `heads` (`calibrationId`); what a trainer leaves there is replaced on writing. */
export type CalibrationSet = { readonly id: string; readonly heads: CalibrationHeads };

const q30One = 2 ** 30;
/** Isotonic fits of a million rows have dozens of steps; a thousand leaves room and bounds a hostile file. */
export const knotCountMax = 1024;

/** The identity: from the logit of a probability to that probability, off by less than 0.2 % of it between its knots. */
export const asIs: Calibrator = (() => {
  const logits = Array.from({ length: 257 }, (_, index) => -21 + index / 8);
  return { logits, probabilities: logits.map((logit) => 1 / (1 + Math.exp(-logit))) };
})();

/** The calibrator that holds for a rung of these. */
export function calibratorFor(calibrators: HeadCalibrators, rung: CalibratedRung): Calibrator {
  const own = calibrators[rung];
  if (own !== undefined) return own;
  const neighbour = laterCalibratedRungs[rung as LaterCalibratedRung];
  return neighbour === 'as-is' ? asIs : calibrators[neighbour];
}

/** What is wrong with a calibrator, or undefined. */
export function calibratorProblem({ logits, probabilities }: Calibrator): string | undefined {
  if (!Array.isArray(logits) || !Array.isArray(probabilities)) return 'logits and probabilities must be lists';
  if (logits.length !== probabilities.length) return 'as many probabilities as logits are needed';
  if (logits.length === 0 || logits.length > knotCountMax) return `1 to ${knotCountMax} knots are needed`;
  for (const [index, logit] of logits.entries()) {
    const probability = probabilities[index]!;
    if (!Number.isFinite(logit) || !Number.isFinite(probability)) return `knot ${index} is not a finite number`;
    if (probability <= 0 || probability > 1) return `knot ${index}: a probability lies above 0 and at most at 1`;
    if (index > 0 && logit <= logits[index - 1]!) return `knot ${index}: logits must rise`;
    if (index > 0 && probability < probabilities[index - 1]!) return `knot ${index}: probabilities must not fall`;
  }
  return undefined;
}

/** Cells between the first and the last knot: with dozens of knots, most cells hold one or none. */
const cellCount = 256;

/** A calibrator made ready to be asked hundreds of times per request: a cell of a uniform grid says where to begin to look. */
export class CompiledCalibrator {
  readonly #logits: Float64Array;
  /** In units of 2⁻³⁰. */
  readonly #values: Float64Array;
  readonly #slopes: Float64Array;
  readonly #cellsPerLogit: number;
  /** Per cell, the last knot that lies in an earlier one. */
  readonly #cells = new Uint16Array(cellCount);

  constructor({ logits, probabilities }: Calibrator) {
    const values = Float64Array.from(probabilities, (probability) => probability * q30One);
    this.#logits = Float64Array.from(logits);
    this.#values = values;
    this.#slopes = Float64Array.from(logits, (logit, index) =>
      index + 1 < logits.length ? (values[index + 1]! - values[index]!) / (logits[index + 1]! - logit) : 0,
    );
    this.#cellsPerLogit = cellCount / (logits.at(-1)! - logits[0]!);
    for (const [index, logit] of logits.entries()) this.#cells.fill(index, this.#cellOf(logit) + 1);
  }

  /** Probability as Q30, 1 to 2³⁰; NaN gives 0, which no auction sells. */
  q30(logit: number): number {
    const logits = this.#logits;
    const values = this.#values;
    const last = logits.length - 1;
    if (!(logit > logits[0]!)) return Number.isNaN(logit) ? 0 : atLeastOne(values[0]!);
    if (logit >= logits[last]!) return atLeastOne(values[last]!);
    let low = this.#cells[this.#cellOf(logit)]!;
    while (logits[low + 1]! <= logit) low++;
    const past = logit - logits[low]!;
    // A slope between knots that nearly touch may be infinite.
    if (past === 0) return atLeastOne(values[low]!);
    const value = values[low]! + this.#slopes[low]! * past;
    // Rounding may carry a value past the next knot, which would then be lower than its predecessor.
    return atLeastOne(value > values[low + 1]! ? values[low + 1]! : value);
  }

  /** `q30` of the logits from `first` on, to the same places of `target`. */
  q30Into(logits: Float32Array, first: number, count: number, target: Uint32Array): void {
    for (let at = first; at < first + count; at++) target[at] = this.q30(logits[at]!);
  }

  /** Never falls as the logit rises. Knots that nearly touch, or lie as far apart as numbers can, share one cell. */
  #cellOf(logit: number): number {
    const cell = (logit - this.#logits[0]!) * this.#cellsPerLogit;
    return cell < cellCount ? Math.trunc(cell) : cell >= cellCount ? cellCount - 1 : 0;
  }
}

function atLeastOne(value: number): number {
  return value < 1 ? 1 : Math.round(value);
}
