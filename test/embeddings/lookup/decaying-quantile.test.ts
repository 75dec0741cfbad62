import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DecayingQuantile } from '#embeddings/lookup/decaying-quantile.ts';

/** One bucket: 2^(1/16). */
const stepRatio = 2 ** (1 / 16);

test('is the exact quantile of what was recorded at one time, rounded up to the next step', () => {
  const duration = fc.double({ min: 0.011, max: 9000, noNaN: true });
  const quantile = fc.double({ min: 0.01, max: 1, noNaN: true });
  fc.assert(
    fc.property(fc.array(duration, { minLength: 1, maxLength: 300 }), quantile, (durations, wanted) => {
      const recent = new DecayingQuantile(10_000);
      for (const each of durations) recent.record(each, 5);
      const exact = durations.toSorted((left, right) => left - right)[Math.ceil(durations.length * wanted) - 1]!;
      const found = recent.valueAt(wanted);
      expect(found).toBeGreaterThanOrEqual(exact * 0.999_999);
      expect(found).toBeLessThanOrEqual(exact * stepRatio * 1.000_001);
    }),
  );
});

test('is the exact quantile of records weighed by half-lives', () => {
  const record = fc.record({ duration: fc.integer({ min: 1, max: 60 }), gapMs: fc.integer({ min: 0, max: 4000 }) });
  const halfLifeMs = 8000;
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 200 }), (records) => {
      const recent = new DecayingQuantile(halfLifeMs);
      let nowMs = 1_790_000_000_000;
      const startMs = nowMs + records[0]!.gapMs;
      const weighed: { duration: number; weight: number }[] = [];
      for (const { duration, gapMs } of records) {
        nowMs += gapMs;
        recent.record(duration, nowMs);
        // The weight moves eight times per half-life, counted from the first record.
        weighed.push({ duration, weight: 2 ** (Math.floor((nowMs - startMs) / 1000) / 8) });
      }
      const total = weighed.reduce((sum, { weight }) => sum + weight, 0);
      const weightUpTo = (limit: number) =>
        weighed.reduce((sum, { duration, weight }) => sum + (duration <= limit ? weight : 0), 0);
      const found = recent.valueAt(0.9);
      // Enough lies at or below it, and too little below the step it closes; sums of doubles may differ in their last digits.
      expect(weightUpTo(found * 1.000_001)).toBeGreaterThanOrEqual(total * 0.9 * (1 - 1e-9));
      expect(weightUpTo((found / stepRatio) * 0.999_999)).toBeLessThan(total * 0.9 * (1 + 1e-9));
    }),
  );
});

test('forgets: after ten half-lives of other durations the old ones are below the hundredth', () => {
  const recent = new DecayingQuantile(1000);
  for (let index = 0; index < 1000; index++) recent.record(500, 0);
  expect(recent.valueAt(0.5)).toBeGreaterThan(499);
  for (let index = 0; index < 100; index++) recent.record(1, 10_000);
  expect(recent.valueAt(0.98)).toBeLessThan(1.05);
  expect(recent.sampleCount(10_000)).toBeGreaterThan(100);
  expect(recent.sampleCount(10_000)).toBeLessThan(102);
});

test('survives long silence, clocks that stand still, and durations out of range', () => {
  const recent = new DecayingQuantile(1000);
  expect(recent.valueAt(0.98)).toBe(0);
  expect(recent.sampleCount(0)).toBe(0);
  recent.record(3, 0);
  recent.record(4, 1e12);
  expect(recent.valueAt(0.5)).toBeCloseTo(4, 0);
  recent.record(5, 5);
  for (const odd of [0, -1, Number.NaN, 1e9, Number.POSITIVE_INFINITY]) recent.record(odd, 1e12);
  expect(recent.valueAt(0.01)).toBe(0.01);
  expect(recent.valueAt(1)).toBeGreaterThan(9999);
});
