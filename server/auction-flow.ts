import { Breaker, breakerDefaults, type BreakerLimits, noPass } from '#embeddings/lookup/breaker.ts';
import { type AuctionDraft, auctionLimits, surfaceNumbers } from '#training-bridge/event-records.ts';
import type { BidRequest } from './bid-request.ts';
import type { CandidateRating } from './candidate-rating.ts';
import type { CandidateStage } from './candidate-stage.ts';
import { fillContextWords } from './context-words.ts';
import type { Flight } from './flight.ts';
import type {
  AuctionPort,
  CandidateScorer,
  RetrievalPort,
  ScoringOutcome,
  ScoringPort,
  ServingModel,
  UsersPort,
} from './pipeline-ports.ts';
import { contextOf } from './imp-context.ts';
import { lossBits, rungAfter } from './rung-after.ts';
import { type Rung, type RungNeed, rungs } from './rungs.ts';
import type { UserEvents } from './user-events.ts';
import { counterIndex, gaugeIndex, type Stage, stageSeries, type Telemetry } from './telemetry.ts';

/** What a user has seen: see auction/frequency-caps.ts. Fills the flight's views and capped line items. */
export type CapsPort = { lookup(flight: Flight, nowMs: number): void };

export type AuctionFlowContext = {
  readonly retrieval: RetrievalPort;
  readonly candidates: CandidateStage;
  readonly caps: CapsPort;
  readonly users: UsersPort;
  /** Told of what a request says that its user searched for. */
  readonly userEvents: Pick<UserEvents, 'queried'>;
  readonly scoring: ScoringPort;
  readonly rating: CandidateRating;
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
  /** What a ranker or rates threw that a request was then answered without; at most one a second. */
  readonly onError: (error: unknown) => void;
};

const { crossDimension, userDimension } = auctionLimits;
/** Losers per auction whose full features are logged, for training on what was not shown. */
const loggedLoserCount = 4;
const toldEveryMs = 1000;
/**
 * When the scoring threads are left alone: after five requests in a row that they let down. Only for a second, since a pause of one
 * thread lets down all that wait for it; while they are gone for good, one request a second waits in vain.
 */
const headBreakerLimits: BreakerLimits = { ...breakerDefaults, openMs: 1000 };

/**
 * The part of an auction that both roles share: who is it, what could be shown, score, calibrate, decide. Runs to the end at
 * once when the user is known in the process and the rung has no head, else when stores and scoring threads have answered. Then `flight.done`
 * is called, exactly once; `run` throws, or later `flight.failed` is called, when a bug of ours prevents it.
 */
export class AuctionFlow {
  readonly #context: AuctionFlowContext;
  readonly #flightOfSlot = new Map<number, Flight>();
  readonly #models = new Map<Flight, ServingModel>();
  readonly #headBreaker = new Breaker(headBreakerLimits);
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(context: AuctionFlowContext) {
    this.#context = context;
  }

  run(flight: Flight, request: BidRequest): void {
    const { caps, users, now } = this.#context;
    const model = this.#context.model();
    this.#models.set(flight, model);
    flight.request = request;
    try {
      const startedMs = now();
      flight.lookupStartedMs = startedMs;
      if (request.user.key !== '') caps.lookup(flight, startedMs);
      if (users.begin(flight, request, model, startedMs, this.#arrived)) this.#goOn(flight, model);
    } catch (error) {
      this.#forget(flight);
      throw error;
    }
  }

  /** The stores have answered, or the time for them is over. */
  readonly #arrived = (flight: Flight): void => {
    try {
      this.#goOn(flight, this.#models.get(flight)!);
    } catch (error) {
      this.#forget(flight);
      flight.failed(flight, error);
    }
  };

  /** From "who is it" to the scoring threads, or to the end on a rung without them. */
  #goOn(flight: Flight, model: ServingModel): void {
    const { telemetry, users, userEvents, now } = this.#context;
    const { draft } = flight;
    const request = flight.request!;
    users.take(flight, request, model);
    const knownMs = now();
    flight.lookupMs = knownMs - flight.lookupStartedMs;
    recordStage(telemetry, draft, 'lookup', flight.lookupMs);
    // After the lookup: a query counts from the user's next request on. A prediction is nobody's visit.
    if (request.place.search !== '' && draft.surface !== surfaceNumbers.predict)
      userEvents.queried(request, flight.userHashHigh, flight.userHashLow, knownMs);
    this.#whatCouldBeShown(flight, request, model, knownMs);
    recordStage(telemetry, draft, 'retrieve', now() - knownMs);
    const isForHead = draft.candidateCount > 0 && rungs[flight.rung]!.scorer === 'head';
    if (isForHead && this.#sendToHead(flight, request, model)) return;
    this.#finish(flight, model);
  }

  /** Something that the request's rung needs is lost: the next rung by `after` in the table answers. */
  #lose(flight: Flight, need: RungNeed): void {
    flight.lost |= lossBits[need];
    flight.rung = rungAfter(flight.rung, flight.lost);
  }

  /** A ranker that throws, or gives no numbers, is lost to this request; so are rates, after which nothing is left that can be. */
  #whatCouldBeShown(flight: Flight, request: BidRequest, model: ServingModel, nowMs: number): void {
    flight.rung = rungAfter(flight.rung, flight.lost);
    fillContextWords(flight.words, request.place, request.device, nowMs);
    if (flight.namedRowCount === 0) this.#context.retrieval.begin(request, nowMs, flight.storedSegments);
    for (;;) {
      const rung = rungs[flight.rung]!;
      if (rung.user === 'unknown' || rung.user === 'vector-only') forgetUser(flight);
      try {
        this.#choose(flight, request, model, rung);
        return;
      } catch (error) {
        const { scorer } = rung;
        if (scorer === 'none') throw error;
        this.#loseScorer(flight, scorer, error);
        flight.dropCandidates();
      }
    }
  }

  #loseScorer(flight: Flight, scorer: Rung['scorer'], error: unknown): void {
    const { telemetry, now, onError } = this.#context;
    telemetry.count(scorer === 'rates' ? counterIndex.rates_failed : counterIndex.ranker_failed);
    const nowMs = now();
    if (Math.abs(nowMs - this.#toldMs) >= toldEveryMs) {
      this.#toldMs = nowMs;
      onError(error);
    }
    this.#lose(flight, scorer === 'rates' ? 'rates' : 'ranker');
  }

  #choose(flight: Flight, request: BidRequest, model: ServingModel, rung: Rung): void {
    const { candidates, telemetry, candidateCountMax, precutMax, hasSecureNotices } = this.#context;
    const { candidateShare, precutShare } = rungs[flight.entryRung]!;
    const perImpMax = Math.floor(flight.draft.candidateCapacity / request.imps.length);
    const wanted = Math.max(1, Math.min(perImpMax, Math.ceil(candidateCountMax * candidateShare)));
    const precut = Math.max(wanted, Math.ceil(precutMax * precutShare));
    for (const imp of request.imps) {
      contextOf(flight, imp.index, model);
      if (request.imps.length > 1) flight.draft.setImpContext(imp.index, flight.contextIds);
      if (imp.index === 0) {
        flight.draft.contextIdCount = model.vocabulary.fieldCount;
        flight.draft.contextIds.set(flight.contextIds);
      }
      const scorer = this.#preparedScorer(flight, model, rung);
      if (flight.namedRowCount > 0) candidates.takeNamed(flight, scorer);
      else if (flight.closedImps[imp.index] === 0) {
        const tellsClicks = rung.scorer !== 'none' && (!imp.isSecure || hasSecureNotices());
        candidates.select(flight, imp.index, precut, wanted, scorer, tellsClicks);
      } else continue;
      const { eligible, throttled, capped } = candidates.counts;
      flight.draft.eligibleCount += eligible;
      flight.draft.throttledCount += throttled;
      flight.draft.cappedCount += capped;
      if (throttled > 0) telemetry.count(counterIndex.throttled, throttled);
      if (capped > 0) telemetry.count(counterIndex.capped, capped);
    }
  }

  /** What ranks the candidates of an imp; undefined: their line items' own expectations do. */
  #preparedScorer(flight: Flight, model: ServingModel, rung: Rung): CandidateScorer | undefined {
    const { scorer } = rung;
    if (scorer === 'none') return undefined;
    if (scorer === 'rates') {
      const { rates } = this.#context.rating;
      rates.begin(flight);
      return rates;
    }
    model.ranker.prepare(flight.contextIds, flight.userIds, onlyVector(flight, rung));
    return model.ranker;
  }

  /** False when the ring has no room, or the scoring threads are left alone for now: what the head said before then answers. */
  #sendToHead(flight: Flight, request: BidRequest, model: ServingModel): boolean {
    const { scoring, telemetry, now } = this.#context;
    const startedMs = now();
    const { draft } = flight;
    const pass = this.#headBreaker.enter(startedMs);
    if (pass === noPass) {
      telemetry.count(counterIndex.scoring_spared);
      this.#lose(flight, 'head');
      return false;
    }
    flight.headPass = pass;
    const rung = rungs[flight.rung]!;
    const userVector = rung.user === 'average-vector' ? model.averageUserVector : flight.userVector;
    for (const imp of request.imps) {
      const count = flight.candidateCounts[imp.index]!;
      if (count === 0) continue;
      const slot = scoring.begin(count);
      if (slot < 0) {
        // Nothing is submitted before every imp has its memory: all that was begun is given back at once.
        telemetry.count(counterIndex.scoring_full);
        this.#giveUpSlots(flight);
        this.#headBreaker.failed(pass, startedMs);
        flight.headPass = noPass;
        this.#lose(flight, 'head');
        return false;
      }
      const first = flight.firstCandidate[imp.index]!;
      contextOf(flight, imp.index, model);
      if (request.imps.length > 1) model.ranker.prepare(flight.contextIds, flight.userIds, onlyVector(flight, rung));
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
    if (flight.headPass !== noPass) this.#headBreaker.forget(flight.headPass);
    flight.headPass = noPass;
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

  /** The scoring threads are done with a slot. One late or failed imp costs its whole request the head. */
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
      this.#lose(flight, 'head');
      flight.isLetDown = true;
      flight.queueWaitMs = now() - flight.submittedMs;
    }
    if (--flight.pendingSlots > 0) return;
    this.#judgeHead(flight);
    flight.headPass = noPass;
    this.#finish(flight, this.#models.get(flight)!);
  }

  /** Tells the breaker how a flight's scores went. One that left them less time than is usual says nothing about the threads. */
  #judgeHead({ headPass, isLetDown, deadlineMs, submittedMs }: Flight): void {
    const nowMs = this.#context.now();
    if (!isLetDown) this.#headBreaker.succeeded(headPass, nowMs);
    else if (deadlineMs < submittedMs + this.#context.mlBudgetMs) this.#headBreaker.forget(headPass);
    else this.#headBreaker.failed(headPass, nowMs);
  }

  /** Calibrate, then expected value, floors, budgets and price. */
  #finish(flight: Flight, model: ServingModel): void {
    const { auction, scoring, telemetry, now } = this.#context;
    this.#models.delete(flight);
    const startedMs = now();
    const { draft } = flight;
    const request = flight.request!;
    this.#rate(flight, request, model);
    const rung = rungs[flight.rung]!;
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

  /** Gives every candidate its probabilities by the flight's rung, or by the next one that can. */
  #rate(flight: Flight, request: BidRequest, model: ServingModel): void {
    const { rating } = this.#context;
    for (;;) {
      const { scorer } = rungs[flight.rung]!;
      try {
        if (scorer === 'cache' && rating.recall(flight, model) === 0) this.#lose(flight, 'cache');
        for (const imp of request.imps) rating.rate(flight, imp.index, model, rungs[flight.rung]!);
        return;
      } catch (error) {
        if (scorer === 'head' || scorer === 'none') throw error;
        this.#loseScorer(flight, scorer, error);
      }
    }
  }
}

/** The user's own vector where it is all that a rung knows of them: the light ranker then reads it. */
function onlyVector({ userVector }: Flight, { user }: Rung): Float32Array | undefined {
  return user === 'vector-only' ? userVector : undefined;
}

/** Whoever is answered as somebody unknown is somebody unknown to the record too; of whom the vector is known, the ids are not. */
function forgetUser({ userIds, draft }: Flight): void {
  userIds.fill(0);
  draft.userIds.fill(0);
}

/** One duration for the histograms and, in microseconds, for this auction's record. */
export function recordStage(telemetry: Telemetry, draft: AuctionDraft, stage: Stage, durationMs: number): void {
  const series = stageSeries[stage];
  telemetry.record(series, durationMs);
  draft.stageUs[series] = Math.max(0, Math.round(durationMs * 1000));
}
