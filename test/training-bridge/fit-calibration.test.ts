import fc from 'fast-check';
import { expect, test } from 'vitest';
import { calibratorProblem, CompiledCalibrator } from '#inference/calibration.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { type CalibrationRows, fitCalibrator } from '#training-bridge/fit-calibration.ts';
import { sigmoid } from '#training-bridge/ftrl.ts';
import { qualityOf } from '#training-bridge/training-metrics.ts';

/** Rows whose true log odds are `truth(logit)`. */
function rowsOf(count: number, seed: number, truth: (logit: number) => number): CalibrationRows {
  const random = seededRandom(seed);
  const logits = Float32Array.from({ length: count }, () => -7 + 6 * random());
  return {
    logits,
    outcomes: Uint8Array.from(logits, (logit) => (random() < sigmoid(truth(logit)) ? 1 : 0)),
    weights: new Float32Array(count).fill(1),
  };
}

function probabilities(calibrator: ReturnType<typeof fitCalibrator>, logits: Float32Array): Float64Array {
  const compiled = new CompiledCalibrator(calibrator);
  return Float64Array.from(logits, (logit) => compiled.q30(logit) / 2 ** 30);
}

const distortions: readonly (readonly [string, (logit: number) => number])[] = [
  ['a model that is right', (logit) => logit],
  ['a level that is off', (logit) => logit + 0.7],
  ['a model too sure of itself', (logit) => 0.6 * logit - 1.5],
  ['a bend', (logit) => (logit < -4 ? logit : -4 + 0.4 * (logit + 4))],
];

test.each(distortions)('%s is put right, on rows that the fit did not see', (_, truth) => {
  const fitted = fitCalibrator(rowsOf(120_000, 1, truth));
  const other = rowsOf(200_000, 2, truth);
  const p = probabilities(fitted, other.logits);
  const quality = qualityOf(p, other.outcomes);
  // About 5,000 hits on each side of the fit: 2 % of chance in all, one and a half of it allowed for.
  expect(quality.ratio).toBeGreaterThan(0.96);
  expect(quality.ratio).toBeLessThan(1.04);
  const best = qualityOf(
    other.logits.map((logit) => sigmoid(truth(logit))),
    other.outcomes,
  );
  expect(quality.logLoss - best.logLoss).toBeLessThan(best.logLoss * 0.003);
});

test('whatever the rows, the calibrator is valid, rises, and has at most 64 knots', () => {
  const row = fc.record({
    logit: fc.oneof(fc.double({ min: -20, max: 20, noNaN: true }), fc.constantFrom(-3, 0)),
    outcome: fc.integer({ min: 0, max: 1 }),
    weight: fc.double({ min: 0, max: 3, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(row, { maxLength: 60 }), fc.integer({ min: 1, max: 40 }), (rows, repeats) => {
      const all = Array.from({ length: repeats }, () => rows).flat();
      const fitted = fitCalibrator({
        logits: Float32Array.from(all, ({ logit }) => logit),
        outcomes: Uint8Array.from(all, ({ outcome }) => outcome),
        weights: Float32Array.from(all, ({ weight }) => weight),
      });
      expect(calibratorProblem(fitted)).toBeUndefined();
      expect(fitted.logits.length).toBeLessThanOrEqual(64);
    }),
    { numRuns: 300 },
  );
});

test('the probabilities of the fitted rows add up to their hits', () => {
  const rows = rowsOf(60_000, 3, (logit) => 0.8 * logit + 0.2);
  const p = probabilities(fitCalibrator(rows), rows.logits);
  expect(qualityOf(p, rows.outcomes).ratio).toBeCloseTo(1, 3);
});

test('few hits move the level, carefully, and leave the shape alone', () => {
  // Half of the expected hits: 30 where 60 were foretold.
  const logits = new Float32Array(3000).fill(sigmoidInverse(0.02));
  const outcomes = new Uint8Array(3000).fill(1, 0, 30);
  const fitted = fitCalibrator({ logits, outcomes, weights: new Float32Array(3000).fill(1) });
  const [p] = probabilities(fitted, logits.subarray(0, 1));
  expect(p!).toBeGreaterThan(0.01);
  expect(p!).toBeLessThan(0.013);
  const none = fitCalibrator({
    logits: new Float32Array(0),
    outcomes: new Uint8Array(0),
    weights: new Float32Array(0),
  });
  const [kept] = probabilities(none, Float32Array.of(-2));
  expect(kept!).toBeCloseTo(sigmoid(-2), 3);
});

test('beyond what was seen the map goes on rising', () => {
  const fitted = fitCalibrator(rowsOf(120_000, 4, (logit) => logit));
  const [low, edge, high] = probabilities(fitted, Float32Array.of(-8.5, -1, 0.5));
  expect(low!).toBeLessThan(sigmoid(-7));
  expect(high!).toBeGreaterThan(edge! * 1.3);
});

function sigmoidInverse(p: number): number {
  return Math.log(p / (1 - p));
}
