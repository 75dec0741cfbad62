import { Agent, request as httpRequest } from 'node:http';
import { seededRandom } from '#inference/seeded-random.ts';
import { type OrdinaryRequest, OrdinaryRequests } from './bid-requests.ts';
import { clear, conversionToken, expandMacros, firstBid, noticesIn, rivalPrice, type WireBid } from './exchange.ts';
import type { MarketLayout } from './layout.ts';
import { ViewCounts } from './view-counts.ts';
import type { World } from './world.ts';

export type TrafficPlan = {
  /** Bid port on 127.0.0.1. */
  readonly port: number;
  readonly ratePerSecond: number;
  /** The driver stops at the first of the two. */
  readonly secondsMax: number;
  readonly requestsMax: number;
  readonly seed: number;
  /** Median of the best rival price, CPM in USD. Default 0.6: wins most auctions against our usual 1 to 4. */
  readonly rivalCpm?: number;
  readonly key?: string;
};

/** Counts since the start; money in USD. */
export type TrafficStats = {
  requests: number;
  answers: number;
  noBids: number;
  /** No answer, or a status other than 200 and 204. */
  failures: number;
  /** Not sent, since too many requests were in flight. */
  skipped: number;
  bids: number;
  wins: number;
  losses: number;
  views: number;
  clicks: number;
  /** Sum of the true click probabilities of the views: what `clicks` should come to. */
  expectedClicks: number;
  conversions: number;
  /** Clicks that should have converted but whose redirect carried no token. */
  conversionsSkipped: number;
  noticeFailures: number;
  paidUsd: number;
};

const inFlightMax = 256;
const answerBytesMax = 1 << 20;
const answerMsMax = 2_000;
const tickMs = 5;

type Answer = { readonly status: number; readonly location: string | undefined; readonly text: string };

/**
 * Ordinary traffic as the world would send it: requests in an open loop (a slow answer delays no other request), a lottery
 * against rival prices, notices, and people who click and convert by their true probabilities.
 */
export class TrafficDriver {
  readonly stats: TrafficStats = {
    requests: 0,
    answers: 0,
    noBids: 0,
    failures: 0,
    skipped: 0,
    bids: 0,
    wins: 0,
    losses: 0,
    views: 0,
    clicks: 0,
    expectedClicks: 0,
    conversions: 0,
    conversionsSkipped: 0,
    noticeFailures: 0,
    paidUsd: 0,
  };
  readonly #plan: TrafficPlan;
  readonly #world: World;
  readonly #layout: MarketLayout;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #requests: OrdinaryRequests;
  readonly #views = new ViewCounts(1 << 20);
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64, scheduling: 'lifo' });
  readonly #adNumbers = new Map<string, number>();
  #inFlight = 0;
  #isStopped = false;

  /** `now`: epoch milliseconds. `idPrefix` makes request ids unlike those of any other driver. */
  constructor(plan: TrafficPlan, world: World, now: () => number, idPrefix: string) {
    this.#plan = plan;
    this.#world = world;
    this.#layout = world.layout;
    this.#now = now;
    this.#random = seededRandom(plan.seed);
    this.#requests = new OrdinaryRequests(world.layout, seededRandom(plan.seed ^ 0x7afc), idPrefix);
    for (let ad = 0; ad < this.#layout.adLineItem.length; ad += 1) this.#adNumbers.set(this.#layout.adId(ad), ad);
  }

  /** Resolves when the plan is done or `stop` was called, and what was in flight has ended. */
  async run(): Promise<TrafficStats> {
    const startedAt = performance.now();
    let planned = 0;
    while (!this.#isStopped) {
      const elapsedMs = performance.now() - startedAt;
      if (elapsedMs >= this.#plan.secondsMax * 1000 || planned >= this.#plan.requestsMax) break;
      const dueCount = Math.min(this.#plan.requestsMax, Math.floor((elapsedMs / 1000) * this.#plan.ratePerSecond));
      for (; planned < dueCount; planned += 1) this.#start();
      await pause(tickMs);
    }
    const drainUntil = performance.now() + answerMsMax;
    while (this.#inFlight > 0 && performance.now() < drainUntil) await pause(tickMs);
    this.#agent.destroy();
    return this.stats;
  }

  stop(): void {
    this.#isStopped = true;
  }

  #start(): void {
    if (this.#inFlight >= inFlightMax) {
      this.stats.skipped += 1;
      return;
    }
    this.#inFlight += 1;
    this.#auction(this.#requests.next(this.#now()))
      .catch(() => {
        this.stats.failures += 1;
      })
      .finally(() => {
        this.#inFlight -= 1;
      });
  }

  async #auction(request: OrdinaryRequest): Promise<void> {
    this.stats.requests += 1;
    const path = this.#plan.key === undefined ? '/openrtb2/bid' : `/openrtb2/bid/${this.#plan.key}`;
    const answer = await this.#send('POST', `http://127.0.0.1:${this.#plan.port}${path}`, JSON.stringify(request.body));
    this.stats.answers += 1;
    if (answer.status !== 200 && answer.status !== 204) this.stats.failures += 1;
    const bid = answer.status === 200 ? firstBid(answer.text) : undefined;
    if (bid === undefined) {
      this.stats.noBids += 1;
      return;
    }
    this.stats.bids += 1;
    const rival = rivalPrice(this.#plan.rivalCpm ?? 0.6, this.#random);
    const { isWon, clearingPrice, minimumToWin } = clear(bid.price, rival, request.floorUsd);
    const macros = {
      AUCTION_ID: request.id,
      AUCTION_IMP_ID: '1',
      AUCTION_AD_ID: bid.adid ?? '',
      AUCTION_CURRENCY: 'USD',
      AUCTION_PRICE: isWon ? clearingPrice.toFixed(6) : '',
      AUCTION_LOSS: isWon ? '0' : '102',
      AUCTION_MIN_TO_WIN: minimumToWin.toFixed(6),
    };
    if (!isWon) {
      this.stats.losses += 1;
      if (bid.lurl !== undefined) await this.#notify(expandMacros(bid.lurl, macros));
      return;
    }
    this.stats.wins += 1;
    this.stats.paidUsd += clearingPrice / 1000;
    if (bid.nurl !== undefined) await this.#notify(expandMacros(bid.nurl, macros));
    if (bid.burl !== undefined) await this.#notify(expandMacros(bid.burl, macros));
    await this.#show(request, bid, macros);
  }

  /** The person sees the ad and may click: by the truth, which the server has never seen. */
  async #show(request: OrdinaryRequest, bid: WireBid, macros: Readonly<Record<string, string>>): Promise<void> {
    const { user, context } = request;
    const notices = noticesIn(expandMacros(bid.adm ?? '', macros));
    if (notices.view !== undefined) await this.#notify(notices.view);
    this.stats.views += 1;
    const ad = this.#adNumbers.get(bid.adid ?? '');
    if (ad === undefined) return;
    const lineItem = this.#layout.adLineItem[ad]!;
    const seen = user < 0 ? 0 : this.#views.add(user, lineItem, Math.floor(this.#now() / 86_400_000));
    const p = this.#world.trueClickProbability(user, ad, context, seen);
    this.stats.expectedClicks += p;
    if (this.#random() >= p || notices.click === undefined) return;
    const { location } = await this.#send('GET', notices.click);
    this.stats.clicks += 1;
    if (this.#random() >= this.#world.trueConversionProbability(user, ad, context)) return;
    const token = conversionToken(location);
    if (token === undefined) {
      this.stats.conversionsSkipped += 1;
      return;
    }
    const base = new URL(notices.click).origin;
    await this.#notify(`${base}/notice/conversion?t=${encodeURIComponent(token)}`);
    this.stats.conversions += 1;
  }

  async #notify(url: string): Promise<void> {
    const { status } = await this.#send('GET', url);
    if (status >= 300) this.stats.noticeFailures += 1;
  }

  /** Loopback only: a notice of another host is the exchange's own mistake and is not called. */
  #send(method: 'GET' | 'POST', address: string, body?: string): Promise<Answer> {
    const url = new URL(address);
    if (url.protocol !== 'http:' || !['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname)) {
      return Promise.resolve({ status: 599, location: undefined, text: '' });
    }
    return new Promise((settle, fail) => {
      const headers: Record<string, string | number> =
        body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const outgoing = httpRequest(
        {
          host: '127.0.0.1',
          port: url.port,
          path: url.pathname + url.search,
          method,
          headers,
          agent: this.#agent,
          timeout: answerMsMax,
        },
        (incoming) => {
          const chunks: Buffer[] = [];
          let byteCount = 0;
          incoming.on('data', (chunk: Buffer) => {
            byteCount += chunk.length;
            if (byteCount > answerBytesMax) outgoing.destroy(new Error('the answer is too long'));
            else chunks.push(chunk);
          });
          incoming.on('end', () => {
            settle({
              status: incoming.statusCode ?? 0,
              location: incoming.headers.location,
              text: Buffer.concat(chunks).toString(),
            });
          });
          incoming.on('error', fail);
        },
      );
      outgoing.on('timeout', () => {
        outgoing.destroy(new Error('no answer in time'));
      });
      outgoing.on('error', fail);
      outgoing.end(body);
    });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((settle) => {
    setTimeout(settle, ms);
  });
}
