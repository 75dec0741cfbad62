import { wordKeyOf } from '#auction/ad-keys.ts';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import type { Catalog } from '#auction/catalog.ts';
import { ClickRates, interests } from '#auction/click-rates.ts';
import { expectedValueNanos } from '#auction/expected-value.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import type { ImpressionContext } from '#deploy/demo/context.ts';
import { OrdinaryRequests } from '#deploy/demo/bid-requests.ts';
import type { DemoFiles } from '#deploy/demo/demo-files.ts';
import { segments, segmentsPerUserMax } from '#deploy/demo/words.ts';
import type { World } from '#deploy/demo/world.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { placeCount } from '#inference/field-places.ts';
import { LoadedModel } from '#inference/loaded-model.ts';
import { buildModelShared } from '#inference/model-tables.ts';
import { PredictionCache } from '#inference/prediction-cache.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { floats, Graph, integers } from '#inference/tower.ts';
import { openUserTower } from '#inference/user-tower.ts';
import { AuctionFlow } from '#server/auction-flow.ts';
import type { BidRequest } from '#server/bid-request.ts';
import { CandidateRating } from '#server/candidate-rating.ts';
import { CandidateStage } from '#server/candidate-stage.ts';
import { ContextVocabulary } from '#server/context-words.ts';
import { CountedRates, ratedAd } from '#server/counted-rates.ts';
import { Flight } from '#server/flight.ts';
import { KeptPredictions } from '#server/kept-predictions.ts';
import { readBidRequest } from '#server/openrtb-request.ts';
import type { AuctionPort, ScoringOutcome, ScoringPort, ServingModel, UserPort } from '#server/pipeline-ports.ts';
import { Retrieval } from '#server/retrieval.ts';
import { lossBits } from '#server/rung-after.ts';
import { Telemetry } from '#server/telemetry.ts';
import { type AuctionDraft, surfaceNumbers } from '#training-bridge/event-records.ts';
import type { ImpressionSet } from '#training-bridge/impression-set.ts';
import { entityRows } from '#training-bridge/training-rows.ts';

const rowsPerRun = 2048;
/** A Wednesday after the log, at an hour when people click as they do on average (world.ts), whatever the machine's clock says. */
const marketMs = Date.UTC(2026, 2, 11, 14);

/** One visit: what the exchange sends and who it is really about. */
export type Visit = {
  readonly request: BidRequest;
  readonly user: number;
  readonly context: ImpressionContext;
};

/** What became of it. `ad` −1: nothing was offered. */
export type Outcome = { readonly rung: number; readonly ad: number; readonly clickQ30: number };

/**
 * The demo market with its own model, catalog and targeting, and the flow that serves them, in one thread and without HTTP, so
 * that the same visits can be answered on every rung: what is lost is said, not broken. Budgets and caps are left out: an auction
 * decides by expected value alone.
 */
export class LadderMarket {
  readonly world: World;
  readonly catalog: Catalog;
  readonly rates = new ClickRates(ClickRates.allocate({ singles: 65_536, pairs: 262_144 }));
  readonly adOfRow: Uint32Array;
  /** Candidates of the last visit. */
  readonly flight = new Flight();
  #nowMs = marketMs;
  #hasProfile = true;
  #outcome: ScoringOutcome = 'SCORED';
  #bestNanos = 0;
  readonly #flow: AuctionFlow;
  readonly #scoring: GraphScoring;
  readonly #retrieval: Retrieval;
  readonly #eligible = new Uint32Array(2000);
  readonly #rowOfAd: Int32Array;
  readonly #visits: OrdinaryRequests;

  private constructor(
    world: World,
    catalog: Catalog,
    index: TargetingIndex,
    model: LoadedModel,
    users: UserPort,
    scoring: GraphScoring,
    seed: number,
  ) {
    this.world = world;
    this.catalog = catalog;
    this.#scoring = scoring;
    const { layout } = world;
    const numbers = new Map(Array.from({ length: layout.adLineItem.length }, (_, ad) => [layout.adId(ad), ad]));
    this.adOfRow = Uint32Array.from({ length: catalog.adCount }, (_, row) => numbers.get(catalog.adId(row))!);
    this.#rowOfAd = new Int32Array(layout.adLineItem.length).fill(-1);
    for (const [row, ad] of this.adOfRow.entries()) this.#rowOfAd[ad] = row;
    this.#visits = new OrdinaryRequests(layout, seededRandom(seed), 'ladder');
    const now = (): number => this.#nowMs;
    const retrieval = new Retrieval(index);
    this.#retrieval = retrieval;
    const auction = this.#auction();
    const served = this.#served(model, users);
    this.#flow = new AuctionFlow({
      retrieval,
      candidates: new CandidateStage(catalog, retrieval, auction, 2000),
      caps: { lookup: () => {} },
      users: { begin: (flight, request) => this.#tellUser(flight, request, users), take: () => {} },
      userEvents: { queried: () => {} },
      scoring,
      rating: new CandidateRating({
        columns: catalog,
        scoring,
        predictions: new KeptPredictions(
          new PredictionCache(PredictionCache.allocate()),
          catalog.columns.adKeyLow,
          now,
        ),
        rates: new CountedRates(this.rates, catalog, now),
      }),
      auction,
      telemetry: new Telemetry(),
      now,
      model: () => served,
      candidateCountMax: 200,
      precutMax: 2000,
      mlBudgetMs: 1000,
      hasSecureNotices: () => true,
      onError: (error) => {
        throw error;
      },
    });
  }

  static async open(
    world: World,
    log: ImpressionSet,
    files: DemoFiles,
    bundleFolder: string,
    seed: number,
  ): Promise<LadderMarket> {
    const read = readCatalogFile(files.catalog);
    if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
    const writer = buildCatalog(read.spec);
    const { catalog } = writer;
    const bundle = await readBundle(bundleFolder, 'any');
    const tables = await buildModelShared(
      bundle,
      0,
      (row) => catalog.adWords(row),
      catalog.adCount,
      catalog.adCapacity,
    );
    const { shared } = tables;
    const loaded = new LoadedModel(shared, catalog.adLineItem);
    const graph = await Graph.open(new Uint8Array(shared.graph), 'serve.onnx');
    const scoring = new GraphScoring(graph, shared.tables, bundle.head.dims.heads);
    const { users } = log;
    const towerIds = Int32Array.from(entityRows(bundle.schema.user, users));
    const ids = entityRows(bundle.schema.user, users, 1);
    const [towerWidth, idWidth] = [placeCount(bundle.schema.user), placeCount(bundle.schema.user.slice(1))];
    const dimension = bundle.head.dims.user;
    const vectors = new Float32Array(users.ids.length * dimension);
    const tower = await openUserTower(bundle);
    for (let from = 0; from < users.ids.length; from += rowsPerRun) {
      const count = Math.min(rowsPerRun, users.ids.length - from);
      const input = towerIds.slice(from * towerWidth, (from + count) * towerWidth);
      vectors.set(await tower.vectors(input, count), from * dimension);
    }
    await tower.close();
    await tables.close();
    const rows = new Map(users.ids.map((id, row) => [id, row]));
    const known: UserPort = {
      rowOf: (key) => rows.get(key) ?? 0,
      idsPerUser: idWidth,
      vectorOf: (row) => vectors.subarray(row * dimension, (row + 1) * dimension),
      idsOf: (row) => ids.subarray(row * idWidth, (row + 1) * idWidth),
    };
    return new LadderMarket(
      world,
      catalog,
      new TargetingIndex(writer.indexShared, catalog),
      loaded,
      known,
      scoring,
      seed,
    );
  }

  /** Lets time pass, as the cache of predictions sees it. */
  pass(ms: number): void {
    this.#nowMs += ms;
  }

  /** Counts the views, clicks and conversions of the log as notices would have. */
  countLog(impressions: ImpressionSet): void {
    const { layout } = this.world;
    const width = placeCount(impressions.schema.context);
    const sites = ['', ...Array.from({ length: layout.siteCount }, (_, site) => layout.siteId(site))].map(wordKeyOf);
    for (let row = 0; row < impressions.rowCount; row++) {
      const adRow = this.#rowOfAd[impressions.adIndex[row]! - 1]!;
      if (adRow < 0) continue;
      const user = impressions.userIndex[row]! - 1;
      const ad = ratedAd(this.catalog, adRow);
      const names = this.#segmentsOf(user).map(wordKeyOf).includes(ad.category);
      const interest = user < 0 ? interests.unknown : names ? interests.named : interests.other;
      const visit = { site: sites[impressions.contextIds[row * width]!]!, interest };
      this.rates.recordView(ad, visit);
      if (impressions.click[row] === 1) this.rates.recordClick(ad, visit);
      if (impressions.conversion[row] === 1) this.rates.recordConversion(ad);
    }
  }

  /** The next visit, seeded; all within one hour, since kept predictions live for one. */
  next(): Visit {
    for (;;) {
      const { body, user, context } = this.#visits.next(marketMs);
      const request = readBidRequest(body as Parameters<typeof readBidRequest>[0], {
        defaultAuctionType: 2,
        userIdFields: ['buyeruid', 'id'],
        isSecureByDefault: false,
      });
      if (request.kind === 'fault') throw new Error(`${request.path} ${request.message}`);
      // Who gave no consent is nobody on every rung.
      if (user >= 0 && request.user.key === '') continue;
      return { request, user, context };
    }
  }

  /** Answers a visit with `lost` (bits of `lossBits`) lost; `ads` names the candidates, else they are chosen. */
  async answer(visit: Visit, lost: number, head: ScoringOutcome, ads?: readonly number[]): Promise<Outcome> {
    const { flight } = this;
    flight.reset();
    flight.lost = lost;
    this.#outcome = head;
    this.#hasProfile = (lost & lossBits.profile) === 0;
    let isDone = false;
    flight.done = () => (isDone = true);
    flight.draft.surface = ads === undefined ? surfaceNumbers.openrtb : surfaceNumbers.predict;
    if (ads !== undefined) {
      flight.namedRows.set(ads.map((ad) => this.#rowOfAd[ad]!));
      flight.namedRowCount = ads.length;
    }
    this.#bestNanos = 0;
    this.#flow.run(flight, visit.request);
    for (const slot of await this.#scoring.run()) this.#flow.finished(slot, this.#outcome);
    if (!isDone) throw new Error('a flight never ended');
    const winner = flight.draft.impWinner[0]!;
    if (ads !== undefined || winner < 0) return { rung: flight.rung, ad: -1, clickQ30: 0 };
    return {
      rung: flight.rung,
      ad: this.adOfRow[flight.draft.candidateAdRow[winner]!]!,
      clickQ30: flight.draft.candidateClickQ30[winner]!,
    };
  }

  /** The most that any ad that may be shown is worth by these rates (and true conversions), and what it is truly worth, nanos. */
  best(visit: Visit, clickRateOf: (ad: number) => number): number {
    const { request, user, context } = visit;
    this.#retrieval.begin(request, marketMs, this.#segmentsOf(user));
    const rows = this.#eligible.subarray(0, this.#retrieval.select(0, this.#eligible.length, this.#eligible));
    const { adLineItem, liPriceType, liBidNanos } = this.catalog;
    let best = -1;
    let bestNanos = request.imps[0]!.floorNanos;
    for (const row of rows) {
      const ad = this.adOfRow[row]!;
      const type = liPriceType[adLineItem[row]!]!;
      const conversion = type === 2 ? this.world.trueConversionProbability(user, ad, context) : 1;
      const nanos = liBidNanos[adLineItem[row]!]! * (type === 0 ? 1 : clickRateOf(ad)) * conversion;
      if (nanos < bestNanos) continue;
      best = ad;
      bestNanos = nanos;
    }
    return best < 0 ? 0 : this.trueValueNanos(visit, best);
  }

  /** What an impression of this ad is truly worth to us, nanos. */
  trueValueNanos({ user, context }: Visit, ad: number): number {
    const row = this.#rowOfAd[ad]!;
    const lineItem = this.catalog.adLineItem[row]!;
    const type = this.catalog.liPriceType[lineItem]!;
    const bid = this.catalog.liBidNanos[lineItem]!;
    if (type === 0) return bid;
    const click = this.world.trueClickProbability(user, ad, context, 0);
    return type === 1 ? bid * click : bid * click * this.world.trueConversionProbability(user, ad, context);
  }

  #served(loaded: LoadedModel, users: UserPort): ServingModel {
    return {
      slot: 0,
      modelId: loaded.modelId,
      calibratorId: loaded.calibratorId,
      users,
      sinceMs: 0,
      userRows: undefined,
      segmentWordsOf: () => [],
      profileIdsInto: () => {},
      predictionKey: loaded.predictionKey,
      userSegmentOf: (userIds) => loaded.userSegments.of(userIds),
      averageUserVector: loaded.userScale!.mean,
      vocabulary: new ContextVocabulary(loaded.schema),
      ranker: loaded.ranker,
      requestVectorInto: (target, vector, contextIds) => loaded.requestVectorInto(target, vector, contextIds),
      crossInto: (target, adRows, from, count, facts) => loaded.crossInto(target, adRows, from, count, facts),
      clicksQ30Into: (rung, logits, first, count, target) => loaded.clicksQ30Into(rung, logits, first, count, target),
      clickQ30: (rung, logit) => loaded.clickQ30(rung, logit),
      conversionQ30: (rung, logit) => loaded.conversionQ30(rung, logit),
      lightConversionLogit: (row) => loaded.lightConversionLogit(row),
    };
  }

  /** Who is it, as long as the profile is not lost. */
  #tellUser(flight: Flight, request: BidRequest, users: UserPort): boolean {
    const row = request.user.key === '' ? 0 : users.rowOf(request.user.key);
    flight.userRow = row;
    flight.userVector = users.vectorOf(row, flight.ownVector);
    flight.userIds.set(users.idsOf(this.#hasProfile ? row : 0));
    flight.storedSegments = this.#hasProfile ? this.#segmentsOf(row - 1) : [];
    return true;
  }

  /** Words of a demo user by number; none of nobody. */
  #segmentsOf(user: number): readonly string[] {
    if (user < 0) return [];
    const held = this.world.layout.userSegments.subarray(user * segmentsPerUserMax, (user + 1) * segmentsPerUserMax);
    return Array.from(held).flatMap((segment) => (segment === 0 ? [] : [segments[segment - 1]!]));
  }

  /** By expected value above the floor; quality is left out, since revenue is what is measured. */
  #auction(): AuctionPort {
    const decide = (draft: AuctionDraft): void => {
      draft.impWinner.fill(-1);
      const floorNanos = this.flight.request!.imps[0]!.floorNanos;
      for (let at = 0; at < draft.candidateCount; at++) {
        const click = draft.candidateClickQ30[at]!;
        const conversion = draft.candidateConversionQ30[at]!;
        if (click === 0) continue;
        const value = expectedValueNanos(
          draft.candidateBidNanos[at]!,
          draft.candidatePriceType[at]!,
          click,
          conversion,
        );
        if (value < floorNanos || value <= this.#bestNanos) continue;
        this.#bestNanos = value;
        draft.impWinner[0] = at;
      }
    };
    return {
      passingPacing: (_rows, count, _hash, places) => {
        for (let place = 0; place < count; place++) places[place] = place;
        return count;
      },
      decide,
      giveBack: () => {},
    };
  }
}

/** The serving graph in this thread: what is submitted is scored by the next `run`. */
class GraphScoring implements ScoringPort {
  readonly #graph: Graph;
  readonly #tables: Readonly<Record<string, ReturnType<typeof floats>>>;
  readonly #heads: number;
  readonly #slots = new Map<
    number,
    { user: Float32Array; adIds: Int32Array; cross: Float32Array; logits: Float32Array; isSubmitted: boolean }
  >();
  #next = 0;

  constructor(
    graph: Graph,
    tables: readonly { name: string; width: number; rows: number; data: SharedArrayBuffer }[],
    heads: number,
  ) {
    this.#graph = graph;
    this.#heads = heads;
    this.#tables = Object.fromEntries(
      tables.map(({ name, width, rows, data }) => [name, floats(new Float32Array(data), rows, width)]),
    );
  }

  begin(rowCount: number): number {
    this.#slots.set(this.#next, {
      user: new Float32Array(64),
      adIds: new Int32Array(rowCount),
      cross: new Float32Array(rowCount * 16),
      logits: new Float32Array(rowCount * this.#heads),
      isSubmitted: false,
    });
    return this.#next++;
  }
  userOf(slot: number): Float32Array {
    return this.#slots.get(slot)!.user;
  }
  adIdsOf(slot: number): Int32Array {
    return this.#slots.get(slot)!.adIds;
  }
  crossOf(slot: number): Float32Array {
    return this.#slots.get(slot)!.cross;
  }
  submit(slot: number): void {
    this.#slots.get(slot)!.isSubmitted = true;
  }
  logitsOf(slot: number): Float32Array {
    return this.#slots.get(slot)!.logits;
  }
  claimedMsOf(): number {
    return 0;
  }
  release(slot: number): void {
    this.#slots.delete(slot);
  }
  predictedWaitMs(): number {
    return 0;
  }

  /** Scores everything that was submitted; returns the slots. */
  async run(): Promise<readonly number[]> {
    const done: number[] = [];
    for (const [slot, { user, adIds, cross, logits, isSubmitted }] of this.#slots) {
      if (!isSubmitted) continue;
      const count = adIds.length;
      const inputs = {
        user: floats(user, 1, 64),
        ad_ids: integers(adIds, 1, count),
        cross: floats(cross, 1, count, 16),
        ...this.#tables,
      };
      logits.set((await this.#graph.run(inputs, { logits: logits.length })).logits);
      done.push(slot);
    }
    return done;
  }
}
