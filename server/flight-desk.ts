import { type AuctionDraft, surfaceNumbers } from '#training-bridge/event-records.ts';
import type { AdmissionControl } from './admission.ts';
import { recordStage } from './auction-flow.ts';
import { expectedOf, noReservation } from './auctioneer.ts';
import type { AuctionIds } from './auction-ids.ts';
import type { BidRequest } from './bid-request.ts';
import type { Caller } from './callers.ts';
import { answerDeadlineMs } from './deadline.ts';
import type { Flight } from './flight.ts';
import type { FlightPool } from './flight-pool.ts';
import type { HttpRequest, Respond } from './http-listener.ts';
import type { AuctionPort, ScoringPort } from './pipeline-ports.ts';
import { placeName } from './retrieval.ts';
import { rungNumber, rungs } from './rungs.ts';
import { counterIndex, gaugeIndex, rungSeries, stages, stageSeries, type Telemetry } from './telemetry.ts';
import type { PlaceValues } from './value-tiers.ts';

/** What the three surfaces (bid, auction, predict) ask of the rest of the process. */
export type DeskContext = {
  readonly flights: FlightPool;
  readonly admission: AdmissionControl;
  readonly flow: { run(flight: Flight, request: BidRequest): void };
  readonly scoring: Pick<ScoringPort, 'predictedWaitMs'>;
  readonly auction: Pick<AuctionPort, 'giveBack'>;
  /** Bytes written, or 0: the record was dropped (and counted there). */
  readonly log: { writeAuction(draft: AuctionDraft): number };
  readonly placeValues: PlaceValues;
  readonly telemetry: Telemetry;
  readonly ids: AuctionIds;
  /** 64 bits that settle ties together with the auction's id; the same for all threads of a process. */
  readonly tieSeed: { readonly high: number; readonly low: number };
  /** Epoch ms. */
  readonly now: () => number;
  readonly catalogVersion: () => number;
  readonly marginPpm: number;
  /** a of quality^a in the ranking. */
  readonly qualityExponent: number;
  /** Taken off `tmax` for the way back. */
  readonly safetyMs: number;
  readonly onError: (error: unknown) => void;
};

export type Asked = {
  readonly http: HttpRequest;
  readonly respond: Respond;
  readonly caller: Caller;
  readonly request: BidRequest;
  readonly surface: keyof typeof surfaceNumbers;
  /** Number in auction/mechanisms.ts. */
  readonly mechanism: number;
  /** When the handler took it up. */
  readonly startedMs: number;
  readonly done: (flight: Flight) => void;
};

const cheapestRung = rungNumber('smoothed-rate');
const oneQ30 = 2 ** 30;

/**
 * Where requests become flights and flights end. In: a place in the process, a rung that meets the deadline, and the head of the
 * auction's record. Out: the record to the log, the durations to telemetry, what was held back to its owner.
 */
export class FlightDesk {
  readonly #context: DeskContext;

  constructor(context: DeskContext) {
    this.#context = context;
  }

  /** Before anything is spent on a request: whether it would be turned away in any case. */
  get isFull(): boolean {
    const { admission, flights } = this.#context;
    return admission.isFull || flights.freeCount === 0;
  }

  open(asked: Asked): Flight | 'tooLate' | 'overloaded' {
    const { admission, flights, scoring, now, safetyMs } = this.#context;
    const { http, request, caller } = asked;
    const deadlineMs = answerDeadlineMs(http.arrivalMs, request.tmaxMs ?? caller.tmaxMs, safetyMs);
    // The wait alone: what the rows themselves take is in the cost of their rung.
    const headWaitMs = scoring.predictedWaitMs(0);
    this.#context.telemetry.gauge(gaugeIndex.admission_wait_ms, headWaitMs);
    const nowMs = now();
    const tier = caller.tier === 'by-value' ? this.#context.placeValues.tierOf(placeName(request.place)) : caller.tier;
    const entry = admission.admit(deadlineMs - nowMs, headWaitMs, nowMs, tier);
    if (entry === 'IN_FLIGHT_FULL') return 'overloaded';
    // A prediction that comes late is still an answer: it takes the cheapest rung. A bid that comes late is none.
    if (entry === 'TOO_LATE' && asked.surface !== 'predict') return 'tooLate';
    const flight = flights.take();
    if (flight === undefined) return 'overloaded';
    admission.inFlight++;
    flight.rung = entry === 'TOO_LATE' ? cheapestRung : entry.rung;
    flight.entryRung = flight.rung;
    flight.cameAlone = admission.inFlight === 1;
    flight.arrivalMs = http.arrivalMs;
    flight.deadlineMs = deadlineMs;
    flight.startedMs = asked.startedMs;
    flight.http = http;
    flight.respond = asked.respond;
    flight.caller = caller;
    flight.done = asked.done;
    flight.failed = this.#failed;
    this.#describe(flight.draft, asked);
    return flight;
  }

  /** Sends an open flight on its way. What throws there ends the flight first. */
  run(flight: Flight, request: BidRequest): void {
    try {
      this.#context.flow.run(flight, request);
    } catch (error) {
      this.forget(flight);
      throw error;
    }
  }

  /** The part of the record that is known before the auction. */
  #describe(draft: AuctionDraft, { http, caller, request, surface, mechanism, startedMs }: Asked): void {
    const { ids, tieSeed, marginPpm, qualityExponent, catalogVersion } = this.#context;
    ids.next();
    draft.auctionIdHigh = ids.high;
    draft.auctionIdLow = ids.low;
    draft.arrivalMs = http.arrivalMs;
    draft.timeMs = startedMs;
    draft.surface = surfaceNumbers[surface];
    draft.mechanism = mechanism;
    draft.test = request.isTest;
    draft.requestId = request.id;
    draft.callerId = caller.id;
    draft.catalogVersion = catalogVersion();
    draft.marginPpm = surface === 'openrtb' ? marginPpm : 0;
    draft.qualityExponent = qualityExponent;
    draft.tieSeedHigh = tieSeed.high;
    draft.tieSeedLow = tieSeed.low;
    draft.tmaxMs = request.tmaxMs ?? caller.tmaxMs;
    draft.stageUs.fill(0);
    draft.stageCount = stages.length;
    if (surface === 'predict') return;
    draft.impCount = request.imps.length;
    for (const imp of request.imps) {
      const { index } = imp;
      const size = imp.banner?.sizes[0] ?? imp.video;
      draft.impId[index] = imp.id;
      draft.impFormat[index] = imp.banner !== undefined ? 0 : imp.video !== undefined ? 1 : 2;
      draft.impWidth[index] = size?.width ?? 0;
      draft.impHeight[index] = size?.height ?? 0;
      draft.impSecure[index] = imp.isSecure ? 1 : 0;
      draft.impFloorNanos[index] = 0;
      draft.impExplored[index] = 0;
      draft.impWinner[index] = -1;
      draft.impPriceNanos[index] = 0;
      draft.impReservation[index] = noReservation;
      draft.impReservedNanos[index] = 0;
      draft.impPropensityQ30[index] = oneQ30;
    }
  }

  /** Whether the answer would come after its time, or to nobody. Whoever is told so ends the flight with `forget`. */
  isTooLate(flight: Flight): boolean {
    return flight.http!.isAborted || this.#context.now() > flight.deadlineMs;
  }

  /** The answer is on its way: the record goes to the log, and the flight ends. `answerStartedMs`: when it began to be written. */
  answered(flight: Flight, answerStartedMs: number): void {
    const { telemetry, log, now } = this.#context;
    const { draft } = flight;
    const sentMs = now();
    recordStage(telemetry, draft, 'answer', sentMs - answerStartedMs);
    recordStage(telemetry, draft, 'total', sentMs - flight.arrivalMs);
    telemetry.record(rungSeries[flight.rung]!, sentMs - flight.arrivalMs);
    this.#noteValue(flight);
    if (log.writeAuction(draft) === 0) telemetry.count(counterIndex.log_dropped);
    telemetry.record(stageSeries.log, now() - sentMs);
    this.#end(flight, sentMs);
  }

  /** What its place is worth, as far as a model could tell: places on a cheap rung would otherwise be worth little for ever. */
  #noteValue({ draft, request, rung }: Flight): void {
    if (draft.surface === surfaceNumbers.predict || draft.impCount === 0) return;
    const { scorer } = rungs[rung]!;
    if (scorer === 'rates' || scorer === 'none') return;
    let nanos = 0;
    for (let imp = 0; imp < draft.impCount; imp++) {
      const winner = draft.impWinner[imp]!;
      if (winner >= 0) nanos += expectedOf(draft, winner);
    }
    this.#context.placeValues.sold(placeName(request!.place), nanos / draft.impCount);
  }

  /** Nobody will see this auction: what its winners hold is given back, and nothing is logged. */
  forget(flight: Flight): void {
    const { auction } = this.#context;
    const { draft } = flight;
    for (let imp = 0; imp < draft.impCount; imp++) auction.giveBack(draft, imp);
    this.#end(flight, this.#context.now());
  }

  /** A bug of ours, found when the scores came: told, answered with 500 when an answer is owed, and over. */
  readonly #failed = (flight: Flight, error: unknown): void => {
    this.#context.onError(error);
    const { respond, http } = flight;
    const isOwed = respond !== undefined && http?.isAborted === false;
    if (flight.isOut) this.forget(flight);
    if (isOwed) respond(500, [], '');
  };

  #end(flight: Flight, nowMs: number): void {
    const { admission, flights } = this.#context;
    // Who fell to a cheaper rung on the way says nothing about the cost of either.
    if (flight.rung === flight.entryRung)
      admission.served(flight.rung, nowMs - flight.startedMs - flight.queueWaitMs - flight.lookupMs, nowMs);
    admission.lookedUp(flight.lookupMs);
    this.#tellLadder(flight, nowMs);
    admission.inFlight--;
    // Still awaited by a scoring slot: it cannot be lent again.
    if (flight.pendingSlots === 0) flights.giveBack(flight);
  }
  /**
   * How long this request waited, for the load level. One that came when no other was under way may have waited for a cold or busy
   * machine, but not in a queue: a cheaper rung would not help the next one, so it only ever counts as calm.
   */
  #tellLadder(flight: Flight, nowMs: number): void {
    const { admission, telemetry } = this.#context;
    if (!flight.cameAlone || rungs[flight.entryRung]!.scorer !== 'head')
      admission.ladder.observe(flight.queueWaitMs + telemetry.gaugeValue('event_loop_lag_ms'), nowMs);
    else if (admission.ladder.levelIndex > 0) admission.ladder.observe(0, nowMs);
  }
}
