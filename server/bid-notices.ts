import type { RatedVisit } from '#auction/click-rates.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { noReservation } from './auctioneer.ts';
import type { Flight } from './flight.ts';
import type { NoticeClaims, NoticeTokens, PriceType } from './notice-claims.ts';

export type NoticeContext = {
  readonly sign: (claims: NoticeClaims) => NoticeTokens;
  /** Which taking of its slot a reservation is: see auction/budget-ledger.ts. */
  readonly generationOf: (reservation: number) => number;
  /** Where and to whom the ad of a row is shown, as click rates are counted. */
  readonly visitOf: (flight: Flight, adRow: number) => RatedVisit;
  /** Base of notice addresses, without a slash at its end. Asked for each bid: the port may be known only after listening. */
  readonly publicUrl: () => string;
};

/** The tokens of an imp's winner. `bidNanos`: the most that its impression may be billed, in USD nanos. */
export function winnerTokens(
  context: NoticeContext,
  draft: AuctionDraft,
  imp: number,
  ad: { readonly adId: string; readonly landingUrl: string },
  flight: Flight,
  bidNanos: number,
): NoticeTokens {
  const winner = draft.impWinner[imp]!;
  const reservation = draft.impReservation[imp]!;
  const visit = context.visitOf(flight, draft.candidateAdRow[winner]!);
  const holdsBudget = reservation !== noReservation;
  return context.sign({
    auctionHigh: draft.auctionIdHigh,
    auctionLow: draft.auctionIdLow,
    impIndex: imp,
    adId: ad.adId,
    priceType: draft.candidatePriceType[winner]! as PriceType,
    bidNanos,
    chargeNanos: draft.impPriceNanos[imp]!,
    clickQ30: draft.candidateClickQ30[winner]!,
    reservationHandle: holdsBudget ? reservation : -1,
    reservationGeneration: holdsBudget ? context.generationOf(reservation) : 0,
    reservedNanos: holdsBudget ? draft.impReservedNanos[imp]! : 0,
    userHashHigh: flight.userHashHigh,
    userHashLow: flight.userHashLow,
    siteKey: visit.site,
    interest: visit.interest,
    issuedAtMs: Math.floor(draft.timeMs),
    isTest: draft.test,
    currency: draft.currency,
    clickUrl: ad.landingUrl,
  });
}
