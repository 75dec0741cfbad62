import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  bidInForeignNanos,
  type CurrencyRate,
  floorInCatalogNanos,
  reachesFloor,
  sameCurrency,
} from '#auction/currency.ts';

const nanos = fc.integer({ min: 0, max: 2 ** 48 });
const rate = fc.record({
  numerator: fc.integer({ min: 1, max: 2 ** 31 }),
  denominator: fc.integer({ min: 1, max: 2 ** 31 }),
});

test('1.00 EUR at 1.10 needs exactly 1.10 USD', () => {
  const euro: CurrencyRate = { numerator: 11, denominator: 10 };
  expect(reachesFloor(1_100_000, 1_000_000, euro)).toBe(true);
  expect(reachesFloor(1_099_999, 1_000_000, euro)).toBe(false);
  expect(floorInCatalogNanos(1_000_000, euro)).toBe(1_100_000);
});

test('a floor rounded up in our currency stops the same bids as the exact comparison', () => {
  fc.assert(
    fc.property(nanos, nanos, rate, (bid, floor, each) => {
      const inCatalog = floorInCatalogNanos(floor, each);
      expect(bid >= inCatalog).toBe(reachesFloor(bid, floor, each));
      // Bids at the edge, where rounding would show.
      for (const edge of [inCatalog - 1, inCatalog, inCatalog + 1]) {
        if (!(edge >= 0 && edge < 2 ** 53)) continue;
        expect(edge >= inCatalog).toBe(reachesFloor(edge, floor, each));
      }
    }),
  );
});

test('a bid that reaches the floor still does after it was rounded down into the foreign currency', () => {
  fc.assert(
    fc.property(nanos, nanos, rate, (bid, floor, each) => {
      fc.pre(reachesFloor(bid, floor, each));
      const emitted = bidInForeignNanos(bid, each);
      expect(emitted).toBeGreaterThanOrEqual(floor);
      // And it never offers more than was meant.
      expect(BigInt(emitted) * BigInt(each.numerator) <= BigInt(bid) * BigInt(each.denominator)).toBe(true);
    }),
  );
});

test('without a rate nobody is eligible, not even at a floor of 0', () => {
  expect(reachesFloor(1, 0, undefined)).toBe(false);
  expect(floorInCatalogNanos(0, undefined)).toBe(Number.POSITIVE_INFINITY);
});

test('the own currency changes nothing', () => {
  fc.assert(
    fc.property(nanos, (each) => {
      expect(floorInCatalogNanos(each, sameCurrency)).toBe(each);
      expect(bidInForeignNanos(each, sameCurrency)).toBe(each);
    }),
  );
});

test.each([
  [0, 1],
  [1, 0],
  [-1, 1],
  [1.5, 1],
  [Number.NaN, 1],
  [2 ** 53, 1],
])('a rate of %s / %s is refused', (numerator, denominator) => {
  expect(() => floorInCatalogNanos(1, { numerator, denominator })).toThrow(
    expect.objectContaining({ code: 'CURRENCY_RATE_INVALID' }),
  );
});
