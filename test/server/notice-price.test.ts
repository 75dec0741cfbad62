import fc from 'fast-check';
import { expect, test } from 'vitest';
import { billedPrice, impressionChargeNanos, readPrice } from '#server/notice-price.ts';
import { claimsOf } from './notice-fixtures.ts';

test.each([
  [undefined, { kind: 'absent' }],
  ['', { kind: 'unexpanded' }],
  ['${AUCTION_PRICE}', { kind: 'unexpanded' }],
  ['${AUCTION_PRICE:B64}', { kind: 'unexpanded' }],
  ['1.25', { kind: 'price', nanos: 1_250_000 }],
  ['0', { kind: 'price', nanos: 0 }],
  ['1e-3', { kind: 'price', nanos: 1000 }],
  ['0.0000019', { kind: 'price', nanos: 1 }],
  ['-1', { kind: 'malformed' }],
  ['NaN', { kind: 'malformed' }],
  ['Infinity', { kind: 'malformed' }],
  ['1,25', { kind: 'malformed' }],
  ['0x10', { kind: 'malformed' }],
  [' 1', { kind: 'malformed' }],
])('the price %j reads as %j', (text, reading) => {
  expect(readPrice(text)).toEqual(reading);
});

const dollars = (nanos: number, currency: string): number | undefined => (currency === 'USD' ? nanos : undefined);

test('a price above the bid is cut to it, one in an unknown currency counts as the bid', () => {
  const claims = claimsOf({ bidNanos: 900 });
  expect(billedPrice(claims, { kind: 'price', nanos: 900 }, 'USD', dollars)).toMatchObject({
    nanos: 900,
    isClamped: false,
  });
  expect(billedPrice(claims, { kind: 'price', nanos: 901 }, 'USD', dollars)).toMatchObject({
    nanos: 900,
    isClamped: true,
  });
  expect(billedPrice(claims, { kind: 'price', nanos: 1 }, 'XAU', dollars)).toMatchObject({
    nanos: 900,
    isClamped: true,
  });
  expect(billedPrice(claims, { kind: 'unexpanded' }, 'USD', dollars)).toMatchObject({ nanos: 0, isUnexpanded: true });
});

test('an advertiser owes the price and the margin in proportion, never more than he offered, exactly', () => {
  const nanos = fc.integer({ min: 1, max: 2 ** 48 });
  fc.assert(
    fc.property(nanos, nanos, nanos, (chargeNanos, bid, price) => {
      const bidNanos = Math.min(bid, chargeNanos);
      const owed = impressionChargeNanos(claimsOf({ chargeNanos, bidNanos }), price);
      const exact = (BigInt(chargeNanos) * BigInt(Math.min(price, bidNanos))) / BigInt(bidNanos);
      expect(BigInt(owed)).toBe(exact);
      expect(owed).toBeLessThanOrEqual(chargeNanos);
    }),
  );
});

test('without a margin the price itself is owed', () => {
  expect(impressionChargeNanos(claimsOf({ bidNanos: 1000, chargeNanos: 1000 }), 617)).toBe(617);
  expect(impressionChargeNanos(claimsOf({ bidNanos: 800, chargeNanos: 1000 }), 400)).toBe(500);
  expect(impressionChargeNanos(claimsOf({ bidNanos: 0, chargeNanos: 1000 }), 0)).toBe(0);
});
