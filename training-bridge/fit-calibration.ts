import type { Calibrator } from '#inference/calibration.ts';
import { sigmoid } from './ftrl.ts';
import { rowsByScore } from './training-metrics.ts';

/** What a calibrator is fitted on: logits of rows that training did not see, and what happened. */
export type CalibrationRows = {
  readonly logits: Float32Array;
  readonly outcomes: Uint8Array;
  readonly weights: Float32Array;
};

/** Knots of a calibrator; between them a probability is off by less than 0.3 % of itself at this spacing. */
const knotCount = 64;
/** Steps of the isotonic fit hold at least this many hits each: a rate from 40 hits has an error of 16 %. */
const hitsPerStep = 40;
const stepsMax = 32;
/** Each step is pulled towards the smooth curve as if by this many hits. */
const priorHits = 20;
/** With fewer hits only the level is moved: a shape drawn from them would be noise. */
const hitsForShape = 400;
/** How far from 0 the shift is thought to be before the rows are seen: one standard deviation, in logits. */
const shiftDeviation = 0.5;
/** Room beyond the logits that were seen, where the smooth curve goes on. */
const tailLogits = 3;

/**
 * A monotone map from logit to probability. First a smooth curve (level and slope, logistic regression on the logit), then isotonic
 * steps by pool-adjacent-violators on what the curve misses, each step pulled towards the curve by 20 hits; drawn through 64 knots and
 * shifted so that the probabilities of these rows add up to their hits. Below 400 hits only the level moves.
 */
export function fitCalibrator(rows: CalibrationRows): Calibrator {
  let hits = 0;
  for (let row = 0; row < rows.logits.length; row++) hits += rows.weights[row]! * rows.outcomes[row]!;
  if (hits < hitsForShape) return levelOnly(rows);
  const { level, slope } = smoothCurve(rows);
  const steps = isotonicSteps(rows, level, slope, hits);
  const curve = (logit: number): number => level + slope * logit + correctionAt(steps, logit);
  return drawn(rows, curve, knotsFor(rows), 0);
}

type Step = { readonly logit: number; readonly correction: number };

/** Isotonic regression of the outcomes on the logit, as what must be added to the smooth curve at the middle of each step. */
function isotonicSteps(
  { logits, outcomes, weights }: CalibrationRows,
  level: number,
  slope: number,
  hits: number,
): Step[] {
  const order = rowsByScore(logits);
  const wanted = Math.max(hitsPerStep, hits / stepsMax);
  type Bin = { rows: number; hits: number; expected: number; logitSum: number };
  const bins: Bin[] = [];
  let bin: Bin = { rows: 0, hits: 0, expected: 0, logitSum: 0 };
  for (const row of order) {
    const weight = weights[row]!;
    const p = sigmoid(level + slope * logits[row]!);
    bin.rows += weight;
    bin.hits += weight * outcomes[row]!;
    bin.expected += weight * p;
    // Weighted by the probability: where the hits are expected, so that a step is drawn where it was measured.
    bin.logitSum += weight * p * logits[row]!;
    if (bin.expected >= wanted) {
      bins.push(bin);
      bin = { rows: 0, hits: 0, expected: 0, logitSum: 0 };
    }
  }
  const last = bins.at(-1);
  if (last === undefined) bins.push(bin);
  else {
    last.rows += bin.rows;
    last.hits += bin.hits;
    last.expected += bin.expected;
    last.logitSum += bin.logitSum;
  }
  // Pool adjacent violators: rates must not fall as logits rise.
  const pools: { rate: number; weight: number; count: number }[] = [];
  for (const each of bins) {
    // As if `priorHits` more hits had been seen at the smooth curve's rate.
    const rate = (each.hits + priorHits) / (each.rows + (priorHits * each.rows) / each.expected);
    pools.push({ rate, weight: each.rows, count: 1 });
    while (pools.length > 1 && pools.at(-2)!.rate > pools.at(-1)!.rate) {
      const upper = pools.pop()!;
      const lower = pools.pop()!;
      const sum = lower.weight + upper.weight;
      pools.push({
        rate: (lower.rate * lower.weight + upper.rate * upper.weight) / sum,
        weight: sum,
        count: lower.count + upper.count,
      });
    }
  }
  const rates = pools.flatMap(({ rate, count }) => Array.from({ length: count }, () => rate));
  return bins.map((each, index) => ({
    logit: each.logitSum / each.expected,
    correction: logOddsOf(rates[index]!) - logOddsOf(each.expected / each.rows),
  }));
}

/** Straight between the middles of the steps, constant outside. */
function correctionAt(steps: readonly Step[], logit: number): number {
  const above = steps.findIndex((step) => step.logit > logit);
  if (above === 0) return steps[0]!.correction;
  if (above < 0) return steps.at(-1)!.correction;
  const low = steps[above - 1]!;
  const high = steps[above]!;
  return low.correction + ((logit - low.logit) / (high.logit - low.logit)) * (high.correction - low.correction);
}

/** Maximum likelihood of sigmoid(level + slope × logit) by Newton's method, with a slope believed to be near 1. */
function smoothCurve({ logits, outcomes, weights }: CalibrationRows): { level: number; slope: number } {
  const slopeDeviation = 0.5;
  let level = 0;
  let slope = 1;
  for (let round = 0; round < 50; round++) {
    let gradientLevel = 0;
    let gradientSlope = (slope - 1) / slopeDeviation ** 2;
    let levelLevel = 1e-9;
    let levelSlope = 0;
    let slopeSlope = 1 / slopeDeviation ** 2;
    for (let row = 0; row < logits.length; row++) {
      const logit = logits[row]!;
      const p = sigmoid(level + slope * logit);
      const miss = weights[row]! * (p - outcomes[row]!);
      const bend = weights[row]! * p * (1 - p);
      gradientLevel += miss;
      gradientSlope += miss * logit;
      levelLevel += bend;
      levelSlope += bend * logit;
      slopeSlope += bend * logit * logit;
    }
    const determinant = levelLevel * slopeSlope - levelSlope * levelSlope;
    const moveLevel = (slopeSlope * gradientLevel - levelSlope * gradientSlope) / determinant;
    const moveSlope = (levelLevel * gradientSlope - levelSlope * gradientLevel) / determinant;
    level -= Math.max(-1, Math.min(1, moveLevel));
    // A slope of 0 would rank nothing: what rises in the model rises in the probability.
    slope = Math.max(0.1, slope - Math.max(-0.5, Math.min(0.5, moveSlope)));
    if (Math.abs(moveLevel) + Math.abs(moveSlope) < 1e-7) break;
  }
  return { level, slope };
}

function levelOnly(rows: CalibrationRows): Calibrator {
  return drawn(rows, (logit) => logit, knotsFor(rows), 1 / shiftDeviation ** 2);
}

/** Evenly spaced logits over what was seen and a tail on either side. */
function knotsFor({ logits }: CalibrationRows): number[] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const logit of logits) {
    low = Math.min(low, logit);
    high = Math.max(high, logit);
  }
  if (!(low <= high)) [low, high] = [-5, 0];
  const from = low - tailLogits;
  const step = (high + tailLogits - from) / (knotCount - 1);
  return Array.from({ length: knotCount }, (_, index) => from + index * step);
}

/**
 * The calibrator through the curve at the knots, moved by the shift that makes the probabilities add up to the hits (`pull` = how
 * strongly a shift of 0 is believed in). Newton's method on the straight pieces themselves, so what was fitted is what is served.
 */
function drawn(
  rows: CalibrationRows,
  curve: (logit: number) => number,
  knots: readonly number[],
  pull: number,
): Calibrator {
  const heights = knots.map(curve);
  for (let index = 1; index < heights.length; index++) heights[index] = Math.max(heights[index]!, heights[index - 1]!);
  const { logits, outcomes, weights } = rows;
  const first = knots[0]!;
  const step = knots[1]! - first;
  let shift = 0;
  for (let round = 0; round < 50; round++) {
    const probabilities = heights.map((height) => sigmoid(height + shift));
    let miss = pull * shift;
    let bend = pull;
    for (let row = 0; row < logits.length; row++) {
      const place = Math.min(knots.length - 2, Math.max(0, Math.floor((logits[row]! - first) / step)));
      const share = (logits[row]! - knots[place]!) / step;
      const p = probabilities[place]! + share * (probabilities[place + 1]! - probabilities[place]!);
      miss += weights[row]! * (p - outcomes[row]!);
      bend += weights[row]! * p * (1 - p);
    }
    const move = miss / Math.max(bend, 1e-12);
    shift -= Math.max(-1, Math.min(1, move));
    if (Math.abs(move) < 1e-9) break;
  }
  const probabilities = heights.map((height) => Math.max(probabilityMin, sigmoid(height + shift)));
  return { logits: [...knots], probabilities };
}

/** One in 2³⁰, the smallest probability that an auction can tell from none. */
const probabilityMin = 2 ** -30;

function logOddsOf(probability: number): number {
  const safe = Math.min(1 - 1e-9, Math.max(1e-9, probability));
  return Math.log(safe / (1 - safe));
}
