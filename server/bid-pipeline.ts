import { mechanismNumbers } from '#auction/mechanisms.ts';
import type { BidRequest, RequestFault } from './bid-request.ts';
import { type BidResponseContext, bidResponse } from './bid-response.ts';
import type { Caller, Callers } from './callers.ts';
import { preflightHeaders, withCors } from './cors.ts';
import type { Flight } from './flight.ts';
import { type DeskContext, FlightDesk } from './flight-desk.ts';
import type { HttpHandler, HttpRequest, Respond, ResponseHeaders, Route } from './http-listener.ts';
import { noBidBody, type NoBidReason, noBidReasons, unsoldReason } from './no-bid.ts';
import { parseBidRequest } from './openrtb-request.ts';
import { leastNanos, type Rate, type Rates, toUsdNanosUp } from './rates.ts';
import { requestBody } from './request-body.ts';
import { counterIndex, stageSeries } from './telemetry.ts';

export type BidPipelineContext = DeskContext &
  BidResponseContext & {
    readonly callers: Callers;
    readonly rates: Rates;
    /** Largest body once decompressed. */
    readonly bodyBytesMax: number;
    /** A request was refused: for the log, which knows how often it wants to hear that. Holds nothing of the request but a path. */
    readonly onFault: (fault: RequestFault, callerId: string) => void;
    /** Something broke after the request was taken up; it is answered 500. */
    readonly onError: (error: unknown) => void;
  };

const path = '/openrtb2/bid';
const version: ResponseHeaders = [['x-openrtb-version', '2.6']];
const jsonHeaders: ResponseHeaders = [['content-type', 'application/json'], ...version];
const unknownCaller: RequestFault = {
  kind: 'fault',
  code: 'CALLER_UNKNOWN',
  path: '',
  message: 'needs a known key in x-gavelin-key or the path',
};
const unknownVersion: RequestFault = {
  kind: 'fault',
  code: 'VERSION_UNKNOWN',
  path: '',
  message: 'x-openrtb-version must be 2.x',
};

/**
 * The way of one bid. `handle`: who calls, is there a place, what is asked, in which money, and a flight with its one deadline;
 * then the auction flow takes it through lookup, retrieval, scoring and decision. `#answer`: in time or not at all; then the
 * record goes to the log. One per serving thread.
 */
export class BidPipeline {
  readonly #context: BidPipelineContext;
  readonly #desk: FlightDesk;

  constructor(context: BidPipelineContext) {
    this.#context = context;
    this.#desk = new FlightDesk(context);
  }

  get routes(): Route[] {
    const methods = ['POST', 'OPTIONS'];
    return [
      { path, methods, handle: this.handle },
      { path: `${path}/*`, methods, handle: this.handle },
    ];
  }

  readonly handle: HttpHandler = (http, respond) => {
    if (http.method === 'OPTIONS') return respond(204, preflightHeaders(http), '');
    const { telemetry, callers, now } = this.#context;
    const startedMs = now();
    telemetry.count(counterIndex.requests);
    if (!isVersion2(http.header('x-openrtb-version'))) return this.#refuse(http, respond, unknownVersion, '');
    const caller = callers.find(keyOf(http), () => http.remoteAddress);
    if (caller === undefined) return this.#refuse(http, respond, unknownCaller, '');
    if (this.#desk.isFull) return this.#shed(http, respond);

    const body = requestBody(http, this.#context.bodyBytesMax);
    const request = body.kind === 'fault' ? body : parseBidRequest(body.bytes, caller.parse);
    if (request.kind === 'fault') return this.#refuse(http, respond, request, caller.id);
    const parseMs = now() - startedMs;
    telemetry.record(stageSeries.parse, parseMs);
    this.#countRequest(request);

    const rate = this.#rateOf(request, caller, startedMs);
    if (rate === undefined) return this.#noBid(http, respond, caller, request, noBidReasons.noRate);
    const flight = this.#desk.open({
      http,
      respond,
      caller,
      request,
      surface: 'openrtb',
      mechanism: mechanismNumbers.bid,
      startedMs,
      done: this.#done,
    });
    if (flight === 'overloaded') return this.#shed(http, respond);
    if (flight === 'tooLate') {
      telemetry.count(counterIndex.refused);
      return this.#noBid(http, respond, caller, request, noBidReasons.tooLate);
    }
    flight.draft.stageUs[stageSeries.parse] = Math.round(parseMs * 1000);
    this.#setMoney(flight, request, rate, startedMs);
    this.#desk.run(flight, request);
  };

  #countRequest({ isTest, leniency }: BidRequest): void {
    const { telemetry } = this.#context;
    if (isTest) telemetry.count(counterIndex.test_requests);
    if (leniency.coercions > 0) telemetry.count(counterIndex.coercions, leniency.coercions);
    if (leniency.conflicts > 0) telemetry.count(counterIndex.privacy_conflicts, leniency.conflicts);
  }

  /** The currency to answer in: the caller's first that the request allows, else the request's first that has a rate. */
  #rateOf({ currencies }: BidRequest, caller: Caller, nowMs: number): Rate | undefined {
    const { rates } = this.#context;
    const allowed = currencies.length === 0 ? usdOnly : currencies;
    for (const currency of caller.currencies) {
      const rate = allowed.includes(currency) ? rates.rateOf(currency, nowMs) : undefined;
      if (rate !== undefined) return rate;
    }
    for (const currency of allowed) {
      const rate = rates.rateOf(currency, nowMs);
      if (rate !== undefined) return rate;
    }
    return undefined;
  }

  /**
   * Floors in the catalog's currency, rounded up, and at least what can be said in the answer's: so whatever wins can be offered. An
   * imp whose floor has no rate is not for sale.
   */
  #setMoney(flight: Flight, request: BidRequest, rate: Rate, nowMs: number): void {
    const { draft } = flight;
    flight.rate = rate;
    draft.currency = rate.currency;
    draft.rateNumerator = rate.numerator;
    draft.rateDenominator = rate.denominator;
    for (const imp of request.imps) {
      // A slot that takes video too asks for the video's floor: whatever wins then meets both.
      const floor = imp.video === undefined ? imp.floorNanos : imp.videoFloorNanos;
      const floorRate = floor === 0 ? rate : this.#context.rates.rateOf(imp.floorCurrency, nowMs);
      if (floorRate === undefined || imp.isPrivateAuction) flight.closedImps[imp.index] = 1;
      else draft.impFloorNanos[imp.index] = Math.max(toUsdNanosUp(floor, floorRate), leastNanos(rate));
    }
  }

  /** The auction is decided: answer in time or not at all. */
  readonly #done = (flight: Flight): void => {
    try {
      this.#answer(flight);
    } catch (error) {
      this.#context.onError(error);
      const { respond } = flight;
      if (flight.isOut) this.#desk.forget(flight);
      respond?.(500, version, '');
    }
  };

  #answer(flight: Flight): void {
    const { telemetry, now } = this.#context;
    const { draft } = flight;
    const http = flight.http!;
    const respond = flight.respond!;
    const request = flight.request!;
    const caller = flight.caller!;
    if (this.#desk.isTooLate(flight)) {
      telemetry.count(counterIndex.late);
      this.#desk.forget(flight);
      return this.#noBid(http, respond, caller, request, noBidReasons.tooLate);
    }
    const answerStartedMs = now();
    draft.timeMs = answerStartedMs;
    telemetry.count(counterIndex.auctions);
    if (!request.isTest) telemetry.count(counterIndex.live_auctions);
    const isVerbose = request.isTest || isDebug(http);
    const { body, bidCount } = bidResponse(this.#context, request, draft, flight, flight.rate!, isVerbose);
    if (bidCount > 0) {
      telemetry.count(counterIndex.bids, bidCount);
      respond(200, withCors(http, jsonHeaders), body);
    } else this.#noBid(http, respond, caller, request, undefined, flight);
    flight.respond = undefined;
    this.#desk.answered(flight, answerStartedMs);
  }

  /** 204, or a 200 that says why: for tests, for debugging, for callers who asked for it. */
  #noBid(
    http: HttpRequest,
    respond: Respond,
    caller: Caller,
    request: BidRequest,
    reason: NoBidReason | undefined,
    flight?: Flight,
  ): void {
    this.#context.telemetry.count(counterIndex.no_bids);
    const isLong = request.isTest || caller.noBid === 'nbr' || isDebug(http);
    if (!isLong) return respond(204, withCors(http, version), '');
    const why = reason ?? whyUnsold(flight!);
    respond(200, withCors(http, jsonHeaders), noBidBody(request.id, why));
  }

  /** As cheap as an answer can be: the body is not even read. */
  #shed(http: HttpRequest, respond: Respond): void {
    this.#context.telemetry.count(counterIndex.shed);
    respond(204, withCors(http, version), '');
  }

  /** Bad input is the sender's fault and is said so, without a body. */
  #refuse(http: HttpRequest, respond: Respond, fault: RequestFault, callerId: string): void {
    const { telemetry, onFault } = this.#context;
    telemetry.count(counterIndex.faults);
    onFault(fault, callerId);
    const reason = `${fault.code} ${fault.path} ${fault.message}`
      .replaceAll(/[^ -~]/gu, '?')
      .replaceAll(/ {2,}/gu, ' ');
    const status = fault.code === 'CALLER_UNKNOWN' ? 401 : 400;
    respond(status, withCors(http, [...version, ['x-gavelin-error', reason]]), '');
  }
}

const usdOnly: readonly string[] = ['USD'];

function whyUnsold(flight: Flight): NoBidReason {
  const { draft } = flight;
  if (draft.candidateCount === 0 && flight.closedImps.subarray(0, draft.impCount).every((closed) => closed === 1)) {
    if (flight.request!.imps.some((imp) => !imp.isPrivateAuction)) return noBidReasons.noRate;
  }
  return unsoldReason(draft, -1);
}

/** Absent, 2.5, 2.6-202505 and whatever else is not plainly another major version. */
function isVersion2(header: string): boolean {
  if (header === '') return true;
  const major = /^\s*(\d{1,4})(?:[.\s-]|$)/u.exec(header)?.[1];
  return major === undefined || Number(major) === 2;
}

function isDebug(http: HttpRequest): boolean {
  return http.header('x-gavelin-debug') === '1';
}

function keyOf(http: HttpRequest): string {
  return http.path.length > path.length + 1 ? http.path.slice(path.length + 1) : http.header('x-gavelin-key');
}
