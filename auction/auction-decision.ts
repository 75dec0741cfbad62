import type { AuctionColumns } from './auction-columns.ts';
import { CandidateRanking } from './candidate-ranking.ts';
import { AuctionError } from './errors.ts';
import { reasonNumbers } from './loss-reasons.ts';
import { externalityPriceNanos, mechanismNumbers, nextPriceNanos, type WinnerTerms } from './mechanisms.ts';
import { attentionV1Q30, checkPositionFactors } from './position-factors.ts';
import { checkExponent } from './quality.ts';
import { type Offer, SlotAssignment, tieBits } from './slot-assignment.ts';

export type { AuctionColumns } from './auction-columns.ts';

export type DeciderOptions = {
  /** Candidates of one auction over all its imps. */
  readonly candidateCapacity?: number;
  /** Attention per place of a page as Q30, in the order of imps; `vcg` reads it. */
  readonly positionFactorsQ30?: readonly number[];
};

const candidateCapacityDefault = 4096;
const impCountMax = 16;
const budgetVerdict = 1;
const nobody = -1;

/**
 * Decides an auction: a pure function of the columns, in integers, so that a replay of logged columns gives the same winners
 * and prices bit for bit. One per thread, reused; a plain auction allocates a few BigInts for its price and nothing else.
 */
export class AuctionDecider {
  readonly #ranking: CandidateRanking;
  readonly #positionFactorsQ30: readonly number[];
  /** Advertisers that have won, in the order of deciding, and the imp that each won. */
  readonly #placed = new Uint32Array(impCountMax);
  readonly #placedImp = new Uint32Array(impCountMax);
  #placedCount = 0;
  /** Per undecided imp: who would win it now; −1 nobody. */
  readonly #leader = new Int32Array(impCountMax);
  readonly #isDecided = new Uint8Array(impCountMax);

  constructor(options: DeciderOptions = {}) {
    this.#ranking = new CandidateRanking(options.candidateCapacity ?? candidateCapacityDefault);
    this.#positionFactorsQ30 = options.positionFactorsQ30 ?? attentionV1Q30;
    checkPositionFactors(this.#positionFactorsQ30);
  }

  /**
   * Fills impWinner, impPriceNanos and candidateReason. An advertiser wins at most one imp and never sets its own price.
   * `onWin` is asked for the winner's budget: false moves on to the next best. `onLose` takes such a yes back: only `vcg` needs
   * it, where a refusal can move the others to other places; without it those reservations run out by themselves.
   */
  decide(
    columns: AuctionColumns,
    advertiserOf: Uint32Array | ((adRow: number) => number),
    onWin?: (imp: number, candidate: number) => boolean,
    onLose?: (imp: number, candidate: number) => void,
  ): void {
    const { impCount, mechanism } = columns;
    if (impCount > impCountMax) throw new AuctionError('AUCTION_TOO_LARGE');
    checkExponent(columns.qualityExponent);
    if (!Number.isSafeInteger(columns.incrementNanos) || columns.incrementNanos < 0) {
      throw new AuctionError('AUCTION_SETTING_INVALID', { detail: `increment ${columns.incrementNanos}` });
    }
    columns.impWinner.fill(nobody, 0, impCount);
    columns.impPriceNanos.fill(0, 0, impCount);
    this.#placedCount = 0;
    this.#ranking.prepare(columns, advertiserOf);
    switch (mechanism) {
      case mechanismNumbers.bid:
      case mechanismNumbers.first:
        this.#placeByScore(columns, onWin);
        for (let imp = 0; imp < impCount; imp++) this.#priceAtBid(columns, imp);
        break;
      case mechanismNumbers.second:
        this.#placeByScore(columns, onWin);
        this.#priceAtNext(columns, BigInt(columns.incrementNanos));
        break;
      case mechanismNumbers.gsp:
        this.#placeInOrder(columns, onWin);
        this.#priceAtNext(columns, 0n);
        break;
      case mechanismNumbers.vcg:
        this.#placeAndPriceByExternality(columns, onWin, onLose);
        break;
      default:
        throw new AuctionError('AUCTION_MECHANISM_UNKNOWN', { detail: String(mechanism) });
    }
    this.#nameReasons(columns);
  }

  /** The best pair of imp and candidate first, then the best of what is left: an advertiser that leads twice keeps its better place. */
  #placeByScore(columns: AuctionColumns, onWin: ((imp: number, candidate: number) => boolean) | undefined): void {
    const { impCount } = columns;
    this.#isDecided.fill(0, 0, impCount);
    for (let imp = 0; imp < impCount; imp++) this.#leader[imp] = this.#ranking.best(imp, this.#placed, 0);
    for (;;) {
      let next = nobody;
      for (let imp = 0; imp < impCount; imp++) {
        const leader = this.#leader[imp]!;
        if (this.#isDecided[imp] === 1 || leader === nobody) continue;
        if (next === nobody || this.#ranking.ranksBefore(leader, this.#leader[next]!)) next = imp;
      }
      if (next === nobody) return;
      const winner = this.#leader[next]!;
      if (!this.#tryToPlace(columns, next, winner, onWin)) {
        this.#leader[next] = this.#ranking.best(next, this.#placed, this.#placedCount);
        continue;
      }
      this.#isDecided[next] = 1;
      const advertiser = this.#ranking.advertiserOf(winner);
      for (let imp = 0; imp < impCount; imp++) {
        const leader = this.#leader[imp]!;
        if (this.#isDecided[imp] === 1 || leader === nobody) continue;
        if (this.#ranking.advertiserOf(leader) !== advertiser) continue;
        this.#leader[imp] = this.#ranking.best(imp, this.#placed, this.#placedCount);
      }
    }
  }

  /** Places from the top of the page downward. */
  #placeInOrder(columns: AuctionColumns, onWin: ((imp: number, candidate: number) => boolean) | undefined): void {
    for (let imp = 0; imp < columns.impCount; imp++) {
      let best = this.#ranking.best(imp, this.#placed, this.#placedCount);
      while (best !== nobody && !this.#tryToPlace(columns, imp, best, onWin)) {
        best = this.#ranking.best(imp, this.#placed, this.#placedCount);
      }
    }
  }

  #tryToPlace(
    columns: AuctionColumns,
    imp: number,
    candidate: number,
    onWin: ((imp: number, candidate: number) => boolean) | undefined,
  ): boolean {
    if (onWin !== undefined && !onWin(imp, candidate)) {
      this.#refuse(columns, candidate);
      return false;
    }
    this.#place(columns, imp, candidate);
    return true;
  }

  #refuse(columns: AuctionColumns, candidate: number): void {
    columns.candidateVerdict[candidate]! |= budgetVerdict;
    columns.candidateReason[candidate] = reasonNumbers.budget;
    this.#ranking.withdraw(candidate);
  }

  #place(columns: AuctionColumns, imp: number, candidate: number): void {
    columns.impWinner[imp] = candidate;
    columns.candidateReason[candidate] = reasonNumbers.won;
    this.#placed[this.#placedCount] = this.#ranking.advertiserOf(candidate);
    this.#placedImp[this.#placedCount++] = imp;
  }

  #priceAtBid(columns: AuctionColumns, imp: number): void {
    const winner = columns.impWinner[imp]!;
    if (winner !== nobody) columns.impPriceNanos[imp] = columns.candidateBidNanos[winner]!;
  }

  /**
   * Priced when all places are given, so that nobody whose budget was refused sets a price. The runner-up of an imp is who would
   * have won it without the winner's advertiser: advertisers placed before were out of the running there, those placed after were not.
   */
  #priceAtNext(columns: AuctionColumns, incrementNanos: bigint): void {
    for (let order = 0; order < this.#placedCount; order++) {
      const imp = this.#placedImp[order]!;
      const runnerUp = this.#ranking.best(imp, this.#placed, order + 1);
      const score = runnerUp === nobody ? undefined : this.#ranking.scoreQ90(runnerUp);
      const terms = this.#termsOf(columns, imp, columns.impWinner[imp]!);
      columns.impPriceNanos[imp] = Number(nextPriceNanos(terms, score, incrementNanos));
    }
  }

  #placeAndPriceByExternality(
    columns: AuctionColumns,
    onWin: ((imp: number, candidate: number) => boolean) | undefined,
    onLose: ((imp: number, candidate: number) => void) | undefined,
  ): void {
    const { impCount } = columns;
    const held = this.#leader.fill(nobody, 0, impCount);
    let assignment = new SlotAssignment(this.#offers(columns));
    if (onWin !== undefined) {
      // Each round refuses a candidate for good, so this ends.
      while (!this.#holdAll(columns, assignment, held, onWin, onLose)) {
        assignment = new SlotAssignment(this.#offers(columns));
      }
    }
    for (let imp = 0; imp < impCount; imp++) {
      const winner = assignment.winnerOf(imp);
      if (winner === undefined) continue;
      this.#place(columns, imp, winner.candidate);
      const terms = this.#termsOf(columns, imp, winner.candidate);
      const price = externalityPriceNanos(terms, this.#positionQ30(imp), assignment.externalityOf(imp));
      columns.impPriceNanos[imp] = Number(price);
    }
  }

  /** Asks for the budget of every winner that does not hold it yet; false when one was refused, and the rest must be placed anew. */
  #holdAll(
    columns: AuctionColumns,
    assignment: SlotAssignment,
    held: Int32Array,
    onWin: (imp: number, candidate: number) => boolean,
    onLose: ((imp: number, candidate: number) => void) | undefined,
  ): boolean {
    // First give back, then ask: a line item that moves to another place must not need its budget twice.
    for (let imp = 0; imp < columns.impCount; imp++) {
      const before = held[imp]!;
      if (before === nobody || before === assignment.winnerOf(imp)?.candidate) continue;
      onLose?.(imp, before);
      held[imp] = nobody;
    }
    for (let imp = 0; imp < columns.impCount; imp++) {
      const winner = assignment.winnerOf(imp);
      if (winner === undefined || held[imp] === winner.candidate) continue;
      if (!onWin(imp, winner.candidate)) {
        this.#refuse(columns, winner.candidate);
        return false;
      }
      held[imp] = winner.candidate;
    }
    return true;
  }

  /** Per imp and advertiser the best offer: place × quality × what its value exceeds the floor by, and the tie key below. */
  #offers(columns: AuctionColumns): Offer[][] {
    const best = Array.from({ length: columns.impCount }, () => new Map<number, Offer>());
    for (let candidate = 0; candidate < columns.candidateCount; candidate++) {
      const imp = columns.candidateImp[candidate]!;
      if (!this.#ranking.competes(candidate)) continue;
      const { bidNanos, weightQ60, qualityQ30, floorNanos } = this.#termsOf(columns, imp, candidate);
      const surplus = this.#positionQ30(imp) * qualityQ30 * (bidNanos * weightQ60 - (floorNanos << 60n));
      const value = (surplus << tieBits) + BigInt(this.#ranking.tieKeyOf(candidate)) + 1n;
      const bidder = this.#ranking.advertiserOf(candidate);
      const before = best[imp]!.get(bidder);
      if (before === undefined || value > before.value) best[imp]!.set(bidder, { bidder, candidate, value });
    }
    return best.map((offers) => [...offers.values()]);
  }

  #positionQ30(imp: number): bigint {
    const factors = this.#positionFactorsQ30;
    return BigInt(factors[Math.min(imp, factors.length - 1)]!);
  }

  #termsOf(columns: AuctionColumns, imp: number, candidate: number): WinnerTerms {
    return {
      bidNanos: BigInt(columns.candidateBidNanos[candidate]!),
      weightQ60: this.#ranking.weightQ60(candidate),
      qualityQ30: this.#ranking.qualityQ30(candidate),
      floorNanos: BigInt(Math.max(0, Math.ceil(columns.impFloorNanos[imp]!))),
    };
  }

  #nameReasons(columns: AuctionColumns): void {
    const { candidateReason, candidateImp, impWinner } = columns;
    for (let candidate = 0; candidate < columns.candidateCount; candidate++) {
      if (candidateReason[candidate] !== reasonNumbers.undecided) continue;
      const imp = candidateImp[candidate]!;
      candidateReason[candidate] = this.#reasonOfLoser(imp, candidate, impWinner[imp]!);
    }
  }

  /** An unsold imp with a competitor is always separation: whoever could not pay was refused, whoever could would have won. */
  #reasonOfLoser(imp: number, candidate: number, winner: number): number {
    if (winner === nobody) return reasonNumbers.separation;
    const order = this.#ranking.compareScores(candidate, winner);
    if (order < 0) return reasonNumbers.outbid;
    if (this.#isPlacedElsewhere(this.#ranking.advertiserOf(candidate), imp)) return reasonNumbers.separation;
    return order === 0 ? reasonNumbers.lostTie : reasonNumbers.outbid;
  }

  #isPlacedElsewhere(advertiser: number, imp: number): boolean {
    for (let order = 0; order < this.#placedCount; order++) {
      if (this.#placed[order] === advertiser && this.#placedImp[order] !== imp) return true;
    }
    return false;
  }
}
