import fc from 'fast-check';
import { expect, test } from 'vitest';
import { quickSigmoid } from '#server/quick-sigmoid.ts';

test('is the logistic function to 5e-5, and rises', () => {
  fc.assert(
    fc.property(fc.double({ min: -16, max: 16, noNaN: true }), (x) => {
      const exact = 1 / (1 + Math.exp(-x));
      expect(Math.abs(quickSigmoid(x) - exact) / exact).toBeLessThan(5e-5);
      expect(quickSigmoid(x + 0.01)).toBeGreaterThanOrEqual(quickSigmoid(x));
    }),
  );
});

test('is flat beyond its table and never picks what is no number', () => {
  expect(quickSigmoid(-40)).toBeCloseTo(quickSigmoid(-16), 12);
  expect(quickSigmoid(40)).toBeCloseTo(1, 6);
  expect(quickSigmoid(Number.NEGATIVE_INFINITY)).toBeGreaterThan(0);
  expect(quickSigmoid(Number.NaN)).toBe(0);
});
