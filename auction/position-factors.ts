import { AuctionError } from './errors.ts';
import { q30One } from './expected-value.ts';

/**
 * How much attention each place of a page gets, relative to the first, as Q30: the table `attention-v1`, 1 ÷ log2(place + 1)
 * rounded to hundredths. A page rarely has measured factors of its own; hand them to the decider when it has. Replay reads this
 * table, so it never changes: another one gets another name.
 */
export const attentionV1Q30: readonly number[] = [100, 63, 50, 43, 39, 36, 33, 32, 30, 29, 28, 27, 26, 26, 25, 24].map(
  (hundredths) => Math.floor((hundredths * q30One) / 100),
);

/** Throws AUCTION_SETTING_INVALID unless the factors are positive whole numbers up to 2^30 that never rise. */
export function checkPositionFactors(factorsQ30: readonly number[]): void {
  const isUsable = factorsQ30.every(
    (factor, place) =>
      Number.isInteger(factor) && factor > 0 && factor <= q30One && factor <= (factorsQ30[place - 1] ?? q30One),
  );
  if (factorsQ30.length === 0 || !isUsable) {
    throw new AuctionError('AUCTION_SETTING_INVALID', { detail: 'position factors' });
  }
}
