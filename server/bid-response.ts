import { winnersCpmNanos } from '#auction/bid-price.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { auctionIdText } from './auction-ids.ts';
import { type NoticeContext, winnerTokens } from './bid-notices.ts';
import type { BidImp, BidRequest } from './bid-request.ts';
import { nanosToCpmText } from './decimal-money.ts';
import { bannerMarkup, type MarkupCard, type MarkupLinks, nativeMarkup, vastOf, videoMarkup } from './markup.ts';
import type { NoticeTokens } from './notice-claims.ts';
import { fromUsdNanosDown, type Rate } from './rates.ts';
import type { Flight } from './flight.ts';
import { rungNames } from './rungs.ts';

/** What a bid says about its ad: see auction/catalog.ts. */
export type BidCard = MarkupCard & {
  readonly campaignId: string;
  readonly advertiserId: string;
  readonly categories: readonly string[];
  readonly attributes: readonly number[];
};

export type BidResponseContext = NoticeContext & { readonly card: (row: number) => BidCard };

/** What a bid stays good for: the time that its budget is held. */
const bidSeconds = 60;
const q30One = 2 ** 30;
const bannerType = 1;
const videoType = 2;
const nativeType = 4;

export type BidResponse = {
  /** '' when no imp could be offered. */
  readonly body: string;
  readonly bidCount: number;
};
const nothingOffered: BidResponse = { body: '', bidCount: 0 };

/**
 * The OpenRTB answer to a decided auction, written as text: an object tree for `JSON.stringify` costs twice as much. Floors are at
 * least one nano of the answer's currency, so every winner has a price in it.
 */
export function bidResponse(
  context: BidResponseContext,
  request: BidRequest,
  draft: AuctionDraft,
  flight: Flight,
  rate: Rate,
  isVerbose: boolean,
): BidResponse {
  let seats: Map<string, string> | undefined;
  let firstSeat = '';
  let firstBids = '';
  let bidCount = 0;
  for (const imp of request.imps) {
    const winner = draft.impWinner[imp.index]!;
    if (winner < 0) continue;
    const usdNanos = winnersCpmNanos(draft, imp.index);
    const priceNanos = fromUsdNanosDown(usdNanos, rate);
    const card = context.card(draft.candidateAdRow[winner]!);
    const bid = bidText(context, request, imp, draft, flight, card, usdNanos, priceNanos, isVerbose);
    bidCount++;
    // Most answers hold one bid: they need no table of seats.
    if (bidCount === 1) {
      firstSeat = card.advertiserId;
      firstBids = bid;
    } else {
      seats ??= new Map([[firstSeat, firstBids]]);
      const earlier = seats.get(card.advertiserId);
      seats.set(card.advertiserId, earlier === undefined ? bid : `${earlier},${bid}`);
    }
  }
  if (bidCount === 0) return nothingOffered;
  let seatBids = '';
  if (seats === undefined) seatBids = `{"seat":${JSON.stringify(firstSeat)},"bid":[${firstBids}]}`;
  else {
    for (const [seat, bids] of seats) {
      seatBids += `${seatBids === '' ? '' : ','}{"seat":${JSON.stringify(seat)},"bid":[${bids}]}`;
    }
  }
  const bidId = auctionIdText(draft.auctionIdHigh, draft.auctionIdLow);
  const body = `{"id":${JSON.stringify(request.id)},"bidid":"${bidId}","cur":"${draft.currency}","seatbid":[${seatBids}]}`;
  return { body, bidCount };
}

function bidText(
  context: BidResponseContext,
  request: BidRequest,
  imp: BidImp,
  draft: AuctionDraft,
  flight: Flight,
  card: BidCard,
  usdNanos: number,
  priceNanos: number,
  isVerbose: boolean,
): string {
  const winner = draft.impWinner[imp.index]!;
  const publicUrl = context.publicUrl();
  const isHttps = publicUrl.startsWith('https://');
  const tokens = winnerTokens(context, draft, imp.index, card, flight, usdNanos);
  const notice = `${publicUrl}/notice/`;
  const links = markupLinks(card, imp.isSecure && !isHttps, notice, tokens);
  const auctionId = auctionIdText(draft.auctionIdHigh, draft.auctionIdLow);
  const exp = imp.expSeconds > 0 && imp.expSeconds < bidSeconds ? imp.expSeconds : bidSeconds;
  return (
    `{"id":"${auctionId}-${imp.index}","impid":${JSON.stringify(imp.id)},"price":${nanosToCpmText(priceNanos)}` +
    `,"adid":${JSON.stringify(card.adId)},"crid":${JSON.stringify(card.creativeId)},"cid":${JSON.stringify(card.campaignId)}` +
    `,"adomain":[${JSON.stringify(card.domain)}]${listText('cat', card.categories)}${card.categories.length > 0 ? ',"cattax":1' : ''}` +
    `${listText('attr', card.attributes)}${shapeText(card, imp)},"exp":${exp}` +
    `,"nurl":"${notice}win?t=${tokens.win}&p=\${AUCTION_PRICE}&c=\${AUCTION_CURRENCY}"` +
    `,"burl":"${notice}bill?t=${tokens.bill}&p=\${AUCTION_PRICE}&c=\${AUCTION_CURRENCY}"` +
    `,"lurl":"${notice}loss?t=${tokens.loss}&l=\${AUCTION_LOSS}"` +
    `,"adm":${JSON.stringify(markupOf(card, links, imp))}${isVerbose ? verboseText(auctionId, draft, winner) : ''}}`
  );
}

function listText(name: string, list: readonly (string | number)[]): string {
  return list.length === 0 ? '' : `,"${name}":${JSON.stringify(list)}`;
}

function shapeText(card: BidCard, imp: BidImp): string {
  const size = card.width > 0 && card.height > 0 ? `,"w":${card.width},"h":${card.height}` : '';
  if (card.format === 'video')
    return `${size},"mtype":${videoType},"dur":${Math.ceil(card.durationMs / 1000)},"protocol":${vastOf(imp.video?.protocols ?? []).protocol}`;
  return card.format === 'native' ? `,"mtype":${nativeType}` : `${size},"mtype":${bannerType}`;
}

function verboseText(auctionId: string, draft: AuctionDraft, winner: number): string {
  const click = draft.candidateClickQ30[winner]! / q30One;
  return `,"ext":{"gavelin":{"auction_id":"${auctionId}","model_id":${JSON.stringify(draft.modelId)},"rung":"${rungNames[draft.rung]!}","p_click":${click}}}`;
}

/**
 * Where markup may lead. A secure impression takes https only: without an https address of our own it reports nothing (its
 * `burl` does), and its link goes to the advertiser directly.
 */
function markupLinks(card: BidCard, mustAvoidUs: boolean, notice: string, tokens: NoticeTokens): MarkupLinks {
  if (!mustAvoidUs) return { viewUrl: `${notice}view?t=${tokens.view}`, clickUrl: `${notice}click?t=${tokens.click}` };
  return { viewUrl: '', clickUrl: card.landingUrl.startsWith('https://') ? card.landingUrl : '' };
}

function markupOf(card: BidCard, links: MarkupLinks, imp: BidImp): string {
  if (card.format === 'video' && imp.video !== undefined) return videoMarkup(card, links, imp.video);
  if (card.format === 'native' && imp.native !== undefined) return nativeMarkup(card, links, imp.native);
  return bannerMarkup(card, links);
}
