import type { AuctionColumns } from './auction-columns.ts';
import { eventWeightQ60, expectedValueNanos } from './expected-value.ts';

const million = 1_000_000;

/**
 * The bid of an answer, in nanos per impression: our own value less the margin (parts per million), rounded down, but never
 * below the floor that the value itself reaches. Exact: whole millions and the rest are cut apart, so no product exceeds 2^53.
 */
export function bidPriceNanos(valueNanos: number, floorNanos: number, marginPpm: number): number {
  const kept = million - marginPpm;
  const millions = Math.floor(valueNanos / million);
  const rest = valueNanos - millions * million;
  return Math.max(floorNanos, millions * kept + Math.floor((rest * kept) / million));
}

/** Expected value per impression of a candidate, in nanos. */
export function candidateValueNanos(columns: AuctionColumns, candidate: number): number {
  return expectedValueNanos(
    columns.candidateBidNanos[candidate]!,
    columns.candidatePriceType[candidate]!,
    columns.candidateClickQ30[candidate]!,
    columns.candidateConversionQ30[candidate]!,
  );
}

/** `bidPriceNanos` of an imp's winner; 0 when it is unsold. */
export function winnersCpmNanos(columns: AuctionColumns & { readonly marginPpm: number }, imp: number): number {
  const winner = columns.impWinner[imp]!;
  if (winner < 0) return 0;
  return bidPriceNanos(candidateValueNanos(columns, winner), columns.impFloorNanos[imp]!, columns.marginPpm);
}

/** What the winner of an imp pays, per impression, rounded up; 0 when it is unsold. */
export function clearingNanos(columns: AuctionColumns, imp: number): number {
  const winner = columns.impWinner[imp]!;
  if (winner < 0) return 0;
  const weight = eventWeightQ60(
    columns.candidatePriceType[winner]!,
    columns.candidateClickQ30[winner]!,
    columns.candidateConversionQ30[winner]!,
  );
  return Number((BigInt(columns.impPriceNanos[imp]!) * weight + (1n << 60n) - 1n) >> 60n);
}

/**
 * MIN_TO_WIN in nanos per impression, by the table of the specification: for the winner the runner-up's value (at least the floor),
 * for everyone else what the winner pays. The specification's prose says "tie with the winning bid"; its table shows the
 * price, and the table is what both sides can check. 0 when the imp is unsold: nobody knows what would have won.
 */
export function minToWinNanos(columns: AuctionColumns, imp: number, candidate: number): number {
  const winner = columns.impWinner[imp]!;
  if (winner < 0) return 0;
  const floor = columns.impFloorNanos[imp]!;
  if (candidate !== winner) return Math.max(floor, clearingNanos(columns, imp));
  let runnerUp = floor;
  for (let other = 0; other < columns.candidateCount; other++) {
    if (other === winner || columns.candidateImp[other] !== imp || columns.candidateVerdict[other] !== 0) continue;
    runnerUp = Math.max(runnerUp, candidateValueNanos(columns, other));
  }
  return runnerUp;
}
