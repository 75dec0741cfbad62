import { parentPort, workerData } from 'node:worker_threads';
import { BudgetLedger } from '#auction/budget-ledger.ts';
import { Catalog } from '#auction/catalog.ts';
import { lineItemIdOf } from '#auction/catalog-spec.ts';
import { ClickRates } from '#auction/click-rates.ts';
import { FrequencyCaps } from '#auction/frequency-caps.ts';
import { PacingRates } from '#auction/pacing.ts';
import { SeenNotices } from '#auction/seen-notices.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import { UserHash } from '#auction/user-hash.ts';
import { SharedIdIndex } from '#embeddings/shared-id-index.ts';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { PredictionCache } from '#inference/prediction-cache.ts';
import { ScoringClient } from '#inference/scoring-client.ts';
import type { ScoringShared } from '#inference/scoring-shared.ts';
import { auctionLimits } from '#training-bridge/event-records.ts';
import { LogChannel, type LogChannelShared } from '#training-bridge/log-channel.ts';
import { AdmissionControl } from './admission.ts';
import { AuctionEndpoint } from './auction-endpoint.ts';
import { AuctionFlow } from './auction-flow.ts';
import { AuctionIds } from './auction-ids.ts';
import { Auctioneer } from './auctioneer.ts';
import { BidPipeline } from './bid-pipeline.ts';
import type { RequestFault } from './bid-request.ts';
import type { CallerDefaults } from './callers.ts';
import { onlyDefaultCaller, readCallers } from './callers.ts';
import { CandidateRating } from './candidate-rating.ts';
import { CandidateStage } from './candidate-stage.ts';
import { CardCache } from './card-cache.ts';
import type { Config } from './config.ts';
import { CountedNotices } from './counted-notices.ts';
import { CountedRates, ratedVisit } from './counted-rates.ts';
import { drainListener } from './drain-listener.ts';
import { fileError } from './errors.ts';
import type { Flight } from './flight.ts';
import { FlightPool } from './flight-pool.ts';
import { healthRoutes } from './health-endpoints.ts';
import { defaultHttpLimits, type ListeningHttp } from './http-listener.ts';
import { EventLoopLag } from './event-loop-lag.ts';
import { KeptPredictions } from './kept-predictions.ts';
import { monotonicNowMs } from './monotonic-clock.ts';
import { nodeListener } from './node-listener.ts';
import { noticeRoutes } from './notice-endpoint.ts';
import { NoticeSigner, userHashSeeds } from './notice-tokens.ts';
import type { MarketShared } from './pod-market.ts';
import type { ServingModel } from './pipeline-ports.ts';
import { PredictEndpoint } from './predict-endpoint.ts';
import { toCatalogNanos } from './rates.ts';
import { RatesFile, ratesCheckMs } from './rates-file.ts';
import { RecentAuctions } from './recent-auctions.ts';
import { Retrieval } from './retrieval.ts';
import { openStores } from './pod-stores.ts';
import { servedModel, type ServedModelShared } from './served-model.ts';
import type { FromServingThread, ToServingThread } from './serving-threads.ts';
import { gaugeIndex, Telemetry, type TelemetryShared } from './telemetry.ts';
import { urlOf } from './url-of.ts';
import { UserEvents } from './user-events.ts';
import { UserLookup } from './user-lookup.ts';
import { userLookupTables } from './user-tables.ts';
import { uwsListener } from './uws-listener.ts';
import { PlaceValues } from './value-tiers.ts';

/** Everything a serving thread needs, as it crosses from the main thread. What is large is shared memory. */
export type ServingThreadData = {
  readonly index: number;
  readonly config: Config;
  /** Addresses that answered before this thread was started. */
  readonly answeringStores: ReadonlySet<string>;
  /** 0 picks a free one. */
  readonly port: number;
  readonly market: MarketShared;
  readonly scoring: ScoringShared;
  readonly channel: LogChannelShared;
  readonly telemetry: TelemetryShared;
  readonly model: ServedModelShared;
  /** See inference/prediction-cache.ts. */
  readonly predictions: SharedArrayBuffer;
  readonly noticeKey: Uint8Array;
  /** Texts of the files, '' without one. */
  readonly callers: string;
  readonly rates: string;
  /** 32 random bits, another one per thread; and 64 that the threads of a process share. */
  readonly idNonce: number;
  readonly tieSeed: { readonly high: number; readonly low: number };
};

const secondMs = 1000;
/** Kinds of bad input told apart within one second; the rest is counted together. */
const faultKindsMax = 20;

const data = workerData as ServingThreadData;
const { config } = data;
const now = monotonicNowMs;
const tell = (message: FromServingThread): void => parentPort?.postMessage(message);
const onError = (error: unknown): void => {
  tell({ kind: 'error', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
};

const catalog = new Catalog(data.market.catalog);
const ledger = new BudgetLedger(data.market.ledger);
const caps = new FrequencyCaps(data.market.caps);
const seen = new SeenNotices(data.market.seen);
const lineItemIds = new SharedIdIndex(data.market.lineItemIds);
const telemetry = new Telemetry(data.telemetry);
const channel = new LogChannel(data.channel, now);
const signer = new NoticeSigner(data.noticeKey);
const userSeeds = userHashSeeds(data.noticeKey);
const userHash = new UserHash(userSeeds.high, userSeeds.low);
const recent = new RecentAuctions(catalog);
const cards = new CardCache(catalog);
const ratesFile = new RatesFile(config.ratesFile, data.rates, onError);
let model: ServingModel = servedModel(data.model, catalog.adLineItem);
let port = 0;
let isDraining = false;
let faultsOfSecond: Record<string, number> = {};

const scoring = new ScoringClient(data.scoring, data.index, now, (slot, outcome) => flow.finished(slot, outcome));
const hasSecureNotices = (): boolean => publicUrl.startsWith('https:');
const retrieval = new Retrieval(new TargetingIndex(data.market.index, catalog), hasSecureNotices);
const stores = await openStores(config, { sweeps: data.index === 0, answering: data.answeringStores });
const lookup = new Lookup({
  tables: userLookupTables(stores, { cacheMs: config.storeCacheMs, userDimension: auctionLimits.userDimension }),
  now,
  limits: { cacheBytesMax: config.storeCacheBytesMax },
  seed: userSeeds.low,
  onError,
});
const userEvents = new UserEvents({
  store: stores.realtime,
  subjectHash: new UserHash(userSeeds.high, userSeeds.low),
  telemetry,
  windowCountMax: config.userWindowCount,
  windowMs: config.userWindowMs,
});
const auctioneer = new Auctioneer({ catalog, ledger, pacing: new PacingRates(data.market.pacing), telemetry, now });
const clickRates = new ClickRates(data.market.clickRates);
const flow = new AuctionFlow({
  retrieval,
  candidates: new CandidateStage(catalog, retrieval, auctioneer, config.precutMax),
  caps: {
    lookup: (flight, nowMs) => {
      userHash.of(flight.request!.user.key);
      flight.userHashHigh = userHash.high;
      flight.userHashLow = userHash.low;
      caps.collect(userHash.high, userHash.low, nowMs, catalog.liCapCount, catalog.liCapWindowMs, flight);
    },
  },
  users: new UserLookup({
    lookup,
    now,
    lookupMs: config.lookupMs,
    windowCountMax: config.userWindowCount,
    windowMs: config.userWindowMs,
  }),
  userEvents,
  scoring,
  rating: new CandidateRating({
    columns: catalog,
    scoring,
    predictions: new KeptPredictions(new PredictionCache(data.predictions), catalog.columns.adKeyLow, now),
    rates: new CountedRates(clickRates, catalog, now),
  }),
  auction: auctioneer,
  telemetry,
  now,
  model: () => model,
  candidateCountMax: config.candidateCountMax,
  precutMax: config.precutMax,
  mlBudgetMs: config.mlBudgetMs,
  hasSecureNotices,
  onError,
});

const context = {
  flights: new FlightPool(config.inFlightMax),
  admission: new AdmissionControl({ inFlightMax: config.inFlightMax, mlBudgetMs: config.mlBudgetMs }),
  flow,
  scoring,
  placeValues: new PlaceValues({ premiumNanos: config.tierPremiumNanos, standardNanos: config.tierStandardNanos }),
  auction: auctioneer,
  log: {
    writeAuction: (draft: Parameters<LogChannel['writeAuction']>[0]): number => {
      recent.note(draft);
      return channel.writeAuction(draft);
    },
  },
  telemetry,
  ids: new AuctionIds(data.idNonce),
  tieSeed: data.tieSeed,
  now,
  catalogVersion: () => catalog.version,
  candidateCountMax: config.candidateCountMax,
  marginPpm: config.marginPpm,
  safetyMs: config.deadlineSafetyMs,
  qualityExponent: config.qualityExponent,
  card: (row: number) => cards.of(row),
  sign: (claims: Parameters<NoticeSigner['sign']>[0]) => signer.sign(claims),
  generationOf: (reservation: number) => ledger.generationOf(reservation),
  visitOf: (flight: Flight, row: number) => ratedVisit(catalog, flight, row),
  publicUrl: () => publicUrl,
  callers: callersOf(data.callers, { tmaxMs: config.tmaxMs }),
  get rates() {
    return ratesFile.rates;
  },
  bodyBytesMax: config.bodyBytesMax,
  onFault: ({ code, path }: RequestFault, callerId: string): void => {
    const kind = `${code} ${path} (${callerId === '' ? 'unknown caller' : callerId})`;
    const isKnown = faultsOfSecond[kind] !== undefined || Object.keys(faultsOfSecond).length < faultKindsMax;
    const key = isKnown ? kind : 'others';
    faultsOfSecond[key] = (faultsOfSecond[key] ?? 0) + 1;
  },
  onError,
  rowOfAd: (adId: string) => catalog.rowOfAd(lineItemIds.get(lineItemIdOf(adId)), adId),
  isLive: (row: number) => catalog.isLive(row),
};
let publicUrl = config.publicUrl.replace(/\/+$/u, '');

const pipeline = new BidPipeline(context);
const routes = [
  ...pipeline.routes,
  ...new PredictEndpoint(context).routes,
  ...new AuctionEndpoint(context).routes,
  ...noticeRoutes({
    signer,
    ledger,
    seen,
    caps,
    channel,
    userEvents,
    telemetry,
    now,
    lineItemOfAd: (adId) => lineItemIds.get(lineItemIdOf(adId)),
    lineItemId: (lineItem) => catalog.lineItemId(lineItem),
    catalog,
    counts: new CountedNotices(clickRates, catalog),
    onError,
    toCatalogNanos: (nanos, currency) => toCatalogNanos(ratesFile.rates, nanos, currency),
  }),
  ...healthRoutes(() => !isDraining),
];

const listener = config.http === 'node' ? nodeListener : uwsListener;
const listening: ListeningHttp = await listener.listen({
  host: config.bidHost,
  port: data.port,
  routes,
  limits: { ...defaultHttpLimits, bodyBytesMax: config.bodyBytesMax },
  now,
  onError,
});
port = listening.port;
if (publicUrl === '') publicUrl = urlOf(config.bidHost, port);
scoring.start();

const lag = new EventLoopLag(telemetry);
const timer = setInterval(() => {
  telemetry.gauge(gaugeIndex.in_flight, context.admission.inFlight);
  telemetry.gauge(gaugeIndex.load_level, context.admission.ladder.levelIndex);
  tell({ kind: 'second', auctions: recent.take(), faults: faultsOfSecond, lookup: lookup.status() });
  faultsOfSecond = {};
}, secondMs);
const ratesTimer = setInterval(() => void ratesFile.check(), ratesCheckMs);

parentPort?.on('message', (message: ToServingThread) => {
  if (message.kind === 'model') {
    model = servedModel(message.model, catalog.adLineItem);
    tell({ kind: 'model-taken', slot: model.slot });
  } else if (message.kind === 'invalidate') {
    if (message.keys === 'all') lookup.invalidateTable(message.table);
    else for (const key of message.keys) lookup.invalidate(message.table, Buffer.from(key));
  } else void drain(message.graceMs).catch(onError);
});
tell({ kind: 'listening', port });

/** Not ready any more, then no new connections; answers what is owed; then this thread may be ended. */
async function drain(graceMs: number): Promise<void> {
  await drainListener(listening, graceMs, () => {
    isDraining = true;
  });
  scoring.stop();
  await Promise.all([stores.close(), lookup.close()]);
  lag.stop();
  clearInterval(timer);
  clearInterval(ratesTimer);
  tell({ kind: 'drained' });
}

function callersOf(text: string, defaults: CallerDefaults) {
  if (text === '') return onlyDefaultCaller(defaults);
  const reading = readCallers(text, defaults);
  if (reading.kind === 'problems') throw fileError('CALLERS_INVALID', reading.problems);
  return reading.callers;
}
