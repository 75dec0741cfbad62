import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { noReservation } from './auctioneer.ts';
import type { NoticeClaims, NoticeTokens, PriceType } from './notice-claims.ts';

export type NoticeContext = {
  readonly sign: (claims: NoticeClaims) => NoticeTokens;
  /** Which taking of its slot a reservation is: see auction/budget-ledger.ts. */
  readonly generationOf: (reservation: number) => number;
  /** Base of notice addresses, without a slash at its end. Asked for each bid: the port may be known only after listening. */
  readonly publicUrl: () => string;
};

/** The two halves of the user's hash, as a flight carries them. */
export type UserHalves = { readonly userHashHigh: number; readonly userHashLow: number };

/** The tokens of an imp's winner. `bidNanos`: the most that its impression may be billed, in USD nanos. */
export function winnerTokens(
  context: NoticeContext,
  draft: AuctionDraft,
  imp: number,
  ad: { readonly adId: string; readonly landingUrl: string },
  user: UserHalves,
  bidNanos: number,
): NoticeTokens {
  const winner = draft.impWinner[imp]!;
  const reservation = draft.impReservation[imp]!;
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
    userHashHigh: user.userHashHigh,
    userHashLow: user.userHashLow,
    issuedAtMs: Math.floor(draft.timeMs),
    isTest: draft.test,
    currency: draft.currency,
    clickUrl: ad.landingUrl,
  });
}
