import { AuctionError } from './errors.ts';

/** One unit of the foreign currency is worth numerator ÷ denominator units of the catalog's. Whole and positive. */
export type CurrencyRate = { readonly numerator: number; readonly denominator: number };

/** Of the catalog's own currency. */
export const sameCurrency: CurrencyRate = { numerator: 1, denominator: 1 };

/** Throws CURRENCY_RATE_INVALID for what is not a positive ratio: a rate of 0 would sell for nothing. */
export function checkRate({ numerator, denominator }: CurrencyRate): void {
  if (isRatePart(numerator) && isRatePart(denominator)) return;
  throw new AuctionError('CURRENCY_RATE_INVALID', { detail: `${numerator} / ${denominator}` });
}

function isRatePart(part: number): boolean {
  return Number.isSafeInteger(part) && part > 0;
}

/**
 * Whether a bid in the catalog's currency reaches a floor in a foreign one: cross-multiplied, never converted first, so no
 * rounding can lose a bid that holds. Without a rate nothing reaches any floor, not even a floor of 0: we could not bill it.
 */
export function reachesFloor(bidNanos: number, foreignFloorNanos: number, rate: CurrencyRate | undefined): boolean {
  if (rate === undefined) return false;
  checkRate(rate);
  return BigInt(bidNanos) * BigInt(rate.denominator) >= BigInt(foreignFloorNanos) * BigInt(rate.numerator);
}

/**
 * A foreign floor in the catalog's currency, rounded up. A whole bid reaches it exactly when it reaches the foreign floor
 * (see `reachesFloor`). Infinity without a rate, or beyond what a bid can be: nobody is eligible.
 */
export function floorInCatalogNanos(foreignFloorNanos: number, rate: CurrencyRate | undefined): number {
  if (rate === undefined) return Number.POSITIVE_INFINITY;
  checkRate(rate);
  const denominator = BigInt(rate.denominator);
  const dividend = BigInt(foreignFloorNanos) * BigInt(rate.numerator);
  const nanos = Number((dividend + denominator - 1n) / denominator);
  return nanos > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : nanos;
}

/** A bid in the foreign currency, rounded down: what is offered is never more than what was meant. */
export function bidInForeignNanos(bidNanos: number, rate: CurrencyRate): number {
  checkRate(rate);
  const nanos = Number((BigInt(bidNanos) * BigInt(rate.denominator)) / BigInt(rate.numerator));
  // Beyond 2^53 a double could round it up again.
  return Math.min(nanos, Number.MAX_SAFE_INTEGER);
}

/** A price that somebody reports in the foreign currency, in the catalog's, rounded up: costs are never understated. */
export function priceInCatalogNanos(foreignNanos: number, rate: CurrencyRate): number {
  return floorInCatalogNanos(foreignNanos, rate);
}
