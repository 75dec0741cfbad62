import { AuctionError } from './errors.ts';
import { q30One } from './expected-value.ts';

/** Steps of the exponent: 1/65536. Finer than anybody tunes it, and few enough square roots. */
const exponentBits = 16;
const exponentMax = 4;

/** Throws AUCTION_SETTING_INVALID unless 0 ≤ exponent ≤ 4. */
export function checkExponent(exponent: number): void {
  if (exponent >= 0 && exponent <= exponentMax) return;
  throw new AuctionError('AUCTION_SETTING_INVALID', { detail: `quality exponent ${exponent}, 0 to ${exponentMax}` });
}

/**
 * quality^exponent as Q30: how much quality counts in the ranking, from not at all (0) over fully (1) to more. Exact for 0 and
 * 1. In between it multiplies repeated square roots: IEEE 754 rounds both operations in one way only, so every machine gets
 * the same bits, which it does not promise for `Math.pow`. A result above 2^32 − 1 (quality up to 4, exponent 2 and more) is cut.
 */
export function qualityWeightQ30(qualityQ30: number, exponent: number): number {
  if (exponent === 1 || (qualityQ30 === q30One && exponent > 0)) return qualityQ30;
  if (exponent === 0) return q30One;
  if (qualityQ30 === 0) return 0;
  const quality = qualityQ30 / q30One;
  const steps = Math.round(exponent * 2 ** exponentBits);
  let whole = Math.floor(steps / 2 ** exponentBits);
  let fraction = steps % 2 ** exponentBits;
  let power = 1;
  for (; whole > 0; whole--) power *= quality;
  let root = quality;
  for (let bit = exponentBits - 1; bit >= 0 && fraction > 0; bit--) {
    root = Math.sqrt(root);
    if (fraction >= 2 ** bit) {
      power *= root;
      fraction -= 2 ** bit;
    }
  }
  // At least 1: a weight may not turn a sellable candidate into none.
  return Math.min(0xffff_ffff, Math.max(1, Math.round(power * q30One)));
}
