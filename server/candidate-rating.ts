import type { CalibratedRung } from '#inference/calibration.ts';
import { type AuctionDraft, surfaceNumbers } from '#training-bridge/event-records.ts';
import type { CandidateColumns } from './candidate-stage.ts';
import type { Flight } from './flight.ts';
import { contextOf } from './imp-context.ts';
import type { PredictionsPort, RatesPort, ScoringPort, ServingModel } from './pipeline-ports.ts';
import type { Rung } from './rungs.ts';

export type CandidateRatingContext = {
  readonly columns: CandidateColumns;
  readonly scoring: Pick<ScoringPort, 'logitsOf'>;
  readonly predictions: PredictionsPort;
  readonly rates: RatesPort;
};

const cpm = 0;
const cpa = 2;
/** A click that nobody knows how likely it is: the least that there is, since 0 is not sold. */
const leastQ30 = 1;

/**
 * From the scores of a rung to calibrated probabilities, for the candidates that a flight holds. From here on there is no floating
 * point. One per serving thread.
 */
export class CandidateRating {
  readonly rates: RatesPort;
  readonly #context: CandidateRatingContext;

  constructor(context: CandidateRatingContext) {
    this.#context = context;
    this.rates = context.rates;
  }

  /** Of people like this one, what the head said lately: into the draft's logits, NaN where it said nothing. Returns for how many it did. */
  recall({ draft, userIds, lightLogits }: Flight, model: ServingModel): number {
    const { candidateAdRow, candidateClickLogit, candidateCount } = draft;
    const { predictions } = this.#context;
    return predictions.read(model, userIds, candidateAdRow, 0, candidateCount, lightLogits, candidateClickLogit);
  }

  /** Fills logits and probabilities of an imp's candidates. For the scorer 'cache', `recall` comes first. */
  rate(flight: Flight, imp: number, model: ServingModel, { scorer, calibrator, user }: Rung): void {
    const first = flight.firstCandidate[imp]!;
    const count = flight.candidateCounts[imp]!;
    const { draft } = flight;
    if (scorer === 'none') {
      for (let at = first; at < first + count; at++) this.#expectNothing(draft, at);
    } else if (scorer === 'rates') this.#rateByRates(flight, model, calibrator!, first, count);
    else if (scorer === 'head') {
      const slot = flight.slots[imp]!;
      if (slot >= 0) this.#rateByHead(flight, model, calibrator!, first, count, this.#context.scoring.logitsOf(slot));
    } else {
      // Other requests may have used the ranker since this one's candidates were chosen.
      contextOf(flight, imp, model);
      model.ranker.prepare(flight.contextIds, flight.userIds);
      if (scorer === 'cache') this.#rateByCache(flight, model, calibrator!, first, count);
      else {
        const { candidateAdRow, candidateClickLogit, candidateClickQ30 } = draft;
        // They may have been chosen by a vector that this rung does not know.
        if (user === 'unknown')
          model.ranker.score(candidateAdRow.subarray(first, first + count), count, flight.lightLogits.subarray(first));
        for (let at = first; at < first + count; at++) candidateClickLogit[at] = flight.lightLogits[at]!;
        model.clicksQ30Into(calibrator!, candidateClickLogit, first, count, candidateClickQ30);
        rateConversions(draft, model, calibrator!, first, count, undefined);
      }
    }
  }

  #rateByHead(
    flight: Flight,
    model: ServingModel,
    calibrator: CalibratedRung,
    first: number,
    count: number,
    logits: Float32Array,
  ): void {
    const { draft, userIds, lightLogits } = flight;
    const { candidateClickLogit, candidateClickQ30, candidateAdRow } = draft;
    for (let index = 0; index < count; index++) candidateClickLogit[first + index] = logits[index * 2]!;
    model.clicksQ30Into(calibrator, candidateClickLogit, first, count, candidateClickQ30);
    rateConversions(draft, model, calibrator, first, count, logits);
    // What was said of an average or unknown user is not worth keeping.
    if (flight.rung === flight.entryRung)
      this.#context.predictions.keep(model, userIds, candidateAdRow, first, count, lightLogits, logits);
  }

  /** Kept predictions and, where there is none, the light ranker's: each by the calibrator of its own kind. */
  #rateByCache(flight: Flight, model: ServingModel, calibrator: CalibratedRung, first: number, count: number): void {
    const { candidateClickLogit, candidateClickQ30 } = flight.draft;
    for (let at = first; at < first + count; at++) {
      const isKept = !Number.isNaN(candidateClickLogit[at]!);
      if (!isKept) candidateClickLogit[at] = flight.lightLogits[at]!;
      candidateClickQ30[at] = model.clickQ30(isKept ? calibrator : 'light-ranker', candidateClickLogit[at]!);
    }
    // Conversions are not kept.
    rateConversions(flight.draft, model, 'light-ranker', first, count, undefined);
  }

  #rateByRates(flight: Flight, model: ServingModel, calibrator: CalibratedRung, first: number, count: number): void {
    const { candidateAdRow, candidateClickLogit, candidateClickQ30, candidateConversionQ30 } = flight.draft;
    this.rates.begin(flight);
    this.rates.scorePairs(candidateAdRow, first, count, candidateClickLogit);
    model.clicksQ30Into(calibrator, candidateClickLogit, first, count, candidateClickQ30);
    for (let at = first; at < first + count; at++)
      candidateConversionQ30[at] = asksForConversions(flight.draft, at)
        ? this.rates.conversionQ30(candidateAdRow[at]!)
        : 0;
  }

  /** Bids per impression alone: nothing is known of clicks, so whoever pays for them is not sold. A prediction is the line item's own. */
  #expectNothing(draft: AuctionDraft, at: number): void {
    const { adLineItem, liPriorClickQ30 } = this.#context.columns;
    const row = draft.candidateAdRow[at]!;
    const unasked = draft.candidatePriceType[at] === cpm ? leastQ30 : 0;
    draft.candidateClickLogit[at] = 0;
    draft.candidateClickQ30[at] =
      draft.surface === surfaceNumbers.predict ? liPriorClickQ30[adLineItem[row]!]! : unasked;
    draft.candidateConversionQ30[at] = this.#priorConversionQ30(row);
  }

  #priorConversionQ30(row: number): number {
    const { adLineItem, liPriorConversionQ30 } = this.#context.columns;
    return liPriorConversionQ30[adLineItem[row]!]!;
  }
}

/** Only a price per conversion asks for conversions, and whoever wants predictions alone. */
function asksForConversions({ surface, candidatePriceType }: AuctionDraft, at: number): boolean {
  return surface === surfaceNumbers.predict || candidatePriceType[at] === cpa;
}

/** `logits`: the head's; undefined: the prepared light ranker's. */
function rateConversions(
  draft: AuctionDraft,
  model: ServingModel,
  calibrator: CalibratedRung,
  first: number,
  count: number,
  logits: Float32Array | undefined,
): void {
  const { candidateConversionQ30, candidateAdRow } = draft;
  for (let index = 0; index < count; index++) {
    const at = first + index;
    let conversionQ30 = 0;
    if (asksForConversions(draft, at)) {
      const conversion =
        logits === undefined ? model.lightConversionLogit(candidateAdRow[at]!) : logits[index * 2 + 1]!;
      conversionQ30 = model.conversionQ30(calibrator, conversion);
    }
    candidateConversionQ30[at] = conversionQ30;
  }
}
