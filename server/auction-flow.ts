import { type AuctionDraft, auctionLimits, surfaceNumbers } from '#training-bridge/event-records.ts';
import type { BidRequest } from './bid-request.ts';
import type { CandidateColumns, CandidateStage } from './candidate-stage.ts';
import { fillContextWords } from './context-words.ts';
import type { Flight } from './flight.ts';
import type { AuctionPort, RetrievalPort, ScoringOutcome, ScoringPort, ServingModel } from './pipeline-ports.ts';
import { rungNames, rungs } from './rungs.ts';
import { counterIndex, gaugeIndex, type Stage, stageSeries, type Telemetry } from './telemetry.ts';

/** What a user has seen: see auction/frequency-caps.ts. Fills the flight's views and capped line items. */
export type CapsPort = { lookup(flight: Flight, nowMs: number): void };

export type AuctionFlowContext = {
  readonly columns: CandidateColumns;
  readonly retrieval: RetrievalPort;
  readonly candidates: CandidateStage;
  readonly caps: CapsPort;
  readonly scoring: ScoringPort;
  readonly auction: AuctionPort;
  readonly telemetry: Telemetry;
  readonly now: () => number;
  /** The model that new requests take; each request takes it once. */
  readonly model: () => ServingModel;
  readonly candidateCountMax: number;
  readonly precutMax: number;
  readonly mlBudgetMs: number;
  /** Whether our notice addresses are https: only then can markup of a secure impression tell of a click. */
  readonly hasSecureNotices: () => boolean;
};

const lightRung = rungNames.indexOf('light-ranker');
const { crossDimension, userDimension } = auctionLimits;
const cpa = 2;
/** Losers per auction whose full features are logged, for training on what was not shown. */
const loggedLoserCount = 4;

/**
 * The part of an auction that both roles share: who is it, what could be shown, score, calibrate, decide. Runs to the end at
 * once on the rungs without a head, else when the scoring threads have answered. Then `flight.done`
 * is called, exactly once; `run` throws, or later `flight.failed` is called, when a bug of ours prevents it.
 */
export class AuctionFlow {
  readonly #context: AuctionFlowContext;
  readonly #flightOfSlot = new Map<number, Flight>();
  readonly #models = new Map<Flight, ServingModel>();

  constructor(context: AuctionFlowContext) {
    this.#context = context;
  }

  run(flight: Flight, request: BidRequest): void {
    const { telemetry, now } = this.#context;
    const model = this.#context.model();
    this.#models.set(flight, model);
    flight.request = request;
    try {
      const startedMs = now();
      this.#whoIsIt(flight, request, model, startedMs);
      const knownMs = now();
      recordStage(telemetry, flight.draft, 'lookup', knownMs - startedMs);
      this.#whatCouldBeShown(flight, request, model, knownMs);
      recordStage(telemetry, flight.draft, 'retrieve', now() - knownMs);
      const isForHead = flight.draft.candidateCount > 0 && rungs[flight.rung]!.scorer === 'head';
      if (isForHead && this.#sendToHead(flight, request, model)) return;
      this.#finish(flight, model);
    } catch (error) {
      this.#forget(flight);
      throw error;
    }
  }

  #whoIsIt(flight: Flight, request: BidRequest, model: ServingModel, nowMs: number): void {
    const { caps } = this.#context;
    const { users } = model;
    const { draft } = flight;
    const { key } = request.user;
    flight.userRow = key === '' ? 0 : users.rowOf(key);
    const ids = users.idsOf(flight.userRow);
    flight.userIds.set(ids);
    draft.userIdCount = key === '' ? 0 : ids.length;
    draft.userIds.set(ids);
    draft.userKey = key;
    draft.userRow = flight.userRow === 0 ? 0xffff_ffff : flight.userRow;
    if (key !== '') caps.lookup(flight, nowMs);
  }

  #whatCouldBeShown(flight: Flight, request: BidRequest, model: ServingModel, nowMs: number): void {
    const { retrieval, candidates, telemetry } = this.#context;
    const rung = rungs[flight.rung]!;
    const perImpMax = Math.floor(flight.draft.candidateCapacity / request.imps.length);
    const wanted = Math.max(1, Math.min(perImpMax, Math.ceil(this.#context.candidateCountMax * rung.candidateShare)));
    const precut = Math.max(wanted, Math.ceil(this.#context.precutMax * rung.precutShare));
    fillContextWords(flight.words, request.place, request.device, nowMs);
    const isNamed = flight.namedRowCount > 0;
    if (!isNamed) retrieval.begin(request, nowMs);
    for (const imp of request.imps) {
      this.#contextOf(flight, request, imp.index, model);
      if (request.imps.length > 1) flight.draft.setImpContext(imp.index, flight.contextIds);
      if (imp.index === 0) {
        flight.draft.contextIdCount = model.vocabulary.fieldCount;
        flight.draft.contextIds.set(flight.contextIds);
      }
      const usesRanker = rung.scorer !== 'prior';
      if (usesRanker) model.ranker.prepare(flight.contextIds, flight.userIds);
      const ranker = usesRanker ? model.ranker : undefined;
      if (isNamed) candidates.takeNamed(flight, ranker);
      else if (flight.closedImps[imp.index] === 0) {
        const tellsClicks = !imp.isSecure || this.#context.hasSecureNotices();
        candidates.select(flight, imp.index, precut, wanted, ranker, tellsClicks);
      } else continue;
      const { eligible, throttled, capped } = candidates.counts;
      flight.draft.eligibleCount += eligible;
      flight.draft.throttledCount += throttled;
      flight.draft.cappedCount += capped;
      if (throttled > 0) telemetry.count(counterIndex.throttled, throttled);
      if (capped > 0) telemetry.count(counterIndex.capped, capped);
    }
  }

  /** The imp's size is part of the context, so ids and request vector are made per imp. */
  #contextOf(flight: Flight, request: BidRequest, impIndex: number, model: ServingModel): void {
    flight.words.size = sizeWordOf(request, impIndex);
    model.vocabulary.idsInto(flight.words, flight.contextIds);
  }

  /** False when the ring has no room: the light ranker then answers. */
  #sendToHead(flight: Flight, request: BidRequest, model: ServingModel): boolean {
    const { scoring, telemetry, now } = this.#context;
    const startedMs = now();
    const { draft } = flight;
    const userVector = model.users.vectorOf(flight.userRow);
    for (const imp of request.imps) {
      const count = flight.candidateCounts[imp.index]!;
      if (count === 0) continue;
      const slot = scoring.begin(count);
      if (slot < 0) {
        // Nothing is submitted before every imp has its memory: all that was begun is given back at once.
        telemetry.count(counterIndex.scoring_full);
        this.#giveUpSlots(flight);
        flight.rung = lightRung;
        return false;
      }
      const first = flight.firstCandidate[imp.index]!;
      this.#contextOf(flight, request, imp.index, model);
      if (request.imps.length > 1) model.ranker.prepare(flight.contextIds, flight.userIds);
      const vector = scoring.userOf(slot);
      model.requestVectorInto(vector, userVector, flight.contextIds);
      const adIds = scoring.adIdsOf(slot);
      for (let index = 0; index < count; index++) adIds[index] = draft.candidateAdRow[first + index]!;
      const cross = scoring.crossOf(slot);
      model.crossInto(cross, draft.candidateAdRow, first, count, flight);
      // With one imp the features of winner and losers are read from the ring itself, before it is given back.
      if (request.imps.length > 1) flight.cross.set(cross.subarray(0, count * crossDimension), first * crossDimension);
      // One is enough: the others' differ by context rows that the record names.
      if (draft.userVectorCount === 0) {
        draft.userVectorCount = userDimension;
        draft.userVectorImp = imp.index;
        draft.userVector.set(vector.subarray(0, userDimension));
      }
      flight.slots[imp.index] = slot;
      flight.pendingSlots++;
      this.#flightOfSlot.set(slot, flight);
    }
    flight.submittedMs = now();
    recordStage(telemetry, draft, 'features', flight.submittedMs - startedMs);
    const mlDeadlineMs = Math.min(flight.deadlineMs, flight.submittedMs + this.#context.mlBudgetMs);
    for (const imp of request.imps) {
      if (flight.slots[imp.index]! >= 0) scoring.submit(flight.slots[imp.index]!, model.slot, mlDeadlineMs);
    }
    return flight.pendingSlots > 0;
  }

  /** Of a flight that ends by an error: nothing of it stays behind here. */
  #forget(flight: Flight): void {
    this.#models.delete(flight);
    this.#giveUpSlots(flight);
  }

  /** Scores that are still under way are then awaited by nobody. */
  #giveUpSlots(flight: Flight): void {
    for (const [impIndex, slot] of flight.slots.entries()) {
      if (slot < 0) continue;
      this.#flightOfSlot.delete(slot);
      this.#context.scoring.release(slot);
      flight.slots[impIndex] = -1;
    }
    flight.pendingSlots = 0;
  }

  /** The scoring threads are done with a slot. One late or failed imp moves its whole request to the light ranker. */
  finished(slot: number, outcome: ScoringOutcome): void {
    const flight = this.#flightOfSlot.get(slot);
    if (flight === undefined) return;
    this.#flightOfSlot.delete(slot);
    try {
      this.#take(flight, slot, outcome);
    } catch (error) {
      // Nobody stands above this call: one request that cannot be finished must not cost the thread.
      this.#forget(flight);
      flight.failed(flight, error);
    }
  }

  #take(flight: Flight, slot: number, outcome: ScoringOutcome): void {
    const { telemetry, scoring, now } = this.#context;
    if (outcome === 'SCORED') {
      const claimedMs = scoring.claimedMsOf(slot);
      const nowMs = now();
      flight.queueWaitMs = claimedMs - flight.submittedMs;
      recordStage(telemetry, flight.draft, 'queue', flight.queueWaitMs);
      recordStage(telemetry, flight.draft, 'score', nowMs - claimedMs);
      telemetry.gauge(gaugeIndex.scoring_queue_wait_ms, flight.queueWaitMs);
    } else {
      telemetry.count(outcome === 'FAILED' ? counterIndex.scoring_failed : counterIndex.scoring_late);
      flight.rung = lightRung;
      flight.queueWaitMs = now() - flight.submittedMs;
    }
    if (--flight.pendingSlots === 0) this.#finish(flight, this.#models.get(flight)!);
  }

  /** Calibrate, then expected value, floors, budgets and price. */
  #finish(flight: Flight, model: ServingModel): void {
    const { auction, scoring, telemetry, now } = this.#context;
    this.#models.delete(flight);
    const startedMs = now();
    const { draft } = flight;
    const request = flight.request!;
    const rung = rungs[flight.rung]!;
    for (const imp of request.imps) {
      const slot = flight.slots[imp.index]!;
      const first = flight.firstCandidate[imp.index]!;
      const count = flight.candidateCounts[imp.index]!;
      const logits = rung.scorer === 'head' && slot >= 0 ? scoring.logitsOf(slot) : undefined;
      if (rung.scorer === 'light') {
        // Other requests may have used the ranker since this one's candidates were chosen.
        this.#contextOf(flight, request, imp.index, model);
        model.ranker.prepare(flight.contextIds, flight.userIds);
      }
      this.#calibrate(flight, model, first, count, logits);
    }
    telemetry.count(counterIndex.predictions, draft.candidateCount);
    draft.rung = flight.rung;
    draft.modelId = model.modelId;
    draft.calibratorId = model.calibratorId;
    if (draft.candidateCount > 0 && draft.surface !== surfaceNumbers.predict)
      auction.decide(draft, flight.userHashHigh, flight.userHashLow);
    else draft.impWinner.fill(-1);
    const onlySlot = request.imps.length === 1 ? flight.slots[0]! : -1;
    if (rung.scorer === 'head' && draft.candidateCount > 0) {
      draft.keepFeatures(onlySlot >= 0 ? scoring.crossOf(onlySlot) : flight.cross, 0, loggedLoserCount);
    }
    for (const [impIndex, slot] of flight.slots.entries()) {
      if (slot < 0) continue;
      scoring.release(slot);
      flight.slots[impIndex] = -1;
    }
    recordStage(telemetry, draft, 'auction', now() - startedMs);
    flight.done(flight);
  }

  #calibrate(
    flight: Flight,
    model: ServingModel,
    first: number,
    count: number,
    logits: Float32Array | undefined,
  ): void {
    const { draft } = flight;
    const { calibrator, scorer } = rungs[flight.rung]!;
    const end = first + count;
    if (scorer === 'prior') {
      for (let at = first; at < end; at++) this.#prior(flight, at);
      return;
    }
    const { candidateClickLogit, candidateClickQ30, candidateConversionQ30, candidatePriceType } = draft;
    for (let at = first; at < end; at++)
      candidateClickLogit[at] = logits === undefined ? flight.lightLogits[at]! : logits[(at - first) * 2]!;
    model.clicksQ30Into(calibrator, candidateClickLogit, first, count, candidateClickQ30);
    // Only a price per conversion asks for conversions.
    const asksForBoth = draft.surface === surfaceNumbers.predict;
    for (let at = first; at < end; at++) {
      let conversionQ30 = 0;
      if (asksForBoth || candidatePriceType[at] === cpa) {
        const conversion =
          logits === undefined ? model.lightConversionLogit(draft.candidateAdRow[at]!) : logits[(at - first) * 2 + 1]!;
        conversionQ30 = model.conversionQ30(calibrator, conversion);
      }
      candidateConversionQ30[at] = conversionQ30;
    }
  }

  /** Without any model: what the line item itself expects. */
  #prior(flight: Flight, at: number): void {
    const { adLineItem, liPriorClickQ30, liPriorConversionQ30 } = this.#context.columns;
    const { draft } = flight;
    const lineItem = adLineItem[draft.candidateAdRow[at]!]!;
    draft.candidateClickLogit[at] = 0;
    draft.candidateClickQ30[at] = liPriorClickQ30[lineItem]!;
    draft.candidateConversionQ30[at] = liPriorConversionQ30[lineItem]!;
  }
}

/** One duration for the histograms and, in microseconds, for this auction's record. */
export function recordStage(telemetry: Telemetry, draft: AuctionDraft, stage: Stage, durationMs: number): void {
  const series = stageSeries[stage];
  telemetry.record(series, durationMs);
  draft.stageUs[series] = Math.max(0, Math.round(durationMs * 1000));
}

/** The size word of an imp as the model knows it: its first banner size, else its kind. */
function sizeWordOf(request: BidRequest, impIndex: number): string {
  const imp = request.imps[impIndex]!;
  const size = imp.banner?.sizes[0];
  if (size !== undefined) return sizeWord(size.width, size.height);
  return imp.video !== undefined ? 'video' : imp.native !== undefined ? 'native' : '';
}

const sizeWords = new Map<number, string>();
/** Bounded: a caller that sends every size there is does not fill the memory. */
const sizeWordCountMax = 4096;

export function sizeWord(width: number, height: number): string {
  const key = width * 65_536 + height;
  let word = sizeWords.get(key);
  if (word === undefined) {
    word = `banner:${width}x${height}`;
    if (sizeWords.size < sizeWordCountMax) sizeWords.set(key, word);
  }
  return word;
}
