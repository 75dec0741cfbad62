import { type Flight, flightCandidateMax } from './flight.ts';
import type { AuctionPort, CandidateScorer, RetrievalPort } from './pipeline-ports.ts';
import { LineItemWorth, type WorthColumns, worthPlaces } from './line-item-worth.ts';
import { quickSigmoid } from './quick-sigmoid.ts';
import { TopCandidates } from './top-candidates.ts';

/** The columns of the catalog that ranking reads: see auction/catalog.ts. */
export type CandidateColumns = WorthColumns & { readonly adLineItem: Uint32Array };

export type CandidateCounts = { eligible: number; throttled: number; capped: number };

/**
 * "What could be shown" for one imp: targeting index → pacing and caps → light ranker → the best by expected value. The
 * buffers belong to the stage, one per serving thread; nothing is allocated per candidate.
 */
export class CandidateStage {
  readonly #columns: CandidateColumns;
  readonly #worth: LineItemWorth;
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
    this.#worth = new LineItemWorth(columns);
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
   * Appends the best `wanted` candidates of an imp to the flight's draft and returns how many. Without a scorer the line items' own
   * priors rank. Where clicks cannot be told (`tellsClicks` false), ads that are paid per click or conversion would be shown for
   * nothing and are left out. Throws what the scorer throws, and when it gives anything but numbers.
   */
  select(
    flight: Flight,
    impIndex: number,
    precut: number,
    wanted: number,
    scorer: CandidateScorer | undefined,
    tellsClicks = true,
  ): number {
    const { draft } = flight;
    const eligible = this.#eligible;
    const survivors = this.#survivors;
    const count = this.#retrieval.select(impIndex, precut, eligible);
    if (scorer !== undefined) scorer.score(eligible, count, this.#logits);
    else this.#scoreByPriors(count);
    const passing = this.#auction.passingPacing(eligible, count, draft.auctionIdLow, survivors);
    const uncapped = flight.cappedCount === 0 ? passing : this.#withoutCapped(flight, passing);
    this.counts.eligible = count;
    this.counts.throttled = count - passing;
    this.counts.capped = passing - uncapped;
    this.#rate(uncapped, tellsClicks);
    const wantedHere = Math.min(wanted, draft.candidateCapacity - draft.candidateCount);
    const taken = this.#top.pick(uncapped, wantedHere, this.#places);
    for (let index = 0; index < taken; index++) this.#places[index] = survivors[this.#places[index]!]!;
    this.#append(flight, impIndex, taken);
    return taken;
  }

  /** Without a model: what the line items themselves expect. */
  #scoreByPriors(count: number): void {
    const { adLineItem } = this.#columns;
    const numbers = this.#worth.numbers();
    const { width, priorLogit } = worthPlaces;
    for (let place = 0; place < count; place++) {
      this.#logits[place] = numbers[adLineItem[this.#eligible[place]!]! * width + priorLogit]!;
    }
  }

  /** Takes out of the survivors those that this user has seen often enough; returns how many are left. */
  #withoutCapped(flight: Flight, passing: number): number {
    const { adLineItem } = this.#columns;
    const survivors = this.#survivors;
    let kept = 0;
    for (let index = 0; index < passing; index++) {
      const place = survivors[index]!;
      if (!isCapped(flight, adLineItem[this.#eligible[place]!]!)) survivors[kept++] = place;
    }
    return kept;
  }

  /** Expected values of the survivors, as keys to pick by; 0 = never. Free of branches on the price type, which nobody can foresee. */
  #rate(count: number, tellsClicks: boolean): void {
    const { adLineItem } = this.#columns;
    const eligible = this.#eligible;
    const survivors = this.#survivors;
    const logits = this.#logits;
    const keys = this.#top.keys;
    const numbers = this.#worth.numbers();
    const { width, worth, perClick } = worthPlaces;
    const clickShare = tellsClicks ? 1 : 0;
    let sum = 0;
    for (let index = 0; index < count; index++) {
      const place = survivors[index]!;
      const at = adLineItem[eligible[place]!]! * width;
      const isPerClick = numbers[at + perClick]!;
      const logit = logits[place]!;
      sum += logit;
      keys[index] = numbers[at + worth]! * (1 - isPerClick + isPerClick * clickShare * quickSigmoid(logit));
    }
    mustBeNumbers(sum);
  }

  /** Takes the ads that the flight names, all of them and in their order, as the candidates of its only imp. */
  takeNamed(flight: Flight, scorer: CandidateScorer | undefined): void {
    const count = flight.namedRowCount;
    this.#eligible.set(flight.namedRows.subarray(0, count));
    if (scorer !== undefined) scorer.score(this.#eligible, count, this.#logits);
    else this.#scoreByPriors(count);
    let sum = 0;
    for (let place = 0; place < count; place++) sum += this.#logits[place]!;
    mustBeNumbers(sum);
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

/** One number that is none makes the sum of all such a one. */
function mustBeNumbers(sum: number): void {
  if (!Number.isFinite(sum)) throw new RangeError('A candidate was given a score that is no finite number.');
}

function isCapped(flight: Flight, lineItem: number): boolean {
  for (let index = 0; index < flight.cappedCount; index++) if (flight.cappedLineItems[index] === lineItem) return true;
  return false;
}
