import type { Catalog } from '#auction/catalog.ts';
import { expectedValueNanos } from '#auction/expected-value.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { auctionIdText } from './auction-ids.ts';
import { rungNames } from './rungs.ts';

/** One row of the page's list. `valueNanos` is the winner's expected value per impression. */
export type RecentAuction = {
  readonly auctionId: string;
  readonly timeMs: number;
  readonly rung: string;
  readonly imps: number;
  readonly candidates: number;
  readonly winner: string | null;
  readonly pClick: number | null;
  readonly valueNanos: number | null;
};

/** A person reads no more than this; the rest is in the log. */
const perSecondMax = 20;
const q30One = 2 ** 30;

/** Keeps the first few auctions of each second for the page: bounded work however many there are. One per serving thread. */
export class RecentAuctions {
  readonly #catalog: Catalog;
  #kept: RecentAuction[] = [];

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  note(draft: AuctionDraft): void {
    if (this.#kept.length >= perSecondMax) return;
    let winner = -1;
    for (let imp = 0; imp < draft.impCount && winner < 0; imp++) winner = draft.impWinner[imp]!;
    const { candidateClickQ30, candidateConversionQ30, candidateBidNanos, candidatePriceType, candidateAdRow } = draft;
    this.#kept.push({
      auctionId: auctionIdText(draft.auctionIdHigh, draft.auctionIdLow),
      timeMs: draft.timeMs,
      rung: rungNames[draft.rung]!,
      imps: draft.impCount,
      candidates: draft.candidateCount,
      winner: winner < 0 ? null : this.#catalog.adId(candidateAdRow[winner]!),
      pClick: winner < 0 ? null : candidateClickQ30[winner]! / q30One,
      valueNanos:
        winner < 0
          ? null
          : expectedValueNanos(
              candidateBidNanos[winner]!,
              candidatePriceType[winner]!,
              candidateClickQ30[winner]!,
              candidateConversionQ30[winner]!,
            ),
    });
  }

  /** What was kept since the last call. */
  take(): readonly RecentAuction[] {
    const kept = this.#kept;
    this.#kept = [];
    return kept;
  }
}
