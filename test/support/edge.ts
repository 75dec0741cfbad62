import { lineItemIdOf } from '#auction/catalog-spec.ts';
import { BudgetLedger } from '#auction/budget-ledger.ts';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import { ClickRates } from '#auction/click-rates.ts';
import { FrequencyCaps } from '#auction/frequency-caps.ts';
import { PacingRates } from '#auction/pacing.ts';
import { SeenNotices } from '#auction/seen-notices.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import { UserHash } from '#auction/user-hash.ts';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { MemoryStore } from '#embeddings/stores/memory-store.ts';
import type { KeyValueStore } from '#embeddings/stores/store.ts';
import { StoreError } from '#embeddings/stores/store-errors.ts';
import { UserEmbeddingRows } from '#embeddings/users/user-embedding-row.ts';
import type { CalibratedRung } from '#inference/calibration.ts';
import { PredictionCache } from '#inference/prediction-cache.ts';
import { AdmissionControl } from '#server/admission.ts';
import { AuctionEndpoint } from '#server/auction-endpoint.ts';
import { Auctioneer } from '#server/auctioneer.ts';
import { AuctionFlow } from '#server/auction-flow.ts';
import { AuctionIds } from '#server/auction-ids.ts';
import { BidPipeline } from '#server/bid-pipeline.ts';
import type { RequestFault } from '#server/bid-request.ts';
import { type Callers, onlyDefaultCaller } from '#server/callers.ts';
import { CandidateRating } from '#server/candidate-rating.ts';
import { CandidateStage } from '#server/candidate-stage.ts';
import { ContextVocabulary } from '#server/context-words.ts';
import { CountedNotices } from '#server/counted-notices.ts';
import { CountedRates, ratedVisit } from '#server/counted-rates.ts';
import type { Flight } from '#server/flight.ts';
import { FlightPool } from '#server/flight-pool.ts';
import { healthRoutes } from '#server/health-endpoints.ts';
import type { HttpListener, ListeningHttp } from '#server/http-listener.ts';
import { KeptPredictions } from '#server/kept-predictions.ts';
import { noticeRoutes } from '#server/notice-endpoint.ts';
import { NoticeSigner } from '#server/notice-tokens.ts';
import type { ScoringOutcome, ServingModel } from '#server/pipeline-ports.ts';
import { PredictEndpoint } from '#server/predict-endpoint.ts';
import { type Rates, toCatalogNanos, usdOnly } from '#server/rates.ts';
import { Retrieval } from '#server/retrieval.ts';
import { type CounterName, Telemetry } from '#server/telemetry.ts';
import { UserEvents } from '#server/user-events.ts';
import { UserLookup } from '#server/user-lookup.ts';
import { userLookupTables } from '#server/user-tables.ts';
import { uwsListener } from '#server/uws-listener.ts';
import { PlaceValues } from '#server/value-tiers.ts';
import { decodeAuction } from '#training-bridge/auction-decoder.ts';
import { AuctionEncoder } from '#training-bridge/auction-encoder.ts';
import type { AuctionDraft, NoticeRecord } from '#training-bridge/event-records.ts';
import { smallCatalog } from './small-catalog.ts';
import { StandInScoring } from './stand-in-scoring.ts';

export type EdgeOptions = {
  readonly listener?: HttpListener;
  readonly callers?: Callers;
  readonly rates?: Rates;
  readonly publicUrl?: string;
  readonly marginPpm?: number;
  readonly inFlightMax?: number;
  readonly bodyBytesMax?: number;
  readonly safetyMs?: number;
  readonly tmaxMs?: number;
  /** Catalog file; `smallCatalog()` by default. */
  readonly catalog?: object;
  /** Calibrated click probability of an ad on the rungs that use a model; 0.02 by default. */
  readonly click?: (adId: string) => number;
  /** How long the scoring threads take; 0 by default. Infinity: they never answer. */
  readonly scoringMs?: number;
  /** Users that the profile table knows. */
  readonly knownUsers?: readonly string[];
  /** Whether the model can read stored vectors: then they are asked for. */
  readonly readsVectors?: boolean;
};

export type EdgeAnswer = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Undefined when the body is not JSON. */
  readonly json: EdgeJson | undefined;
  /** The first bid of the first seat; undefined when there is none. */
  readonly bid: EdgeBid | undefined;
};

export type EdgeBid = {
  readonly id: string;
  readonly impid: string;
  readonly price: number;
  readonly adid: string;
  readonly crid: string;
  readonly cid: string;
  readonly adomain: readonly string[];
  readonly cat?: readonly string[];
  readonly cattax?: number;
  readonly attr?: readonly number[];
  readonly w?: number;
  readonly h?: number;
  readonly mtype: number;
  readonly dur?: number;
  readonly protocol?: number;
  readonly exp: number;
  readonly nurl: string;
  readonly burl: string;
  readonly lurl: string;
  readonly adm: string;
  readonly ext?: { readonly gavelin: Readonly<Record<string, unknown>> };
};

/** Whatever any of the surfaces may say. */
export type EdgeJson = {
  readonly id?: string;
  readonly bidid?: string;
  readonly cur?: string;
  readonly nbr?: number;
  readonly seatbid?: readonly { readonly seat: string; readonly bid: readonly EdgeBid[] }[];
  readonly ext?: { readonly gavelin: { readonly reason: string } };
  readonly error?: { readonly code: string; readonly path: string; readonly message: string };
  readonly auction_id?: string;
  readonly model_id?: string;
  readonly rung?: string;
  readonly predictions?: readonly { readonly ad_id: string; readonly p_click: number; readonly p_conversion: number }[];
  readonly slots?: readonly {
    readonly id: string;
    readonly status: string;
    readonly reason: string;
    readonly ad_id?: string;
    readonly line_item_id?: string;
    readonly advertiser_id?: string;
    readonly price_nanos?: number;
    readonly price_type?: string;
    readonly notices?: Readonly<Record<string, string>>;
  }[];
};

const userDimension = 64;
const crossDimension = 16;
const q30One = 2 ** 30;

/** How stored vectors lie, for `readsVectors`. */
export const edgeUserRows = new UserEmbeddingRows('0123456789abcdef', {
  dimension: userDimension,
  min: new Float32Array(userDimension).fill(-1),
  max: new Float32Array(userDimension).fill(1),
  mean: new Float32Array(userDimension),
});

/**
 * The bid port of a serving thread without its pod: the real listener, pipeline, catalog, index, budgets, caps, decider, tokens,
 * notices and record codec. Only the model and its threads are stand-ins with known probabilities.
 */
export class Edge {
  readonly telemetry = new Telemetry();
  readonly faults: RequestFault[] = [];
  readonly errors: unknown[] = [];
  /** What a ranker or rates threw that requests were answered without. */
  readonly rankerErrors: unknown[] = [];
  /** What the log would hold, after a way through its bytes. */
  readonly records: AuctionDraft[] = [];
  readonly notices: NoticeRecord[] = [];
  readonly writer;
  readonly catalog;
  readonly ledger;
  readonly caps;
  readonly pacing;
  readonly clickRates = new ClickRates(ClickRates.allocate({ singles: 1024, pairs: 1024 }));
  readonly placeValues = new PlaceValues({ premiumNanos: 5_000_000, standardNanos: 500_000 });
  readonly predictions = new PredictionCache(PredictionCache.allocate(1024));
  /** What all tables of users lie in. */
  readonly store;
  readonly signer = new NoticeSigner(new Uint8Array(32).fill(7));
  readonly admission;
  /** From now on, what the scoring threads make of their work, and the light ranker of its own. */
  scoringOutcome: ScoringOutcome | 'RING_FULL' = 'SCORED';
  rankerFault: 'throws' | 'no number' | undefined;
  /** The store of profiles refuses whatever it is asked. */
  areProfilesDown = false;
  /** The vector that the light ranker was last told of; it then thinks twice as much of every ad. */
  rankedVector: Float32Array | undefined;
  /** Added to the clock: a test that makes time pass. */
  skewMs = 0;
  readonly #options: EdgeOptions;
  #listening: ListeningHttp | undefined;

  constructor(options: EdgeOptions = {}) {
    this.#options = options;
    const read = readCatalogText(JSON.stringify(options.catalog ?? smallCatalog()));
    if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
    this.writer = buildCatalog(read.spec);
    this.catalog = this.writer.catalog;
    this.ledger = new BudgetLedger(BudgetLedger.allocate(this.catalog.lineItemCapacity));
    for (let lineItem = 0; lineItem < this.catalog.lineItemCount; lineItem++)
      this.ledger.setBudget(lineItem, this.catalog.liBudgetNanos[lineItem]!);
    this.caps = new FrequencyCaps(FrequencyCaps.allocate());
    this.store = new MemoryStore({ now: this.now });
    this.pacing = new PacingRates(PacingRates.allocate(this.catalog.lineItemCapacity));
    this.admission = new AdmissionControl({ inFlightMax: options.inFlightMax ?? 64, mlBudgetMs: 1000 });
  }

  static async start(options: EdgeOptions = {}): Promise<Edge> {
    const edge = new Edge(options);
    await edge.#listen();
    return edge;
  }

  readonly now = (): number => performance.timeOrigin + performance.now() + this.skewMs;

  get port(): number {
    return this.#listening!.port;
  }

  async #listen(): Promise<void> {
    const { catalog, ledger, caps, telemetry, signer, now } = this;
    const options = this.#options;
    const rowOfAd = (adId: string): number => this.writer.rowOfAd(adId);
    const userHash = new UserHash(3, 4);
    const auction = new Auctioneer({ catalog, ledger, pacing: this.pacing, telemetry, now });
    const hasSecureNotices = (): boolean => options.publicUrl?.startsWith('https:') ?? false;
    const retrieval = new Retrieval(new TargetingIndex(this.writer.indexShared, catalog), hasSecureNotices);
    const scoring = new StandInScoring(
      (row) => this.#clickOf(row),
      options.scoringMs ?? 0,
      (slot) => flow.finished(slot, this.scoringOutcome === 'RING_FULL' ? 'SCORED' : this.scoringOutcome),
      now,
      () => this.scoringOutcome === 'RING_FULL',
    );
    const model = this.#model();
    const { store } = this;
    const batch = refusable(store, () => this.areProfilesDown);
    const stores = { realtime: store, embeddings: store, batch, history: batch };
    const tables = userLookupTables(stores, { cacheMs: 0, userDimension });
    const lookup = new Lookup({ tables, now, onError: (error) => this.errors.push(error) });
    const window = { windowCountMax: 50, windowMs: 86_400_000 };
    const userEvents = new UserEvents({ store, subjectHash: new UserHash(5, 6), telemetry, ...window });
    const flow = new AuctionFlow({
      retrieval,
      candidates: new CandidateStage(catalog, retrieval, auction, 2000),
      caps: {
        lookup: (flight, nowMs) => {
          userHash.of(flight.request!.user.key);
          flight.userHashHigh = userHash.high;
          flight.userHashLow = userHash.low;
          caps.collect(userHash.high, userHash.low, nowMs, catalog.liCapCount, catalog.liCapWindowMs, flight);
        },
      },
      users: new UserLookup({ lookup, now, lookupMs: 3, ...window }),
      userEvents,
      scoring,
      rating: new CandidateRating({
        columns: catalog,
        scoring,
        predictions: new KeptPredictions(this.predictions, catalog.columns.adKeyLow, now),
        rates: new CountedRates(this.clickRates, catalog, now),
      }),
      auction,
      telemetry,
      now,
      model: () => model,
      candidateCountMax: 200,
      precutMax: 2000,
      mlBudgetMs: 1000,
      hasSecureNotices,
      onError: (error) => this.rankerErrors.push(error),
    });
    const encoder = new AuctionEncoder();
    const context = {
      flights: new FlightPool(options.inFlightMax ?? 64),
      admission: this.admission,
      flow,
      scoring,
      placeValues: this.placeValues,
      auction,
      log: {
        writeAuction: (draft: AuctionDraft): number => {
          const length = encoder.encode(draft);
          this.records.push(decodeAuction(encoder.bytes.slice(0, length)));
          return length;
        },
      },
      telemetry,
      ids: new AuctionIds(0x1234_5678),
      tieSeed: { high: 1, low: 2 },
      now,
      catalogVersion: () => catalog.version,
      marginPpm: options.marginPpm ?? 0,
      qualityExponent: 1,
      safetyMs: options.safetyMs ?? 5,
      card: (row: number) => catalog.card(row),
      sign: (claims: Parameters<NoticeSigner['sign']>[0]) => signer.sign(claims),
      generationOf: (reservation: number) => ledger.generationOf(reservation),
      visitOf: (flight: Flight, row: number) => ratedVisit(catalog, flight, row),
      publicUrl: () => options.publicUrl ?? `http://127.0.0.1:${this.port}`,
      callers: options.callers ?? onlyDefaultCaller({ tmaxMs: options.tmaxMs ?? 5000 }),
      rates: options.rates ?? usdOnly,
      bodyBytesMax: options.bodyBytesMax ?? 262_144,
      onFault: (fault: RequestFault) => this.faults.push(fault),
      onError: (error: unknown) => this.errors.push(error),
      rowOfAd,
      isLive: (row: number) => catalog.isLive(row),
    };
    this.#listening = await (options.listener ?? uwsListener).listen({
      host: '127.0.0.1',
      port: 0,
      routes: [
        ...new BidPipeline(context).routes,
        ...new PredictEndpoint(context).routes,
        ...new AuctionEndpoint(context).routes,
        ...healthRoutes(() => true),
        ...noticeRoutes({
          signer,
          ledger,
          seen: new SeenNotices(SeenNotices.allocate(1024)),
          caps,
          channel: {
            fault: undefined,
            writeNotice: (notice) => this.notices.push({ ...notice }),
            onDurable: () => Promise.resolve('DURABLE'),
            onAllDurable: () => Promise.resolve('DURABLE'),
          },
          userEvents,
          telemetry,
          now,
          lineItemOfAd: (adId) => this.writer.lineItemOf(lineItemIdOf(adId)),
          lineItemId: (lineItem) => catalog.lineItemId(lineItem),
          catalog,
          counts: new CountedNotices(this.clickRates, catalog),
          onError: (error) => this.errors.push(error),
          toCatalogNanos: (nanos, currency) => toCatalogNanos(context.rates, nanos, currency),
        }),
      ],
      limits: { bodyBytesMax: options.bodyBytesMax ?? 262_144 },
      now,
      onError: (error) => this.errors.push(error),
    });
  }

  #clickOf(row: number): number {
    return this.#options.click?.(this.catalog.adId(row)) ?? 0.02;
  }

  /** A model whose logits are the probabilities themselves: calibration is then the identity. */
  #model(): ServingModel {
    const known = new Map((this.#options.knownUsers ?? []).map((key, index) => [key, index + 1]));
    const vocabulary = new ContextVocabulary({ version: 1, user: [], ad: [], context: [], cross: [] });
    const vector = new Float32Array(userDimension);
    const noIds = new Uint32Array(10);
    // Rates are logits of probabilities whoever the model is.
    const q30 = (rung: CalibratedRung, logit: number): number => {
      const p = rung === 'smoothed-rate' ? 1 / (1 + Math.exp(-logit)) : logit;
      return p > 0 ? Math.max(1, Math.round(p * q30One)) : 0;
    };
    return {
      slot: 0,
      modelId: 'test-model',
      calibratorId: 'test-calibrator',
      predictionKey: 7,
      userSegmentOf: (userIds) => userIds[0]!,
      users: {
        idsPerUser: noIds.length,
        rowOf: (key) => known.get(key) ?? 0,
        vectorOf: () => vector,
        idsOf: () => noIds,
      },
      sinceMs: 0,
      userRows: this.#options.readsVectors === true ? edgeUserRows : undefined,
      averageUserVector: vector,
      segmentWordsOf: () => [],
      profileIdsInto: (_profile, ids) => ids.fill(0),
      vocabulary,
      ranker: {
        prepare: (_contextIds, _userIds, userVector) => {
          this.rankedVector = userVector;
        },
        score: (rows, count, logits) => {
          if (this.rankerFault === 'throws') throw new Error('broken on purpose');
          if (this.rankerFault === 'no number') return void logits.fill(Number.NaN, 0, count);
          for (let index = 0; index < count; index++)
            logits[index] = this.#clickOf(rows[index]!) * (this.rankedVector === undefined ? 1 : 2);
        },
      },
      requestVectorInto: (target) => target.fill(0, 0, userDimension),
      crossInto: (target, _rows, _from, count) => target.fill(0.5, 0, count * crossDimension),
      clicksQ30Into: (rung, logits, first, count, target) => {
        for (let at = first; at < first + count; at++) target[at] = q30(rung, logits[at]!);
      },
      clickQ30: q30,
      conversionQ30: q30,
      lightConversionLogit: () => 0.1,
    };
  }

  counter(name: CounterName): number {
    return this.telemetry.counterValue(name);
  }

  /** What the budgets hold, whole: equal before and after whatever moves no money. */
  money(): string {
    const lines = Array.from({ length: this.catalog.lineItemCount }, (_, lineItem) => this.ledger.snapshot(lineItem));
    return JSON.stringify(lines, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
  }

  reservedNanos(): bigint {
    let sum = 0n;
    for (let lineItem = 0; lineItem < this.catalog.lineItemCount; lineItem++)
      sum += this.ledger.snapshot(lineItem).reservedNanos;
    return sum;
  }

  async request(method: string, path: string, init: RequestInit = {}): Promise<EdgeAnswer> {
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, { method, redirect: 'manual', ...init });
    const text = await answer.text();
    const isJson = answer.headers.get('content-type') === 'application/json';
    const json = isJson ? (JSON.parse(text) as EdgeJson) : undefined;
    return { status: answer.status, headers: answer.headers, text, json, bid: json?.seatbid?.[0]?.bid[0] };
  }

  async post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<EdgeAnswer> {
    const raw = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
    return this.request('POST', path, {
      body: raw,
      headers: { 'content-type': 'application/json', ...headers },
    });
  }

  bid(body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<EdgeAnswer> {
    return this.post('/openrtb2/bid', body, headers);
  }

  /** Throws what broke meanwhile, and when a request never ended. */
  async stop(): Promise<void> {
    await this.#listening?.close(0);
    if (this.errors.length > 0) throw new AggregateError(this.errors, String(this.errors[0]));
    if (this.admission.inFlight !== 0) throw new Error(`${this.admission.inFlight} requests never ended`);
  }
}

/** The same store under a name of its own, which reads nothing while it is down. */
function refusable(store: KeyValueStore, isDown: () => boolean): KeyValueStore {
  return {
    kind: store.kind,
    shardCount: store.shardCount,
    shardOf: (key) => store.shardOf(key),
    copyCount: (shard) => store.copyCount(shard),
    copyName: (shard, copy) => `refusable ${store.copyName(shard, copy)}`,
    read: (shard, copy, keys) => {
      if (isDown()) throw new StoreError('STORE_UNREACHABLE');
      return store.read(shard, copy, keys);
    },
    write: (entries) => store.write(entries),
    remove: (keys) => store.remove(keys),
    ready: () => store.ready(),
    close: () => store.close(),
  };
}
