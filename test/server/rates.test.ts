import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromUsdNanosDown, leastNanos, readRates, toCatalogNanos, toUsdNanosUp, usdOnly } from '#server/rates.ts';

const asOf = '2026-05-01T00:00:00Z';
const asOfMs = Date.parse(asOf);

function ratesOf(file: object) {
  const reading = readRates(JSON.stringify(file));
  if (reading.kind === 'problems') throw new Error(JSON.stringify(reading.problems));
  return reading.rates;
}

test('a rate is the decimal that was written, as a fraction', () => {
  const rates = ratesOf({ as_of: asOf, usd_per: { EUR: '1.10', JPY: '0.0066' } });
  expect(rates.rateOf('EUR', asOfMs)).toEqual({ currency: 'EUR', numerator: 110, denominator: 100 });
  expect(rates.rateOf('JPY', asOfMs)).toEqual({ currency: 'JPY', numerator: 66, denominator: 10_000 });
  expect(rates.rateOf('GBP', asOfMs)).toBeUndefined();
});

test('a table ages: after its time every currency but USD is without a rate', () => {
  const rates = ratesOf({ as_of: asOf, stale_after_hours: 1, usd_per: { EUR: '1.10' } });
  expect(rates.rateOf('EUR', asOfMs + 3_599_999)).toBeDefined();
  expect(rates.rateOf('EUR', asOfMs + 3_600_000)).toBeUndefined();
  expect(rates.rateOf('USD', asOfMs + 1e12)).toBeDefined();
  expect(usdOnly.rateOf('USD', 0)).toMatchObject({ numerator: 1, denominator: 1 });
  expect(usdOnly.rateOf('EUR', 0)).toBeUndefined();
});

test('a price that met a floor before it was converted meets it after', () => {
  const part = fc.integer({ min: 1, max: 10 ** 9 });
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 44 }),
      fc.integer({ min: 0, max: 2 ** 44 }),
      part,
      part,
      (floor, value, numerator, denominator) => {
        const rate = { currency: 'EUR', numerator, denominator };
        const holds = BigInt(value) * BigInt(denominator) >= BigInt(floor) * BigInt(numerator);
        expect(value >= toUsdNanosUp(floor, rate)).toBe(holds);
        expect(!holds || fromUsdNanosDown(value, rate) >= floor).toBe(true);
      },
    ),
  );
});

test('what an exchange reports comes back as no less, and never as more than the bid it was made from', () => {
  const rates = ratesOf({ as_of: asOf, usd_per: { EUR: '1.0837' } });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 44 }), (bidNanos) => {
      const answered = fromUsdNanosDown(bidNanos, rates.rateOf('EUR', asOfMs)!);
      const billed = toCatalogNanos(rates, answered, 'EUR')!;
      expect(billed).toBeLessThanOrEqual(bidNanos);
      expect(BigInt(billed) * 10_000n).toBeGreaterThanOrEqual(BigInt(answered) * 10_837n);
    }),
  );
  expect(toCatalogNanos(rates, 5, 'GBP')).toBeUndefined();
});

test('the least value of a currency is never nothing in it', () => {
  const part = fc.integer({ min: 1, max: 10 ** 15 });
  fc.assert(
    fc.property(part, part, fc.nat(10 ** 6), (numerator, denominator, more) => {
      const rate = { currency: 'EUR', numerator, denominator };
      expect(fromUsdNanosDown(leastNanos(rate) + more, rate)).toBeGreaterThan(0);
      expect(fromUsdNanosDown(leastNanos(rate) - 1, rate)).toBe(0);
    }),
  );
});

test('a bill is converted by the last rate that there was, however old', () => {
  const first = ratesOf({ as_of: asOf, stale_after_hours: 1, usd_per: { EUR: '2', GBP: '3' } });
  const second = ratesOf({ as_of: asOf, stale_after_hours: 1, usd_per: { EUR: '4' } }).after(first);
  const laterMs = asOfMs + 1e9;
  expect(second.rateOf('EUR', laterMs)).toBeUndefined();
  expect(second.rateOf('GBP', asOfMs)).toBeUndefined();
  expect(toCatalogNanos(second, 10, 'EUR')).toBe(40);
  expect(toCatalogNanos(second, 10, 'GBP')).toBe(30);
  expect(toCatalogNanos(second, 10, 'USD')).toBe(10);
});

test('a file with mistakes names them all', () => {
  const reading = readRates(
    JSON.stringify({
      as_of: 'today',
      stale_after_hours: -1,
      extra: 1,
      usd_per: { eur: '1', USD: '1', GBP: 1.27, CHF: '0', SEK: '-1', NOK: '1e3' },
    }),
  );
  expect(reading.kind).toBe('problems');
  const paths = reading.kind === 'problems' ? reading.problems.map(({ path }) => path) : [];
  expect(paths).toEqual([
    'extra',
    'as_of',
    'stale_after_hours',
    'usd_per.eur',
    'usd_per.USD',
    'usd_per.GBP',
    'usd_per.CHF',
    'usd_per.SEK',
    'usd_per.NOK',
  ]);
  for (const text of ['', '{', '[]', 'null', '{}']) expect(readRates(text).kind).toBe('problems');
});
