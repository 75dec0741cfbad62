import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { Catalog } from '#auction/catalog.ts';
import { fitScale, type VectorScale } from '#embeddings/quantisation.ts';
import { QuantisedTable, type QuantisedTableShared } from '#embeddings/quantised-table.ts';
import { readTableFile, writeTableFile } from '#embeddings/table-file.ts';
import { VectorTable, type VectorTableShared } from '#embeddings/vector-table.ts';
import { UserEmbeddingRows } from '#embeddings/users/user-embedding-row.ts';
import type { Bundle } from '#inference/bundle.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { buildModelShared, type ModelTables } from '#inference/model-tables.ts';
import type { ScoringPool } from '#inference/scoring-pool.ts';
import type { Verifier } from '#inference/signing.ts';
import { userVectors } from '#inference/user-tower.ts';
import { type Profiles, readProfiles, shareProfiles, towerIdsByRow } from './profiles.ts';
import type { ServedModelShared } from './served-model.ts';

export type OnProgress = (done: number, total: number, what: string) => void;

export type ModelManagerContext = {
  readonly dataDir: string;
  readonly usersPath: string;
  /** Users kept in the process: the first of the file. The others are asked for in the stores. */
  readonly hotUsersMax: number;
  /** How their vectors lie in memory; int8 takes a quarter, by the bundle's scale, as in the stores. */
  readonly hotUsersFormat: 'float32' | 'int8';
  readonly verifier: Verifier;
  readonly catalog: Catalog;
  readonly pool: ScoringPool;
  readonly onProgress: OnProgress;
  /** One line for the log: something went wrong that was made up for. */
  readonly onFault: (line: string) => void;
};

/** A model of which every thread has, or will have, the shared part. */
export type ActiveModel = {
  /** Without its files: towers and graphs are not held in memory twice. */
  readonly bundle: Pick<Bundle, 'id' | 'directory' | 'towerVersion' | 'manifest'>;
  readonly tables: ModelTables;
  readonly shared: ServedModelShared;
  readonly userCount: number;
  /** How its user vectors lie in a store; undefined when the bundle does not say their scale. */
  readonly userRows: UserEmbeddingRows | undefined;
  readonly sinceMs: number;
};

/**
 * Makes a bundle ready to serve: read and verified, its tables filled for every ad of the catalog, profiles in its vocabulary
 * with vectors of its tower, warmed up in the scoring threads. Whoever asked then tells the serving threads; two models at most
 * exist at once, in slots 0 and 1.
 */
export class ModelManager {
  readonly #context: ModelManagerContext;
  #active: ActiveModel | undefined;
  /** Tables that requests may look into, now or soon: new ads go into all of them. */
  readonly #tables = new Set<ModelTables>();
  /** Rows that were added while a model is being made ready; undefined while none is. */
  #missedRows: number[] | undefined;
  /** The last `addAds`: tables are not closed under it. */
  #adding: Promise<unknown> = Promise.resolve();

  constructor(context: ModelManagerContext) {
    this.#context = context;
  }

  get active(): ActiveModel {
    if (this.#active === undefined) throw new Error('No model has been activated yet.');
    return this.#active;
  }

  /** Throws a BundleError, a ScoringError or (a vector is no number) an EmbeddingError with its reason; the model in service stays then. One at a time. */
  async prepare(directory: string, nowMs: number): Promise<ActiveModel> {
    const missed: number[] = [];
    this.#missedRows = missed;
    try {
      const made = await this.#made(directory, nowMs);
      try {
        while (missed.length > 0) await made.tables.addAds(missed.splice(0), this.#adWordsOf);
      } catch (error) {
        await this.retire(made);
        throw error;
      }
      this.#tables.add(made.tables);
      return made;
    } finally {
      this.#missedRows = undefined;
    }
  }

  async #made(directory: string, nowMs: number): Promise<ActiveModel> {
    const { catalog, pool, verifier, onProgress, usersPath, hotUsersMax, hotUsersFormat } = this.#context;
    const bundle = await readBundle(directory, verifier);
    const slot = this.#active?.shared.model.slot === 0 ? 1 : 0;
    const tables = await buildModelShared(
      bundle,
      slot,
      this.#adWordsOf,
      catalog.adCount,
      catalog.adCapacity,
      (done, total) => onProgress(done, total, 'ad vectors'),
    );
    try {
      const profiles = await readProfiles(usersPath, bundle.schema, hotUsersMax);
      const exact = await this.#vectorsOf(bundle, profiles);
      const vectors = hotUsersFormat === 'int8' ? await quantised(exact, bundle.userScale, onProgress) : exact;
      const users = shareProfiles(profiles, vectors);
      // Last, because nothing can fail behind it: a slot that it holds would refuse every later bundle.
      await pool.load(tables.scoringModel);
      const { id, towerVersion, manifest } = bundle;
      return {
        bundle: { id, directory: bundle.directory, towerVersion, manifest },
        tables,
        shared: { model: tables.shared, users, sinceMs: nowMs },
        userCount: profiles.userCount,
        userRows: bundle.userScale === undefined ? undefined : new UserEmbeddingRows(towerVersion, bundle.userScale),
        sinceMs: nowMs,
      };
    } catch (error) {
      await tables.close();
      throw error;
    }
  }

  readonly #adWordsOf = (row: number): readonly string[] => this.#context.catalog.adWords(row);

  /**
   * Works out what models keep about new ads, before they are put on sale: in the model that serves, in the one before it while
   * requests may still be at it, and in the one that is being made ready. One call after another.
   */
  async addAds(rows: readonly number[]): Promise<void> {
    this.#missedRows?.push(...rows);
    const adding = this.#addTo([...this.#tables], rows);
    this.#adding = adding.catch(() => {});
    await adding;
  }

  async #addTo(models: readonly ModelTables[], rows: readonly number[]): Promise<void> {
    for (const tables of models) await tables.addAds(rows, this.#adWordsOf);
  }

  /** The serving threads use it now; the one before it is forgotten here (its slot is freed by `retire`). */
  activated(model: ActiveModel): ActiveModel | undefined {
    const before = this.#active;
    this.#active = model;
    return before;
  }

  /** Frees a slot: no request that could use it is under way any more. */
  async retire(model: ActiveModel): Promise<void> {
    this.#tables.delete(model.tables);
    await this.#context.pool.unload(model.shared.model.slot);
    await this.#adding;
    await model.tables.close();
  }

  /** The vector of somebody unknown, then those of all profiles; kept on disk per tower and users file, so that a restart is quick. */
  async #vectorsOf(bundle: Bundle, profiles: Profiles): Promise<VectorTableShared> {
    const { dataDir, usersPath, onProgress, onFault } = this.#context;
    const folder = join(dataDir, 'cache');
    const hash = await hashOfFile(usersPath);
    const path = join(folder, `user-vectors-${bundle.towerVersion.slice(0, 32)}-${hash.slice(0, 32)}${keptEnding}`);
    const count = profiles.userCount + 1;
    const dimension = bundle.head.dims.user;
    const kept = await this.#keptVectors(path, count, dimension);
    if (kept !== undefined) return kept;
    const shared = VectorTable.allocate(count, dimension);
    const progress = (done: number, total: number): void => onProgress(done, total, 'user vectors');
    await userVectors(bundle, towerIdsByRow(profiles), count, progress, new VectorTable(shared).data);
    try {
      await writeTableFile(path, { kind: 'float32', shared });
      keepNewest(folder, vectorsKept);
    } catch (error) {
      onFault(`user vectors: not kept for the next start: ${String(error)}`);
    }
    return shared;
  }

  /** Undefined when there is no such file, or when it is not what it should be: then it is made anew. */
  async #keptVectors(path: string, count: number, dimension: number): Promise<VectorTableShared | undefined> {
    const { onProgress, onFault } = this.#context;
    if (!existsSync(path)) return undefined;
    try {
      const table = await readTableFile(path, (done, total) => onProgress(done, total, 'bytes of user vectors'));
      if (table.kind === 'float32' && table.shared.rowCount === count && table.shared.dimension === dimension) {
        // In use again: it goes last.
        const nowDate = new Date();
        utimesSync(path, nowDate, nowDate);
        return table.shared;
      }
      onFault(`user vectors: ${path} holds another table; they are worked out again`);
    } catch (error) {
      onFault(`user vectors: worked out again: ${String(error)}`);
    }
    return undefined;
  }
}

/** Rows per turn of the event loop: 5 ms of 64 numbers each. */
const quantisedPerTurn = 4096;

/** The same rows, one byte a number; by the range of these vectors themselves where the bundle says none. */
async function quantised(
  exact: VectorTableShared,
  bundleScale: VectorScale | undefined,
  onProgress: OnProgress,
): Promise<QuantisedTableShared> {
  const { data, rowCount, dimension } = new VectorTable(exact);
  const shared = QuantisedTable.allocate(rowCount, bundleScale ?? fitScale(data, dimension));
  const table = new QuantisedTable(shared);
  for (let from = 0; from < rowCount; from += quantisedPerTurn) {
    const to = Math.min(from + quantisedPerTurn, rowCount);
    for (let row = from; row < to; row++) table.setRow(row, data, row * dimension);
    onProgress(to, rowCount, 'user vectors as int8');
    await turn();
  }
  return shared;
}

const keptEnding = '.table';

/** Those of the model in service and of the one before it: at a million users each has 256 MB. */
const vectorsKept = 2;

/** What a process that died left half made is older than this. */
const makingMsMax = 3_600_000;

/** Deletes all files of user vectors but the `count` last used, and those that nobody will finish. */
export function keepNewest(folder: string, count: number, nowMs = Date.now()): void {
  const files = readdirSync(folder)
    .filter((name) => name.startsWith('user-vectors-'))
    .map((name) => join(folder, name))
    .map((path) => ({ path, mtimeMs: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? nowMs }))
    .toSorted((left, right) => right.mtimeMs - left.mtimeMs);
  const whole = files.filter(({ path }) => path.endsWith(keptEnding));
  const abandoned = files.filter(({ path, mtimeMs }) => !path.endsWith(keptEnding) && nowMs - mtimeMs > makingMsMax);
  for (const { path } of [...whole.slice(count), ...abandoned]) rmSync(path, { force: true });
}

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}
