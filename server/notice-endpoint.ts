import type { HttpRequest, Respond, ResponseHeaders, Route } from './http-listener.ts';
import { type NoticeKind, noticeKinds, type VerifiedNotice } from './notice-claims.ts';
import { readPrice } from './notice-price.ts';
import { NoticeSettlement, type SettlementContext } from './notice-settlement.ts';
import type { NoticeSigner } from './notice-tokens.ts';
import { counterIndex } from './telemetry.ts';

export type NoticeEndpointContext = SettlementContext & { readonly signer: NoticeSigner };

/** Caches must not answer in our place: a pixel that comes twice is two requests, and we count one. */
const noStore = ['cache-control', 'no-store'] as const;
const plain: ResponseHeaders = [noStore];
const comeAgain: ResponseHeaders = [noStore, ['retry-after', '1']];
/** The query parameter that hands a landing page the token of a conversion. */
export const conversionParameter = 'gavelin_ct';

/**
 * `GET` or `POST /notice/KIND?t=TOKEN[&p=PRICE][&c=CURRENCY][&l=LOSS_CODE]`: 204, or a click's 302 to the address that its token
 * carries. `HEAD` answers the same and moves nothing. 400 for a token or price that is none, 410 for a token too old, 503 when nothing can be recorded. What a notice
 * moves is on disk before it is answered.
 */
export function noticeRoutes(context: NoticeEndpointContext): Route[] {
  const settlement = new NoticeSettlement(context);
  return noticeKinds.map((kind) => ({
    path: `/notice/${kind}`,
    methods: ['GET', 'POST'],
    handle: (request, respond) => handleNotice(context, settlement, kind, request, respond),
  }));
}

function handleNotice(
  context: NoticeEndpointContext,
  settlement: NoticeSettlement,
  kind: NoticeKind,
  request: HttpRequest,
  respond: Respond,
): void {
  const { signer, telemetry, now } = context;
  const query = readQuery(request.query);
  const verified = query.token === undefined ? 'BAD' : signer.verify(kind, query.token, now());
  if (verified === 'EXPIRED') {
    telemetry.count(counterIndex.notices_expired);
    return respond(410, plain, '');
  }
  const price = readPrice(query.price);
  const needsPrice = kind === 'bill' || kind === 'win';
  if (verified === 'BAD' || (needsPrice && price.kind === 'malformed')) {
    telemetry.count(counterIndex.notices_bad);
    return respond(400, plain, '');
  }
  const answer = (): void => {
    const location = kind === 'click' ? clickTarget(signer, verified) : '';
    if (location === '') respond(204, plain, '');
    else respond(302, [noStore, ['location', location]], '');
  };
  // Link checkers ask so, and it is not to change anything: nobody has seen or clicked.
  if (request.method === 'HEAD') return answer();
  const { outcome, durable } = settlement.settle(verified, {
    price,
    currency: query.currency ?? verified.claims.currency,
    lossReason: query.lossReason,
  });
  if (outcome === 'UNLOGGED') return respond(503, comeAgain, '');
  if (durable === undefined) return answer();
  void durable.then((result) => {
    if (result === 'DURABLE') return answer();
    // Its record is on the way: the sender comes again and is told so as soon as it has arrived.
    telemetry.count(counterIndex.notices_unlogged);
    respond(503, comeAgain, '');
  });
}

type NoticeQuery = {
  token: string | undefined;
  price: string | undefined;
  currency: string | undefined;
  lossReason: number;
};

/** First of each name wins. Tokens are long, so they are not decoded unless they hold an escape. */
function readQuery(query: string): NoticeQuery {
  const found: NoticeQuery = { token: undefined, price: undefined, currency: undefined, lossReason: 0 };
  let hasCurrency = false;
  let hasLoss = false;
  for (const part of query.split('&', queryPartsMax)) {
    const equals = part.indexOf('=');
    if (equals < 0) continue;
    const name = part.slice(0, equals);
    const value = decoded(part.slice(equals + 1));
    if (name === 't') found.token ??= value;
    else if (name === 'p') found.price ??= value;
    else if (name === 'c' && !hasCurrency) {
      hasCurrency = true;
      // As with the price: a macro that nobody filled in says nothing, so the currency of the bid holds.
      if (/^[A-Za-z]{3}$/u.test(value)) found.currency = value.toUpperCase();
    } else if (name === 'l' && !hasLoss) {
      hasLoss = true;
      if (/^\d{1,4}$/u.test(value)) found.lossReason = Number(value);
    }
  }
  return found;
}

/** We write four parameters; an exchange may add a few of its own. */
const queryPartsMax = 32;

function decoded(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The token's own address with the conversion's token as one more parameter; '' when it has none. */
function clickTarget(signer: NoticeSigner, { claims }: VerifiedNotice): string {
  const url = claims.clickUrl;
  if (url === '') return '';
  const hash = url.indexOf('#');
  const head = hash < 0 ? url : url.slice(0, hash);
  const tail = hash < 0 ? '' : url.slice(hash);
  const glue = !head.includes('?') ? '?' : /[?&]$/u.test(head) ? '' : '&';
  // A header holds printable ASCII only; the rest of the address stays as the advertiser wrote it.
  return asciiOnly(`${head}${glue}${conversionParameter}=${signer.signOne('conversion', claims)}${tail}`);
}

function asciiOnly(url: string): string {
  return url.toWellFormed().replaceAll(/[^\u0021-\u007e]+/gu, (other) => encodeURIComponent(other));
}
