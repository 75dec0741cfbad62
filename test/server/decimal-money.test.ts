import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cpmNumberToNanosUp, cpmTextToNanos, nanosToCpmText } from '#server/decimal-money.ts';

/** digits × 10^(exponent), exactly, in nanos per impression: the definition that the code must agree with. */
function exactNanos(digits: bigint, exponent: number, rounding: 'up' | 'down'): bigint {
  const shift = exponent + 6;
  if (shift >= 0) return digits * 10n ** BigInt(shift);
  const divisor = 10n ** BigInt(-shift);
  return rounding === 'up' ? (digits + divisor - 1n) / divisor : digits / divisor;
}

test.each([
  ['1.25', 1_250_000],
  ['0.1', 100_000],
  ['1e-3', 1000],
  ['1E+2', 100_000_000],
  ['.5', 500_000],
  ['5.', 5_000_000],
  ['0', 0],
  ['000', 0],
  ['1e300', Number.MAX_SAFE_INTEGER],
])('%s CPM is %d nanos', (text, nanos) => {
  expect(cpmTextToNanos(text, 'up')).toBe(nanos);
});

test.each(['', '.', '-1', '+1', '1,5', '0x10', 'NaN', 'Infinity', '1e', '1e1000', ' 1', '1'.repeat(60), '\u0661'])(
  '"%s" is no price',
  (text) => {
    expect(cpmTextToNanos(text, 'down')).toBeUndefined();
  },
);

test('text is exact whatever its length: floors up, charges down', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 10n ** 18n), fc.integer({ min: -14, max: 2 }), (digits, exponent) => {
      const text = `${digits}e${exponent}`;
      for (const rounding of ['up', 'down'] as const) {
        const exact = exactNanos(digits, exponent, rounding);
        const bounded = exact > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(exact);
        expect(cpmTextToNanos(text, rounding)).toBe(bounded);
      }
    }),
  );
});

test('a number means the shortest decimal that names it', () => {
  expect(cpmNumberToNanosUp(1.1)).toBe(1_100_000);
  expect(cpmNumberToNanosUp(0.000_000_1)).toBe(1);
  expect(cpmNumberToNanosUp(1_249_995)).toBe(1_249_995_000_000);
  // As a product of floats it is a nano off, and whole all the same.
  expect(cpmNumberToNanosUp(8_809_203_599.28)).toBe(8_809_203_599_280_000);
  expect(cpmNumberToNanosUp(1e300)).toBe(Number.MAX_SAFE_INTEGER);
  expect(cpmNumberToNanosUp(Number.POSITIVE_INFINITY)).toBe(Number.MAX_SAFE_INTEGER);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10 ** 12 }), fc.integer({ min: 0, max: 9 }), (digits, places) => {
      const exact = exactNanos(BigInt(digits), -places, 'up');
      const bounded = Math.min(Number(exact), Number.MAX_SAFE_INTEGER);
      expect(cpmNumberToNanosUp(Number(`${digits}e-${places}`))).toBe(bounded);
    }),
  );
});

test('what is written is read back, to the nano', () => {
  expect(nanosToCpmText(1_234_567)).toBe('1.234567');
  expect(nanosToCpmText(1_100_000)).toBe('1.1');
  expect(nanosToCpmText(2_000_000)).toBe('2');
  expect(nanosToCpmText(1)).toBe('0.000001');
  fc.assert(
    fc.property(fc.maxSafeNat(), (nanos) => {
      const text = nanosToCpmText(nanos);
      expect(cpmTextToNanos(text, 'up')).toBe(nanos);
      expect(text).not.toMatch(/\.$|\..*0$|e/u);
    }),
  );
});
