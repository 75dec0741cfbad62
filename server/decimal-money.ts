/** The largest amount of one event, in nanos: what a JavaScript number and the ledgers hold with room to spare. */
export const eventNanosMax = 2 ** 44;

/** One CPM unit is 10^9 nanos per mille, so 10^6 nanos per impression. */
const cpmDecimals = 6;

/** Longer decimal text than this is no price: 20 digits before the point and 20 after it are already absurd. */
export const decimalCharsMax = 48;

/**
 * A CPM in decimal text ("1.25", "0.1", "1e-3") as nanos per impression, exactly, without floating point.
 * `rounding` decides what happens below one nano: floors go up, charges go down.
 * Undefined for anything that is not a plain non-negative decimal. Amounts above `Number.MAX_SAFE_INTEGER` become that.
 */
export function cpmTextToNanos(text: string, rounding: 'up' | 'down'): number | undefined {
  if (text.length === 0 || text.length > decimalCharsMax) return undefined;
  const parts = /^(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?$/u.exec(text);
  if (parts === null) return undefined;
  const [, whole = '', fraction = '', exponentText = '0'] = parts;
  if (whole === '' && fraction === '') return undefined;
  const digits = (whole + fraction).replace(/^0+/u, '');
  if (digits === '') return 0;
  // digits × 10^shift nanos
  const shift = cpmDecimals - fraction.length + Number(exponentText);
  if (shift >= 0) {
    if (digits.length + shift > 16) return Number.MAX_SAFE_INTEGER;
    return Math.min(Number(digits + '0'.repeat(shift)), Number.MAX_SAFE_INTEGER);
  }
  const kept = digits.slice(0, Math.max(0, digits.length + shift));
  const dropped = digits.slice(kept.length);
  if (kept.length > 16) return Number.MAX_SAFE_INTEGER;
  const nanos = kept === '' ? 0 : Number(kept);
  const isRoundedUp = rounding === 'up' && /[1-9]/u.test(dropped);
  return Math.min(nanos + (isRoundedUp ? 1 : 0), Number.MAX_SAFE_INTEGER);
}

/** The product of the nearest double and 10^6 is off by one part in 2^52 at most: below this by less than half a nano. */
const exactProductMax = 2 ** 51;

/**
 * A CPM that came as a JSON number, as nanos per impression rounded up. The number is read as the shortest decimal that
 * names it, which is what its sender wrote: 1.1 is 1,100,000 nanos although 1.1 × 10^6 is more in binary.
 * Exact for decimals of up to 15 digits; beyond that it is within one part in 2^52. Infinity becomes the largest safe integer.
 */
export function cpmNumberToNanosUp(cpm: number): number {
  const nanos = cpm * 1e6;
  if (Number.isSafeInteger(nanos) && nanos < exactProductMax) return nanos;
  if (!(nanos < Number.MAX_SAFE_INTEGER)) return Number.MAX_SAFE_INTEGER;
  return cpmTextToNanos(String(cpm), 'up') ?? Math.ceil(nanos);
}

/** Nanos per impression as CPM in the shortest exact decimal text: 1,234,567 → "1.234567", 1,100,000 → "1.1". */
export function nanosToCpmText(nanos: number): string {
  const whole = Math.floor(nanos / 1e6);
  const fraction = nanos - whole * 1e6;
  if (fraction === 0) return String(whole);
  let digits = String(1e6 + fraction).slice(1);
  let end = digits.length;
  while (digits.charCodeAt(end - 1) === 0x30) end--;
  digits = digits.slice(0, end);
  return `${whole}.${digits}`;
}
