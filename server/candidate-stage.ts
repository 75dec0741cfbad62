import { type Flight, flightCandidateMax } from './flight.ts';
import type { AuctionPort, RankerPort, RetrievalPort } from './pipeline-ports.ts';
import { quickSigmoid } from './quick-sigmoid.ts';
import { TopCandidates } from './top-candidates.ts';

/** The columns of the catalog that ranking reads: see auction/catalog.ts. */
export type CandidateColumns = {
  readonly adLineItem: Uint32Array;
  readonly liPriceType: Uint8Array;
  readonly liBidNanos: Float64Array;
  readonly liQualityQ30: Uint32Array;
  readonly liPriorClickQ30: Uint32Array;
  readonly liPriorConversionQ30: Uint32Array;
};

export type CandidateCounts = { eligible: number; throttled: number; capped: number };

const q30One = 2 ** 30;

/**
 * "What could be shown" for one imp: targeting index → pacing and caps → light ranker → the best by expected value. The
 * buffers belong to the stage, one per serving thread; nothing is allocated per candidate.
 */
export class CandidateStage {
  readonly #columns: CandidateColumns;
  readonly #retrieval: RetrievalPort;
  readonly #auction: AuctionPort;
  readonly #eligible: Uint32Array;
  readonly #logits: Float32Array;
  readonly #places: Uint32Array;
  /** Places of those that pacing and caps let through: picking looks at them alone. */
  readonly #survivors: Uint32Array;
  readonly #top: TopCandidates;
  /** Of the last call. */
  readonly counts: CandidateCounts = { eligible: 0, throttled: 0, capped: 0 };

  constructor(columns: CandidateColumns, retrieval: RetrievalPort, auction: AuctionPort, precutMax: number) {
    this.#columns = columns;
    this.#retrieval = retrieval;
    this.#auction = auction;
    const countMax = Math.max(precutMax, flightCandidateMax);
    this.#eligible = new Uint32Array(countMax);
    this.#logits = new Float32Array(countMax);
    this.#places = new Uint32Array(countMax);
    this.#survivors = new Uint32Array(countMax);
    this.#top = new TopCandidates(countMax);
  }

  /**
   * Appends the best `wanted` candidates of an imp to the flight's draft and returns how many. Without a ranker (rung `prior`)
   * the line items' own priors rank. Where clicks cannot be told (`tellsClicks` false), ads that are paid per click or conversion
   * would be shown for nothing and are left out.
   */
  select(
    flight: Flight,
    impIndex: number,
    precut: number,
    wanted: number,
    ranker: RankerPort | undefined,
    tellsClicks = true,
  ): number {
    const { draft } = flight;
    const { adLineItem, liPriceType, liBidNanos, liPriorClickQ30, liPriorConversionQ30, liQualityQ30 } = this.#columns;
    const eligible = this.#eligible;
    const logits = this.#logits;
    const keys = this.#top.keys;
    const count = this.#retrieval.select(impIndex, precut, eligible);
    if (ranker !== undefined) ranker.score(eligible, count, logits);
    const survivors = this.#survivors;
    const passing = this.#auction.passingPacing(eligible, count, draft.auctionIdLow, survivors);
    let kept = 0;
    let capped = 0;
    for (let index = 0; index < passing; index++) {
      const place = survivors[index]!;
      const lineItem = adLineItem[eligible[place]!]!;
      if (flight.cappedCount > 0 && isCapped(flight, lineItem)) {
        capped++;
        continue;
      }
      const priceType = liPriceType[lineItem]!;
      if (priceType !== 0 && !tellsClicks) continue;
      let value = liBidNanos[lineItem]! * liQualityQ30[lineItem]!;
      if (priceType !== 0) {
        value *= ranker === undefined ? liPriorClickQ30[lineItem]! / q30One : quickSigmoid(logits[place]!);
        if (priceType === 2) value *= liPriorConversionQ30[lineItem]! / q30One;
      }
      keys[kept] = value;
      survivors[kept++] = place;
    }
    this.counts.eligible = count;
    this.counts.throttled = count - passing;
    this.counts.capped = capped;
    const taken = this.#top.pick(kept, Math.min(wanted, draft.candidateCapacity - draft.candidateCount), this.#places);
    for (let index = 0; index < taken; index++) this.#places[index] = survivors[this.#places[index]!]!;
    this.#append(flight, impIndex, taken);
    return taken;
  }

  /** Takes the ads that the flight names, all of them and in their order, as the candidates of its only imp. */
  takeNamed(flight: Flight, ranker: RankerPort | undefined): void {
    const count = flight.namedRowCount;
    this.#eligible.set(flight.namedRows.subarray(0, count));
    if (ranker !== undefined) ranker.score(this.#eligible, count, this.#logits);
    for (let place = 0; place < count; place++) this.#places[place] = place;
    this.counts.eligible = count;
    this.counts.throttled = 0;
    this.counts.capped = 0;
    this.#append(flight, 0, count);
  }

  #append(flight: Flight, impIndex: number, taken: number): void {
    const { draft } = flight;
    const { adLineItem, liPriceType, liBidNanos, liQualityQ30 } = this.#columns;
    const first = draft.candidateCount;
    for (let index = 0; index < taken; index++) {
      const place = this.#places[index]!;
      const row = this.#eligible[place]!;
      const lineItem = adLineItem[row]!;
      const at = first + index;
      draft.candidateImp[at] = impIndex;
      draft.candidateAdRow[at] = row;
      draft.candidateBidNanos[at] = liBidNanos[lineItem]!;
      draft.candidatePriceType[at] = liPriceType[lineItem]!;
      draft.candidateQualityQ30[at] = liQualityQ30[lineItem]!;
      draft.candidateVerdict[at] = 0;
      flight.lightLogits[at] = this.#logits[place]!;
    }
    draft.candidateCount = first + taken;
    flight.firstCandidate[impIndex] = first;
    flight.candidateCounts[impIndex] = taken;
  }
}

function isCapped(flight: Flight, lineItem: number): boolean {
  for (let index = 0; index < flight.cappedCount; index++) if (flight.cappedLineItems[index] === lineItem) return true;
  return false;
}
