import { reasonOf } from '#auction/loss-reasons.ts';
import { expectedValueNanos } from '#auction/expected-value.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';

/**
 * Why nothing was offered: a name and the code that OpenRTB calls `nbr`. These are what the edge itself says; where ads competed
 * and none could win, the reason of the best of them is said (auction/loss-reasons.ts, codes from 501 on).
 */
export type NoBidReason = { readonly name: string; readonly nbr: number };
export const noBidReasons = {
  tooLate: { name: 'tooLate', nbr: 15 },
  noCandidate: { name: 'noCandidate', nbr: 500 },
  noRate: { name: 'noRate', nbr: 520 },
  overloaded: { name: 'overloaded', nbr: 521 },
} as const satisfies Readonly<Record<string, NoBidReason>>;

/** The reason of the candidate that would have been worth most, for one imp or (−1) for all. Asked off the hot path only. */
export function unsoldReason(draft: AuctionDraft, imp: number): NoBidReason {
  let best = -1;
  let bestNanos = -1;
  for (let candidate = 0; candidate < draft.candidateCount; candidate++) {
    if (imp >= 0 && draft.candidateImp[candidate] !== imp) continue;
    const nanos = expectedValueNanos(
      draft.candidateBidNanos[candidate]!,
      draft.candidatePriceType[candidate]!,
      draft.candidateClickQ30[candidate]!,
      draft.candidateConversionQ30[candidate]!,
    );
    if (nanos > bestNanos) {
      best = candidate;
      bestNanos = nanos;
    }
  }
  return best < 0 ? noBidReasons.noCandidate : reasonOf(draft.candidateReason[best]!);
}

/** The long form of "no bid": for tests, for debugging and for callers who asked for it. */
export function noBidBody(requestId: string, { name, nbr }: NoBidReason): string {
  return `{"id":${JSON.stringify(requestId)},"seatbid":[],"nbr":${nbr},"ext":{"gavelin":{"reason":"${name}"}}}`;
}
