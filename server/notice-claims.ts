import type { RatedVisit } from '#auction/click-rates.ts';

/** What a notice is about. Each kind has a signature of its own: a token of one kind is not valid as another. */
export const noticeKinds = ['win', 'bill', 'loss', 'view', 'click', 'conversion'] as const;
export type NoticeKind = (typeof noticeKinds)[number];

/** 0 CPM, 1 CPC, 2 CPA: as in the catalog. */
export type PriceType = 0 | 1 | 2;

/**
 * Everything a notice needs, signed into it, so that any pod may receive it. Shared by all notices of one bid; those of clicks and
 * conversions, which every visitor and every advertiser sees, carry only what `publicClaims` leaves.
 */
export type NoticeClaims = {
  /** The two halves of the auction id. */
  readonly auctionHigh: number;
  readonly auctionLow: number;
  readonly impIndex: number;
  readonly adId: string;
  readonly priceType: PriceType;
  /** The bid's price per impression in nanos: the ceiling of what an exchange may charge us. */
  readonly bidNanos: number;
  /** What the advertiser owes for one event of the price type (per impression, click or conversion), in nanos. */
  readonly chargeNanos: number;
  /** Calibrated click probability as Q30, as the bid used it: a view adds it to `expected_clicks`, to be compared with the clicks that come. */
  readonly clickQ30: number;
  /** Slot of the budget reservation and the generation it was taken in; −1 = none. */
  readonly reservationHandle: number;
  readonly reservationGeneration: number;
  readonly reservedNanos: number;
  /** 64-bit hash of the user key for caps and windows, in two halves; 0, 0 without consent. Masked in the token itself. */
  readonly userHashHigh: number;
  readonly userHashLow: number;
  /** Where and to whom it was shown, as click rates are counted (auction/click-rates.ts); 0 = not known. Masked in the token itself. */
  readonly siteKey: number;
  readonly interest: RatedVisit['interest'];
  /** Epoch milliseconds, whole. */
  readonly issuedAtMs: number;
  readonly isTest: boolean;
  /** ISO 4217, of the answer that the bid was in: what is reported without a currency is in this one. */
  readonly currency: string;
  /** Where a click goes; '' = nowhere (204). Only the click token carries it. */
  readonly clickUrl: string;
};

/** What clicks and conversions are settled by: not what was bid for showing the ad, and of a conversion nothing of who saw it. */
export function publicClaims(claims: NoticeClaims, kind: 'click' | 'conversion'): NoticeClaims {
  return {
    ...claims,
    bidNanos: 0,
    chargeNanos: claims.priceType === 0 ? 0 : claims.chargeNanos,
    clickQ30: 0,
    reservationHandle: -1,
    reservationGeneration: 0,
    reservedNanos: 0,
    userHashHigh: kind === 'click' ? claims.userHashHigh : 0,
    userHashLow: kind === 'click' ? claims.userHashLow : 0,
    siteKey: kind === 'click' ? claims.siteKey : 0,
    interest: kind === 'click' ? claims.interest : 0,
    currency: 'USD',
  };
}

/** The six tokens of one bid: base64url text, safe in a URL. */
export type NoticeTokens = Readonly<Record<NoticeKind, string>>;

/** What was read back from a token. `expiresAtMs` follows from its kind. */
export type VerifiedNotice = { readonly kind: NoticeKind; readonly claims: NoticeClaims; readonly expiresAtMs: number };

/** What settlement did with a notice. All are ordinary outcomes and answer 204 (or the click's 302). */
export type Settlement = 'CHARGED' | 'RECORDED' | 'REPEATED' | 'RELEASED' | 'BUDGET_EXHAUSTED' | 'TEST' | 'UNKNOWN_AD';
