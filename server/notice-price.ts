import type { NoticeClaims } from './notice-claims.ts';
import { cpmTextToNanos } from './decimal-money.ts';

/** What `p` of a notice says. */
export type PriceReading =
  /** No `p`: we cleared the auction ourselves, the token's own price holds. */
  | { readonly kind: 'absent' }
  /** `${AUCTION_PRICE}` as it stands, or nothing in its place: the exchange did not say what it bills. */
  | { readonly kind: 'unexpanded' }
  /** Nanos per impression in the currency it was reported in, rounded down. */
  | { readonly kind: 'price'; readonly nanos: number }
  | { readonly kind: 'malformed' };

/** Reads the price parameter of a notice: a CPM in decimal text. */
export function readPrice(text: string | undefined): PriceReading {
  if (text === undefined) return { kind: 'absent' };
  if (text === '' || /^\$\{[A-Z_]+(?::[A-Z0-9]+)?\}$/u.test(text)) return { kind: 'unexpanded' };
  const nanos = cpmTextToNanos(text, 'down');
  return nanos === undefined ? { kind: 'malformed' } : { kind: 'price', nanos };
}

/** What an exchange bills us for one impression, and whether it was cut to the bid. */
export type BilledPrice = { readonly nanos: number; readonly isClamped: boolean; readonly isUnexpanded: boolean };

/**
 * The price of an impression in the catalog's currency. `toCatalogNanos` is the day's rate, undefined for a currency without
 * one: then the bid stands in, the most that can be billed, and counts as clamped.
 */
export function billedPrice(
  claims: NoticeClaims,
  reading: PriceReading,
  currency: string,
  toCatalogNanos: (nanos: number, currency: string) => number | undefined,
): BilledPrice {
  if (reading.kind === 'absent') return { nanos: claims.bidNanos, isClamped: false, isUnexpanded: false };
  if (reading.kind !== 'price') return { nanos: 0, isClamped: false, isUnexpanded: true };
  const nanos = toCatalogNanos(reading.nanos, currency);
  if (nanos === undefined || nanos > claims.bidNanos) {
    return { nanos: claims.bidNanos, isClamped: true, isUnexpanded: false };
  }
  return { nanos, isClamped: false, isUnexpanded: false };
}

/**
 * What a CPM advertiser owes for an impression billed at `priceNanos`: the price, with our margin on top in the proportion
 * in which it was taken off the bid (`chargeNanos` ÷ `bidNanos`, 1 without a margin), rounded down, at most what he offered.
 */
export function impressionChargeNanos(claims: NoticeClaims, priceNanos: number): number {
  const { bidNanos, chargeNanos } = claims;
  if (bidNanos === 0) return 0;
  if (priceNanos >= bidNanos) return chargeNanos;
  if (bidNanos === chargeNanos) return priceNanos;
  const product = chargeNanos * priceNanos;
  if (product <= Number.MAX_SAFE_INTEGER) return Math.floor(product / bidNanos);
  return Number((BigInt(chargeNanos) * BigInt(priceNanos)) / BigInt(bidNanos));
}
