import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChangeResult } from '#auction/catalog-change.ts';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import type { LookupStatus } from '#embeddings/lookup/lookup-status.ts';
import { PredictionCache } from '#inference/prediction-cache.ts';
import { ScoringPool } from '#inference/scoring-pool.ts';
import { EventLog } from '#training-bridge/event-log.ts';
import { defaultEventLogLimits } from '#training-bridge/event-log-types.ts';
import { adminPorts } from './pod-admin.ts';
import { startAdminServer } from './admin-server.ts';
import { CatalogChanges } from './catalog-changes.ts';
import { type CatalogJournal, type JournaledChange, restoreChanges } from './catalog-journal.ts';
import { ClickRatesFile } from './click-rates-file.ts';
import { type Config, settings } from './config.ts';
import { loadNoticeKey, loadOrCreateToken } from './key-files.ts';
import { freePort } from './listen-address.ts';
import { type ActiveModel, ModelManager, type OnProgress } from './model-manager.ts';
import { monotonicNowMs } from './monotonic-clock.ts';
import { Overview } from './overview.ts';
import { PodMarket } from './pod-market.ts';
import { podMetrics } from './pod-metrics.ts';
import { podStatus } from './pod-status.ts';
import type { RecentAuction } from './recent-auctions.ts';
import { loadLevelNames } from './load-levels.ts';
import { checkStores } from './pod-stores.ts';
import { type SecondOfThread, ServingThreads } from './serving-threads.ts';
import { Telemetry } from './telemetry.ts';
import { trustedVerifier } from './trusted-bundles.ts';
import { urlOf } from './url-of.ts';
import { version } from './version.ts';

/** What a pod serves. Paths. */
export type PodFiles = {
  readonly catalog: string;
  readonly users: string;
  readonly bundle: string;
  /** The key whose bundles are trusted when no public key is configured. */
  readonly signingKey: string;
};

export type PodHooks = {
  readonly log: (line: string) => void;
  readonly onProgress: OnProgress;
  /** A thread hangs in a disk or a lock and does not end: `process.exit` would wait for it, so the process has to be killed. */
  readonly onHang: (reason: string) => void;
};

const tickMs = 1000;
const tidyMs = 60_000;
/** Shown on the page; newest first. */
const recentAuctionsMax = 50;
/** Requests under the model before live at most this much longer than their deadline. */
const retireGraceMs = 2000;
/** Bad input is logged as counts per kind, at most this often. */
const faultLogMs = 10_000;

/**
 * A pod: one process, its threads and its ports. The main thread loads, watches and writes; it is never on the way of a bid.
 * Throws with every reason when it cannot start; afterwards `failed` says when it can no longer serve.
 */
export async function startPod(config: Config, files: PodFiles, hooks: PodHooks): Promise<RunningPod> {
  mkdirSync(config.dataDir, { recursive: true });
  const startedMs = monotonicNowMs();
  const answeringStores = await checkStores(config, hooks.log);
  if (!config.storeRealtime.startsWith('local:') && config.noticeKeyFile === '')
    hooks.log(
      `${settings.storeRealtime.env} is shared, but this pod has a notice key of its own: no other will know its users' windows. Set ${settings.noticeKeyFile.env}.`,
    );
  const catalogFile = readCatalogFile(files.catalog, (done, total) => hooks.onProgress(done, total, 'catalog'));
  if (catalogFile.kind === 'problems') {
    const list = catalogFile.problems.map(({ path, message }) => `\n  ${path}: ${message}`).join('');
    throw new Error(`The catalog ${files.catalog} has ${catalogFile.total} problems:${list}`);
  }
  for (const { path, message, count } of catalogFile.warnings)
    hooks.log(`catalog: ${path} ${message} (${count} times)`);
  const logFolder = join(config.dataDir, 'event-log');
  const eventLog = await EventLog.open(logFolder, {
    now: monotonicNowMs,
    limits: { segmentBytesMax: config.logSegmentBytes, totalBytesMax: config.logBytesMax },
    onFault: (fault, cause) =>
      hooks.log(
        fault === undefined ? 'event log: the disk takes everything again' : `event log: ${fault} ${String(cause)}`,
      ),
    version: version(),
    hostname: hostname(),
  });
  const parts: (() => Promise<void>)[] = [() => eventLog.close()];
  try {
    const writer = buildCatalog(catalogFile.spec);
    const journal = restoreChanges(join(config.dataDir, 'catalog-changes.jsonl'), files.catalog, writer, hooks.log);
    parts.push(async () => journal.close());
    const market = new PodMarket(writer, {
      nowMs: startedMs,
      generationNonce: randomBytes(4).readUInt32LE(),
      // What the log still guards, and as much again.
      seenNoticesMax: Math.max(config.seenNoticesMax, 2 * eventLog.recovered.noticeIdCount),
    });
    const restored = market.restore(eventLog.recovered, monotonicNowMs());
    eventLog.forgetRecovered();
    hooks.log(
      `event log: ${restored.chargedLineItems} line items charged today, ${restored.notices} notices, ${restored.views} views`,
    );
    eventLog.writeDictionary(market.dictionary(Array.from({ length: market.catalog.adCount }, (_, row) => row)));
    const pool = await ScoringPool.start({
      threadCount: config.scoringThreads,
      clientCount: config.servingThreads,
      provider: config.provider as 'cpu' | 'cuda' | 'webgpu' | 'auto',
      onThreadDied: ({ place, reason, restartInMs }) =>
        hooks.log(`scoring thread ${place} died (${reason}); another comes in ${restartInMs} ms`),
    });
    parts.push(() => pool.stop());
    const models = new ModelManager({
      dataDir: config.dataDir,
      usersPath: files.users,
      hotUsersMax: config.hotUsersMax,
      hotUsersFormat: config.hotUsersFormat as 'float32' | 'int8',
      verifier: trustedVerifier(config, files.signingKey),
      catalog: market.catalog,
      pool,
      onProgress: hooks.onProgress,
      onFault: hooks.log,
    });
    models.activated(await models.prepare(files.bundle, monotonicNowMs()));
    parts.push(() => models.active.tables.close());
    const pod = new RunningPod({
      config,
      hooks,
      answeringStores,
      market,
      journal,
      eventLog,
      logFolder,
      pool,
      models,
      startedMs,
    });
    await pod.open();
    return pod;
  } catch (error) {
    for (const close of parts.toReversed()) await close();
    throw error;
  }
}

type PodParts = {
  readonly config: Config;
  readonly hooks: PodHooks;
  readonly answeringStores: ReadonlySet<string>;
  readonly market: PodMarket;
  readonly journal: CatalogJournal;
  readonly eventLog: EventLog;
  readonly logFolder: string;
  readonly pool: ScoringPool;
  readonly models: ModelManager;
  readonly startedMs: number;
};

/** A pod that serves, or is about to. */
export class RunningPod {
  readonly config: Config;
  readonly market: PodMarket;
  readonly eventLog: EventLog;
  readonly logFolder: string;
  readonly pool: ScoringPool;
  readonly models: ModelManager;
  readonly startedMs: number;
  readonly telemetry: readonly Telemetry[];
  readonly overview: Overview;
  readonly adminToken: string;
  /** Resolves with the reason when the pod can no longer serve. */
  readonly failed: Promise<string>;
  readonly #journal: CatalogJournal;
  readonly #changes: CatalogChanges;
  readonly #log: (line: string) => void;
  readonly #onHang: (reason: string) => void;
  readonly #answeringStores: ReadonlySet<string>;
  readonly #threads: ServingThreads;
  readonly #predictions = PredictionCache.allocate();
  readonly #clickRates: ClickRatesFile;
  readonly #timers: NodeJS.Timeout[] = [];
  #recent: RecentAuction[] = [];
  /** What each serving thread last said of its lookups. */
  readonly #lookups: LookupStatus[] = [];
  #faults: Record<string, number> = {};
  #admin: { readonly port: number; close(): Promise<void> } | undefined;
  #bidPort = 0;
  #isReady = false;
  /** Model changes happen one after another. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: PodParts) {
    const { config } = parts;
    this.config = config;
    this.market = parts.market;
    this.#clickRates = new ClickRatesFile(join(config.dataDir, 'click-rates'), parts.market.clickRates);
    this.#journal = parts.journal;
    this.eventLog = parts.eventLog;
    this.logFolder = parts.logFolder;
    this.pool = parts.pool;
    this.models = parts.models;
    this.startedMs = parts.startedMs;
    this.#log = parts.hooks.log;
    this.#onHang = parts.hooks.onHang;
    this.#answeringStores = parts.answeringStores;
    const { market, eventLog, models } = parts;
    this.#changes = new CatalogChanges({
      journal: parts.journal,
      writer: market.writer,
      noteLineItems: (lineItems) => market.noteLineItems(lineItems),
      noteRows: (rows) => eventLog.writeDictionary(market.dictionary(rows)),
      addAds: (rows) => models.addAds(rows),
    });
    this.telemetry = Array.from({ length: config.servingThreads }, () => new Telemetry());
    this.overview = new Overview(() => this.telemetry);
    this.adminToken =
      config.adminToken === '' ? loadOrCreateToken(join(config.dataDir, 'admin-token')) : config.adminToken;
    const failure = Promise.withResolvers<string>();
    this.failed = failure.promise;
    this.#threads = new ServingThreads({
      onSecond: (thread, second) => this.#noteSecond(thread, second),
      onError: (message) => this.#log(`serving: ${message}`),
      onDeath: (reason) => failure.resolve(reason),
    });
  }

  get isReady(): boolean {
    return this.#isReady;
  }
  get bidPort(): number {
    return this.#bidPort;
  }
  get bidUrl(): string {
    return urlOf(this.config.bidHost, this.#bidPort);
  }
  get adminUrl(): string {
    return urlOf(this.config.adminHost, this.#admin?.port ?? 0);
  }
  get lookups(): readonly LookupStatus[] {
    return this.#lookups;
  }
  get recentAuctions(): readonly RecentAuction[] {
    return this.#recent;
  }
  /** Of the thread that is worst off. */
  get loadLevel(): string {
    return loadLevelNames[Math.max(...this.telemetry.map((each) => each.gaugeValue('load_level')))] ?? 'normal';
  }

  /** Opens both ports; the pod is ready when this resolves. When it rejects, nothing of it runs on; pool and log are the caller's. */
  async open(): Promise<void> {
    try {
      await this.#open();
    } catch (error) {
      await this.#close(0);
      throw error;
    }
  }

  async #open(): Promise<void> {
    const { config, market } = this;
    if (this.#clickRates.restore(monotonicNowMs()) === 'damaged')
      this.#log('click rates: the file is damaged and is left out; they begin at the priors');
    const isOwnNoticeKey = config.noticeKeyFile === '';
    const noticeKey = loadNoticeKey(
      isOwnNoticeKey ? join(config.dataDir, 'notice-key') : config.noticeKeyFile,
      isOwnNoticeKey,
    );
    const tieSeed = { high: randomBytes(4).readUInt32LE(), low: randomBytes(4).readUInt32LE() };
    // Threads share the port, and so could another process, unnoticed: it must be free before the first of them takes it.
    this.#bidPort = await freePort(config.bidHost, config.bidPort);
    for (let index = 0; index < config.servingThreads; index++) {
      this.#bidPort = await this.#threads.start({
        index,
        config,
        answeringStores: this.#answeringStores,
        port: this.#bidPort,
        market: market.shared,
        scoring: this.pool.shared,
        channel: this.eventLog.openChannel(),
        telemetry: this.telemetry[index]!.shared,
        model: this.models.active.shared,
        predictions: this.#predictions,
        noticeKey,
        callers: config.callersFile === '' ? '' : readFileSync(config.callersFile, 'utf8'),
        rates: config.ratesFile === '' ? '' : readFileSync(config.ratesFile, 'utf8'),
        idNonce: randomBytes(4).readUInt32LE(),
        tieSeed,
      });
    }
    this.#every(tickMs, () => this.#tick());
    this.#every(tidyMs, () => market.tidy(monotonicNowMs()));
    this.#every(tidyMs, () => this.#clickRates.save(monotonicNowMs()));
    this.#every(faultLogMs, () => this.#logFaults());
    this.#admin = await startAdminServer({
      host: config.adminHost,
      port: config.adminPort,
      token: this.adminToken,
      ports: adminPorts(this),
      onError: (error) =>
        this.#log(`admin: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
    });
    this.#isReady = true;
  }

  #every(periodMs: number, act: () => void): void {
    this.#timers.push(
      setInterval(() => {
        try {
          act();
        } catch (error) {
          this.#log(`main thread: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
        }
      }, periodMs),
    );
  }

  #tick(): void {
    const nowMs = monotonicNowMs();
    this.market.tick(
      nowMs,
      this.telemetry.reduce((sum, each) => sum + each.counterValue('live_auctions'), 0),
    );
    this.overview.sample(nowMs);
  }

  #noteSecond(thread: number, { auctions, faults, lookup }: SecondOfThread): void {
    this.#lookups[thread] = lookup;
    this.#recent = [...auctions.toReversed(), ...this.#recent].slice(0, recentAuctionsMax);
    for (const [kind, count] of Object.entries(faults)) this.#faults[kind] = (this.#faults[kind] ?? 0) + count;
  }

  #logFaults(): void {
    for (const [kind, count] of Object.entries(this.#faults)) this.#log(`refused ${count} requests: ${kind}`);
    this.#faults = {};
  }

  metrics(): string {
    return podMetrics(this);
  }

  status(): Record<string, unknown> {
    return podStatus(this);
  }

  /** Values of a table changed in its store: no thread goes on with what it kept. Keys as they are in the table; 'all': any may have. */
  invalidate(table: number, keys: readonly Uint8Array[] | 'all'): void {
    this.#threads.invalidate(table, keys);
  }

  /** Makes a change that outlives the process: see CatalogChanges. */
  change(change: JournaledChange): Promise<ChangeResult> {
    return this.#changes.make(change);
  }

  /** Loads, checks and warms a bundle, then lets new requests use it; the one before serves until then. Returns its id. */
  activateModel(directory: string): Promise<string> {
    return this.#inTurn(async () => {
      const next = await this.models.prepare(directory, monotonicNowMs());
      try {
        await this.#threads.useModel(next.shared);
      } catch (error) {
        await this.#takeBack(next);
        throw error;
      }
      const before = this.models.activated(next);
      this.#log(`model ${next.bundle.id} serves`);
      await sleep(this.config.tmaxMs + retireGraceMs);
      if (before !== undefined) await this.models.retire(before);
      return next.bundle.id;
    });
  }

  /** Some thread did not say that it uses the model: all go back to the one before, so that the slot is free for the next bundle. */
  async #takeBack(next: ActiveModel): Promise<void> {
    try {
      await this.#threads.useModel(this.models.active.shared);
    } catch (error) {
      // A message waits for such a thread, behind which it uses the old model again; until then its requests fall to the light ranker.
      this.#log(`model ${next.bundle.id} is withdrawn: ${error instanceof Error ? error.message : String(error)}`);
    }
    await sleep(this.config.tmaxMs + retireGraceMs);
    await this.models.retire(next);
  }

  #inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(act);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Until what was handed over so far can be read from the log's files: its writer takes the rings at least this often. */
  async flushLog(): Promise<void> {
    await sleep(2 * defaultEventLogLimits.flushMsMax);
  }

  /** Not ready, no new connections; answers what is owed; then the log is closed and everything ends. */
  async stop(): Promise<void> {
    await this.#close(this.config.drainMs);
    this.#saveClickRates();
    await this.pool.stop();
    this.#journal.close();
    await this.eventLog.close();
  }

  /** A disk that refuses costs a minute of counts, not an orderly end. */
  #saveClickRates(): void {
    try {
      this.#clickRates.save(monotonicNowMs());
    } catch (error) {
      this.#log(`click rates: not saved: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #close(drainMs: number): Promise<void> {
    this.#isReady = false;
    const hanging = await this.#threads.drain(drainMs);
    if (hanging > 0) this.#onHang(`serving threads that do not end: ${hanging}`);
    for (const timer of this.#timers) clearInterval(timer);
    await this.#admin?.close();
  }
}
