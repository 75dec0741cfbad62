import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  asIs,
  type Calibrator,
  calibratorFor,
  CompiledCalibrator,
  calibratorProblem,
  type HeadCalibrators,
} from '#inference/calibration.ts';

const q30 = 2 ** 30;
const logit = fc.double({ noNaN: true, noDefaultInfinity: true });
/** Knots of every kind: far apart, nearly touching, flat, steep. */
const calibrator: fc.Arbitrary<Calibrator> = fc
  .uniqueArray(fc.oneof(logit, fc.double({ min: -20, max: 20, noNaN: true })), { minLength: 1, maxLength: 30 })
  .chain((logits) =>
    fc
      .array(fc.double({ min: 1e-12, max: 1, noNaN: true }), { minLength: logits.length, maxLength: logits.length })
      .map((probabilities) => ({
        // −0 and 0 are one knot.
        logits: logits.map((each) => each + 0).toSorted((left, right) => left - right),
        probabilities: probabilities.toSorted((left, right) => left - right),
      })),
  )
  .filter((each) => calibratorProblem(each) === undefined);

describe('a calibrator', () => {
  test('gives whole Q30 numbers from 1 to 2^30, and never falls', () => {
    fc.assert(
      fc.property(calibrator, fc.array(logit, { minLength: 2, maxLength: 50 }), (each, asked) => {
        const compiled = new CompiledCalibrator(each);
        const values = [...asked, ...each.logits].toSorted((left, right) => left - right).map((x) => compiled.q30(x));
        expect(values.every((value) => Number.isInteger(value) && value >= 1 && value <= q30)).toBe(true);
        expect(values).toEqual(values.toSorted((left, right) => left - right));
      }),
      { numRuns: 300 },
    );
  });

  test('meets its knots, draws straight lines between them and is flat outside', () => {
    const compiled = new CompiledCalibrator({ logits: [-4, 0, 2], probabilities: [0.25, 0.5, 0.75] });
    expect([-4, -2, 0, 1, 2].map((x) => compiled.q30(x) / q30)).toEqual([0.25, 0.375, 0.5, 0.625, 0.75]);
    expect(compiled.q30(-1e300) / q30).toBe(0.25);
    expect(compiled.q30(Number.NEGATIVE_INFINITY) / q30).toBe(0.25);
    expect(compiled.q30(1e300) / q30).toBe(0.75);
    expect(compiled.q30(Number.POSITIVE_INFINITY) / q30).toBe(0.75);
  });

  test('gives 0 for NaN and at least 1 for the smallest probability', () => {
    const compiled = new CompiledCalibrator({ logits: [0], probabilities: [1e-12] });
    expect(compiled.q30(Number.NaN)).toBe(0);
    expect(compiled.q30(0)).toBe(1);
    expect(new CompiledCalibrator({ logits: [0, 1], probabilities: [0.1, 0.2] }).q30(Number.NaN)).toBe(0);
  });

  test('holds where knots nearly touch', () => {
    const compiled = new CompiledCalibrator({ logits: [0, Number.MIN_VALUE, 1], probabilities: [0.1, 0.9, 0.9] });
    expect(compiled.q30(0)).toBe(Math.round(0.1 * q30));
    expect(compiled.q30(Number.MIN_VALUE)).toBe(Math.round(0.9 * q30));
  });

  test.each([
    ['no knots', [], []],
    ['lists of different lengths', [1, 2], [0.1]],
    ['a logit twice', [1, 1], [0.1, 0.2]],
    ['falling logits', [1, 0], [0.1, 0.2]],
    ['falling probabilities', [0, 1], [0.2, 0.1]],
    ['a probability of 0', [0], [0]],
    ['a probability above 1', [0], [1.01]],
    ['NaN', [Number.NaN], [0.1]],
    ['infinity', [0, Number.POSITIVE_INFINITY], [0.1, 0.2]],
  ])('with %s is refused', (_, logits, probabilities) => {
    expect(calibratorProblem({ logits, probabilities })).toBeTypeOf('string');
  });
});

test('a rung that came later takes its own calibrator, else that of the neighbour that is named for it', () => {
  const flat = (probability: number): Calibrator => ({ logits: [0], probabilities: [probability] });
  const before: HeadCalibrators = { full: flat(0.1), reduced: flat(0.2), 'light-ranker': flat(0.3) };
  expect(calibratorFor(before, 'average-embedding')).toBe(before.full);
  expect(calibratorFor(before, 'cached-prediction')).toBe(before.full);
  expect(calibratorFor(before, 'vector-only')).toBe(before.full);
  expect(calibratorFor(before, 'default-features')).toBe(before['light-ranker']);
  expect(calibratorFor(before, 'smoothed-rate')).toBe(asIs);
  const own = flat(0.4);
  expect(calibratorFor({ ...before, 'smoothed-rate': own }, 'smoothed-rate')).toBe(own);
});

test('as it is: the probability whose logit it was, within 0.2 % of it', () => {
  expect(calibratorProblem(asIs)).toBeUndefined();
  const compiled = new CompiledCalibrator(asIs);
  for (let logit = -10; logit <= 10; logit += 0.01) {
    const p = 1 / (1 + Math.exp(-logit));
    expect(Math.abs(compiled.q30(logit) / q30 / p - 1)).toBeLessThan(0.002);
  }
});
