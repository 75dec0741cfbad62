import { expectedValueNanos } from '#auction/expected-value.ts';
import { mechanismNumbers } from '#auction/mechanisms.ts';
import { auctionIdText } from './auction-ids.ts';
import { readAuctionRequest } from './auction-request.ts';
import { type NoticeContext, winnerTokens } from './bid-notices.ts';
import type { BidCard } from './bid-response.ts';
import type { BidImp, BidRequest } from './bid-request.ts';
import type { Flight } from './flight.ts';
import { FlightDesk } from './flight-desk.ts';
import type { HttpHandler, Respond, Route } from './http-listener.ts';
import { noBidReasons, unsoldReason } from './no-bid.ts';
import { rungNames } from './rungs.ts';
import { counterIndex, stageSeries } from './telemetry.ts';
import { jsonHeaders, readV1, refuse, shed, type V1Context } from './v1-endpoint.ts';

export type AuctionEndpointContext = V1Context &
  NoticeContext & {
    readonly card: (row: number) => BidCard & { readonly lineItemId: string };
  };

const priceTypeNames = ['cpm', 'cpc', 'cpa'] as const;

/** `POST /v1/auction`: we clear among our own advertisers; the request's mechanism sets winners and prices. */
export class AuctionEndpoint {
  readonly #context: AuctionEndpointContext;
  readonly #desk: FlightDesk;

  constructor(context: AuctionEndpointContext) {
    this.#context = context;
    this.#desk = new FlightDesk(context);
  }

  get routes(): Route[] {
    return [{ path: '/v1/auction', methods: ['POST'], handle: this.handle }];
  }

  readonly handle: HttpHandler = (http, respond) => {
    const context = this.#context;
    const startedMs = context.now();
    const asked = readV1(context, http, respond);
    if (asked === undefined) return;
    const { caller } = asked;
    const read = readAuctionRequest(asked.body);
    if (read.kind === 'fault') return refuse(context, respond, read, caller.id);
    const { request } = read;
    if (request.isTest) context.telemetry.count(counterIndex.test_requests);
    context.telemetry.record(stageSeries.parse, context.now() - startedMs);
    const flight = this.#desk.open({
      http,
      respond,
      caller,
      request,
      surface: 'auction',
      mechanism: mechanismNumbers[read.mechanism],
      startedMs,
      done: this.#done,
    });
    if (flight === 'overloaded') return shed(context, respond);
    if (flight === 'tooLate') {
      context.telemetry.count(counterIndex.refused);
      return answerLate(request, respond);
    }
    flight.draft.incrementNanos = read.incrementNanos;
    for (const imp of request.imps) flight.draft.impFloorNanos[imp.index] = imp.floorNanos;
    this.#desk.run(flight, request);
  };

  readonly #done = (flight: Flight): void => {
    const { onError } = this.#context;
    const { respond } = flight;
    try {
      this.#answer(flight);
    } catch (error) {
      onError(error);
      const isOwed = flight.respond !== undefined;
      if (flight.isOut) this.#desk.forget(flight);
      if (isOwed) respond!(500, jsonHeaders, '');
    }
  };

  #answer(flight: Flight): void {
    const { telemetry, now } = this.#context;
    const { draft } = flight;
    const respond = flight.respond!;
    const request = flight.request!;
    if (this.#desk.isTooLate(flight)) {
      telemetry.count(counterIndex.late);
      this.#desk.forget(flight);
      return answerLate(request, respond);
    }
    const answerStartedMs = now();
    draft.timeMs = answerStartedMs;
    telemetry.count(counterIndex.auctions);
    if (!request.isTest) telemetry.count(counterIndex.live_auctions);
    const slots = request.imps.map((imp) => this.#slot(flight, imp)).join(',');
    const auctionId = auctionIdText(draft.auctionIdHigh, draft.auctionIdLow);
    const body = `{"id":${JSON.stringify(request.id)},"auction_id":"${auctionId}","model_id":${JSON.stringify(draft.modelId)},"rung":"${rungNames[draft.rung]!}","slots":[${slots}]}`;
    flight.respond = undefined;
    respond(200, jsonHeaders, body);
    this.#desk.answered(flight, answerStartedMs);
  }

  #slot(flight: Flight, imp: BidImp): string {
    const { draft } = flight;
    const winner = draft.impWinner[imp.index]!;
    if (winner < 0) return unsoldSlot(imp, unsoldReason(draft, imp.index).name);
    const card = this.#context.card(draft.candidateAdRow[winner]!);
    const priceNanos = draft.impPriceNanos[imp.index]!;
    const priceType = draft.candidatePriceType[winner]!;
    const click = draft.candidateClickQ30[winner]!;
    // What one impression is worth at the price: what its `bill` notice records where it names no price of its own.
    const impressionNanos = expectedValueNanos(priceNanos, priceType, click, draft.candidateConversionQ30[winner]!);
    const tokens = winnerTokens(this.#context, draft, imp.index, card, flight, impressionNanos);
    const notice = `${this.#context.publicUrl()}/notice/`;
    return JSON.stringify({
      id: imp.id,
      status: 'sold',
      reason: 'won',
      ad_id: card.adId,
      line_item_id: card.lineItemId,
      advertiser_id: card.advertiserId,
      price_nanos: priceNanos,
      price_type: priceTypeNames[priceType],
      notices: {
        bill_url: `${notice}bill?t=${tokens.bill}`,
        loss_url: `${notice}loss?t=${tokens.loss}`,
        view_url: `${notice}view?t=${tokens.view}`,
        click_url: `${notice}click?t=${tokens.click}`,
      },
    });
  }
}

function unsoldSlot(imp: BidImp, reason: string): string {
  return JSON.stringify({ id: imp.id, status: 'unsold', reason });
}

/** Nothing was sold, because it would have come after its time. */
function answerLate(request: BidRequest, respond: Respond): void {
  const slots = request.imps.map((imp) => unsoldSlot(imp, noBidReasons.tooLate.name)).join(',');
  respond(200, jsonHeaders, `{"id":${JSON.stringify(request.id)},"slots":[${slots}]}`);
}
