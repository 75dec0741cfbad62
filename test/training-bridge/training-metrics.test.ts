import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from '#inference/seeded-random.ts';
import { areaUnderCurve, qualityOf, rowsByScore } from '#training-bridge/training-metrics.ts';

test('the area is the share of pairs in the right order, ties counting half', () => {
  const row = fc.record({ score: fc.integer({ min: 0, max: 6 }), outcome: fc.integer({ min: 0, max: 1 }) });
  fc.assert(
    fc.property(fc.array(row, { minLength: 2, maxLength: 30 }), (rows) => {
      const hits = rows.filter(({ outcome }) => outcome === 1);
      const misses = rows.filter(({ outcome }) => outcome === 0);
      const auc = areaUnderCurve(
        rows.map(({ score }) => score),
        rows.map(({ outcome }) => outcome),
      );
      const points = hits.flatMap((hit) =>
        misses.map((miss) => (hit.score > miss.score ? 1 : hit.score === miss.score ? 0.5 : 0) as number),
      );
      // Without a pair there is nothing to be right about: NaN on both sides.
      const share = points.reduce((sum, each) => sum + each, 0) / points.length;
      expect(Object.is(auc, share) || Math.abs(auc - share) < 1e-12).toBe(true);
    }),
  );
});

test('rows come by score, equal ones as they stood', () => {
  expect([...rowsByScore([3, 1, 3, -1, 1])]).toEqual([3, 1, 4, 0, 2]);
});

test('log loss, information gain and weights, by hand', () => {
  const quality = qualityOf([0.5, 0.25, 0.25], [1, 0, 0], [1, 1, 2]);
  expect(quality.logLoss).toBeCloseTo(-(Math.log(0.5) + 3 * Math.log(0.75)) / 4, 12);
  expect(quality.ratio).toBeCloseTo((0.5 + 0.75) / 1, 12);
  const base = -(0.25 * Math.log(0.25) + 0.75 * Math.log(0.75));
  expect(quality.rig).toBeCloseTo(1 - quality.logLoss / base, 12);
});

test('the interval of the ratio holds 1 about 95 times in 100 when the probabilities are true', () => {
  const random = seededRandom(9);
  let held = 0;
  for (let draw = 0; draw < 400; draw++) {
    const probabilities = Float64Array.from({ length: 2000 }, () => 0.1 * random());
    const outcomes = Uint8Array.from(probabilities, (p) => (random() < p ? 1 : 0));
    const { ratioLow, ratioHigh } = qualityOf(probabilities, outcomes);
    if (ratioLow <= 1 && ratioHigh >= 1) held++;
  }
  // Three standard deviations of a fair count around 380.
  expect(held).toBeGreaterThan(366);
  expect(held).toBeLessThan(394);
});
