import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bidNanosMax, eventWeightQ60, expectedValueNanos, q30One } from '#auction/expected-value.ts';
import { qualityWeightQ30 } from '#auction/quality.ts';

const bid = fc.integer({ min: 0, max: bidNanosMax });
/** Small ones as often as large ones, and the ends. */
const probability = fc.oneof(
  fc.integer({ min: 0, max: q30One }),
  fc.integer({ min: 0, max: 1000 }),
  fc.integer({ min: 0, max: 30 }).map((bits) => 2 ** bits),
);

test('the expected value is the exact product, rounded down, for every price type', () => {
  fc.assert(
    fc.property(bid, fc.integer({ min: 0, max: 2 }), probability, probability, (bidNanos, type, click, conversion) => {
      const exact = (BigInt(bidNanos) * eventWeightQ60(type, click, conversion)) >> 60n;
      expect(BigInt(expectedValueNanos(bidNanos, type, click, conversion))).toBe(exact);
    }),
    { numRuns: 20_000 },
  );
});

test('products that end just below or exactly on a whole nano are not rounded across it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 40 }),
      fc.integer({ min: -2, max: 2 }),
      probability,
      (wholes, off, click) => {
        fc.pre(click > 0);
        // The bid nearest to what gives `wholes`, and its neighbours.
        const bidNanos = Math.min(bidNanosMax, Math.max(0, Number((BigInt(wholes) << 30n) / BigInt(click)) + off));
        const exact = (BigInt(bidNanos) * BigInt(click)) >> 30n;
        expect(BigInt(expectedValueNanos(bidNanos, 1, click, q30One))).toBe(exact);
        expect(BigInt(expectedValueNanos(bidNanos, 2, click, q30One))).toBe(exact);
      },
    ),
    { numRuns: 20_000 },
  );
});

test('quality counts fully at 1, not at all at 0, and in between like the power, to 4 in 2^30', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: q30One }),
      fc.integer({ min: 0, max: 4 * 65_536 }).map((steps) => steps / 65_536),
      (quality, exponent) => {
        const wanted = Math.max(1, (quality / q30One) ** exponent * q30One);
        expect(Math.abs(qualityWeightQ30(quality, exponent) - wanted)).toBeLessThanOrEqual(4);
        expect(qualityWeightQ30(quality, 0)).toBe(q30One);
        expect(qualityWeightQ30(quality, 1)).toBe(quality);
      },
    ),
  );
});

test('more quality never weighs less', () => {
  const two = fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  fc.assert(
    fc.property(two, fc.double({ min: 0, max: 4, noNaN: true }), ([left, right], exponent) => {
      const low = qualityWeightQ30(Math.min(left, right), exponent);
      expect(low).toBeLessThanOrEqual(qualityWeightQ30(Math.max(left, right), exponent));
    }),
  );
});
