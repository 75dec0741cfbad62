import type { AuctionColumns } from './auction-columns.ts';
import { AuctionError } from './errors.ts';
import { bidNanosMax, eventWeightQ60, expectedValueNanos, priceTypes, q30One } from './expected-value.ts';
import { reasonNumbers } from './loss-reasons.ts';
import { qualityWeightQ30 } from './quality.ts';
import { tieKey } from './ties.ts';

const q60One = 2 ** 60;
/** Three roundings on each side of a comparison are below 6 × 2^-53 of it; within this share the integers decide. */
const doubtShare = 2 ** -49;

/**
 * Who competes, and who ranks before whom: by bid × probability × quality^a, exactly. Doubles decide all but near-equal scores;
 * those are compared as 138-bit integers, and true equals by `tieKey`. One per decider, reused.
 */
export class CandidateRanking {
  /** Score as a double, × 2^90; 0: does not compete (any more). */
  readonly #scores: Float64Array;
  readonly #advertisers: Uint32Array;
  #columns: AuctionColumns | undefined;

  constructor(candidateCapacity: number) {
    this.#scores = new Float64Array(candidateCapacity);
    this.#advertisers = new Uint32Array(candidateCapacity);
  }

  /** Finds who competes: verdict 0, a usable probability and bid, expected value at or above the floor. Names the reason of the others. */
  prepare(columns: AuctionColumns, advertiserOf: Uint32Array | ((adRow: number) => number)): void {
    const { candidateCount, impCount, impFloorNanos, qualityExponent } = columns;
    if (candidateCount > this.#scores.length) throw new AuctionError('AUCTION_TOO_LARGE');
    this.#columns = columns;
    const { candidateAdRow, candidateImp, candidateVerdict, candidateBidNanos, candidatePriceType } = columns;
    const { candidateClickQ30, candidateConversionQ30, candidateQualityQ30, candidateReason } = columns;
    const scores = this.#scores;
    const advertisers = this.#advertisers;
    const isTable = typeof advertiserOf !== 'function';
    for (let candidate = 0; candidate < candidateCount; candidate++) {
      const row = candidateAdRow[candidate]!;
      advertisers[candidate] = isTable ? advertiserOf[row]! : advertiserOf(row);
      const bid = candidateBidNanos[candidate]!;
      const type = candidatePriceType[candidate]!;
      const click = candidateClickQ30[candidate]!;
      const conversion = type === priceTypes.cpa ? candidateConversionQ30[candidate]! : q30One;
      const quality = qualityWeightQ30(candidateQualityQ30[candidate]!, qualityExponent);
      scores[candidate] = 0;
      let reason: number = reasonNumbers.undecided;
      if (candidateVerdict[candidate] !== 0) reason = reasonOfVerdict(candidateVerdict[candidate]!);
      else if (!(bid > 0 && bid <= bidNanosMax && Math.floor(bid) === bid)) reason = reasonNumbers.noBid;
      else if (click === 0 || click > q30One || conversion === 0 || conversion > q30One || quality === 0)
        reason = reasonNumbers.noProbability;
      else {
        const imp = candidateImp[candidate]!;
        if (imp >= impCount) throw new AuctionError('AUCTION_TOO_LARGE', { detail: `imp ${imp}` });
        const value = expectedValueNanos(bid, type, click, conversion);
        // Less than a nano cannot be paid: not even a floor of 0 sells for nothing. A floor that is no number sells to nobody.
        if (value >= 1 && value >= impFloorNanos[imp]!)
          scores[candidate] = type === priceTypes.cpm ? bid * q60One * quality : bid * click * conversion * quality;
        else reason = reasonNumbers.belowFloor;
      }
      candidateReason[candidate] = reason;
    }
  }

  competes(candidate: number): boolean {
    return this.#scores[candidate]! > 0;
  }

  /** The candidate is out: it wins nothing and sets no price. */
  withdraw(candidate: number): void {
    this.#scores[candidate] = 0;
  }

  advertiserOf(candidate: number): number {
    return this.#advertisers[candidate]!;
  }

  /** Positive when `left` scores higher, 0 when exactly level. */
  compareScores(left: number, right: number): number {
    const difference = this.#scores[left]! - this.#scores[right]!;
    if (Math.abs(difference) > this.#scores[left]! * doubtShare) return difference;
    if (this.#hasSameTerms(left, right)) return 0;
    const exact = this.scoreQ90(left) - this.scoreQ90(right);
    return exact > 0n ? 1 : exact < 0n ? -1 : 0;
  }

  /** Total and strict: by score, then by the tie key, then (equal keys: one in 2^32) by ad row and place. */
  ranksBefore(left: number, right: number): boolean {
    const byScore = this.compareScores(left, right);
    if (byScore !== 0) return byScore > 0;
    const byKey = this.tieKeyOf(left) - this.tieKeyOf(right);
    if (byKey !== 0) return byKey > 0;
    const { candidateAdRow } = this.#columns!;
    const byRow = candidateAdRow[left]! - candidateAdRow[right]!;
    return byRow === 0 ? left < right : byRow < 0;
  }

  tieKeyOf(candidate: number): number {
    const { tieSeedHigh, tieSeedLow, candidateImp, candidateAdRow } = this.#columns!;
    return tieKey(tieSeedHigh, tieSeedLow, candidateImp[candidate]!, candidateAdRow[candidate]!);
  }

  /** The best that still competes on an imp and whose advertiser is not among the first `excludedCount` of `excluded`; −1: nobody. */
  best(imp: number, excluded: Uint32Array, excludedCount: number): number {
    const { candidateCount, candidateImp } = this.#columns!;
    let best = -1;
    for (let candidate = 0; candidate < candidateCount; candidate++) {
      if (candidateImp[candidate] !== imp || this.#scores[candidate] === 0) continue;
      // Most candidates end here: clearly below the best so far.
      if (best >= 0 && this.#scores[candidate]! < this.#scores[best]! * (1 - doubtShare)) continue;
      if (isAmong(this.#advertisers[candidate]!, excluded, excludedCount)) continue;
      if (best < 0 || this.ranksBefore(candidate, best)) best = candidate;
    }
    return best;
  }

  /** The exact score: bid × events per impression × quality^a, × 2^90. */
  scoreQ90(candidate: number): bigint {
    return (
      BigInt(this.#columns!.candidateBidNanos[candidate]!) * this.weightQ60(candidate) * this.qualityQ30(candidate)
    );
  }

  weightQ60(candidate: number): bigint {
    const { candidatePriceType, candidateClickQ30, candidateConversionQ30 } = this.#columns!;
    return eventWeightQ60(
      candidatePriceType[candidate]!,
      candidateClickQ30[candidate]!,
      candidateConversionQ30[candidate]!,
    );
  }

  qualityQ30(candidate: number): bigint {
    const { candidateQualityQ30, qualityExponent } = this.#columns!;
    return BigInt(qualityWeightQ30(candidateQualityQ30[candidate]!, qualityExponent));
  }

  /** Level without any arithmetic: the creatives of one line item, mostly. */
  #hasSameTerms(left: number, right: number): boolean {
    const columns = this.#columns!;
    const type = columns.candidatePriceType[left]!;
    return (
      type === columns.candidatePriceType[right] &&
      columns.candidateBidNanos[left] === columns.candidateBidNanos[right] &&
      columns.candidateQualityQ30[left] === columns.candidateQualityQ30[right] &&
      (type === priceTypes.cpm || columns.candidateClickQ30[left] === columns.candidateClickQ30[right]) &&
      (type !== priceTypes.cpa || columns.candidateConversionQ30[left] === columns.candidateConversionQ30[right])
    );
  }
}

function isAmong(advertiser: number, excluded: Uint32Array, count: number): boolean {
  for (let index = 0; index < count; index++) if (excluded[index] === advertiser) return true;
  return false;
}

/** Bits 1 budget, 2 cap, 4 pacing: with several, what the user's protection says comes first. */
function reasonOfVerdict(verdict: number): number {
  if ((verdict & 2) !== 0) return reasonNumbers.cap;
  if ((verdict & 1) !== 0) return reasonNumbers.budget;
  return reasonNumbers.pacing;
}
