import { mechanismNumbers, type MechanismName } from '#auction/mechanisms.ts';
import { q30One } from '#auction/expected-value.ts';
import { AuctionDraft } from '#training-bridge/event-records.ts';

export type TestBid = {
  readonly imp?: number;
  readonly adRow: number;
  readonly bidNanos: number;
  /** 0 CPM, 1 CPC, 2 CPA. */
  readonly priceType?: number;
  readonly clickQ30?: number;
  readonly conversionQ30?: number;
  readonly qualityQ30?: number;
  readonly verdict?: number;
};

export type TestAuction = {
  readonly mechanism: MechanismName;
  readonly floors: readonly number[];
  readonly bids: readonly TestBid[];
  readonly incrementNanos?: number;
  readonly qualityExponent?: number;
  readonly seed?: readonly [high: number, low: number];
};

/** The event log's own draft, so that every test also shows that it fits the decider. */
export function draftOf(auction: TestAuction): AuctionDraft {
  const draft = new AuctionDraft(Math.max(1, auction.bids.length));
  draft.mechanism = mechanismNumbers[auction.mechanism];
  draft.incrementNanos = auction.incrementNanos ?? 0;
  draft.qualityExponent = auction.qualityExponent ?? 1;
  [draft.tieSeedHigh, draft.tieSeedLow] = auction.seed ?? [0x1234, 0x5678];
  draft.impCount = auction.floors.length;
  draft.impFloorNanos.set(auction.floors);
  draft.candidateCount = auction.bids.length;
  for (const [index, bid] of auction.bids.entries()) {
    draft.candidateImp[index] = bid.imp ?? 0;
    draft.candidateAdRow[index] = bid.adRow;
    draft.candidateBidNanos[index] = bid.bidNanos;
    draft.candidatePriceType[index] = bid.priceType ?? 0;
    draft.candidateClickQ30[index] = bid.clickQ30 ?? q30One;
    draft.candidateConversionQ30[index] = bid.conversionQ30 ?? q30One;
    draft.candidateQualityQ30[index] = bid.qualityQ30 ?? q30One;
    draft.candidateVerdict[index] = bid.verdict ?? 0;
  }
  return draft;
}

/** Every ad is its own advertiser. */
export function itself(adRow: number): number {
  return adRow;
}

/** Row of the ad that won an imp, −1 when nobody did. */
export function winnerRow(draft: AuctionDraft, imp = 0): number {
  const winner = draft.impWinner[imp]!;
  return winner < 0 ? -1 : draft.candidateAdRow[winner]!;
}
