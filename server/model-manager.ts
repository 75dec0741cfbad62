import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Catalog } from '#auction/catalog.ts';
import type { Bundle } from '#inference/bundle.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { buildModelShared, type ModelTables } from '#inference/model-tables.ts';
import type { ScoringPool } from '#inference/scoring-pool.ts';
import type { Verifier } from '#inference/signing.ts';
import { userVectors } from '#inference/user-tower.ts';
import { type Profiles, readProfiles, shareProfiles } from './profiles.ts';
import type { ServedModelShared } from './served-model.ts';

export type OnProgress = (done: number, total: number, what: string) => void;

export type ModelManagerContext = {
  readonly dataDir: string;
  readonly usersPath: string;
  readonly verifier: Verifier;
  readonly catalog: Catalog;
  readonly pool: ScoringPool;
  readonly onProgress: OnProgress;
};

/** A model of which every thread has, or will have, the shared part. */
export type ActiveModel = {
  /** Without its files: towers and graphs are not held in memory twice. */
  readonly bundle: Pick<Bundle, 'id' | 'directory' | 'towerVersion' | 'manifest'>;
  readonly tables: ModelTables;
  readonly shared: ServedModelShared;
  readonly userCount: number;
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

  constructor(context: ModelManagerContext) {
    this.#context = context;
  }

  get active(): ActiveModel {
    if (this.#active === undefined) throw new Error('No model has been activated yet.');
    return this.#active;
  }

  /** Throws a BundleError or a ScoringError with its reason; the model in service stays then. */
  async prepare(directory: string, nowMs: number): Promise<ActiveModel> {
    const { catalog, pool, verifier, onProgress } = this.#context;
    const bundle = await readBundle(directory, verifier);
    const slot = this.#active?.shared.model.slot === 0 ? 1 : 0;
    const tables = await buildModelShared(
      bundle,
      slot,
      (row) => catalog.adWords(row),
      catalog.adCount,
      catalog.adCapacity,
      (done, total) => onProgress(done, total, 'ad vectors'),
    );
    try {
      const profiles = await readProfiles(this.#context.usersPath, bundle.schema);
      const vectors = await this.#vectorsOf(bundle, profiles);
      const users = shareProfiles(profiles, vectors, bundle.head.dims.user);
      // Last, because nothing can fail behind it: a slot that it holds would refuse every later bundle.
      await pool.load(tables.scoringModel);
      const { id, towerVersion, manifest } = bundle;
      return {
        bundle: { id, directory: bundle.directory, towerVersion, manifest },
        tables,
        shared: { model: tables.shared, users },
        userCount: profiles.userCount,
        sinceMs: nowMs,
      };
    } catch (error) {
      await tables.close();
      throw error;
    }
  }

  /** The serving threads use it now; the one before it is forgotten here (its slot is freed by `retire`). */
  activated(model: ActiveModel): ActiveModel | undefined {
    const before = this.#active;
    this.#active = model;
    return before;
  }

  /** Frees a slot: no request that could use it is under way any more. */
  async retire(model: ActiveModel): Promise<void> {
    await this.#context.pool.unload(model.shared.model.slot);
    await model.tables.close();
  }

  /** Vectors of all profiles, then that of somebody unknown; kept on disk per tower and users file, so that a restart is quick. */
  async #vectorsOf(bundle: Bundle, profiles: Profiles): Promise<Float32Array> {
    const { dataDir, usersPath, onProgress } = this.#context;
    const folder = join(dataDir, 'cache');
    const path = join(
      folder,
      `user-vectors-${bundle.towerVersion.slice(0, 32)}-${(await hashOfFile(usersPath)).slice(0, 32)}.f32`,
    );
    const count = profiles.userCount + 1;
    const wantedBytes = count * bundle.head.dims.user * Float32Array.BYTES_PER_ELEMENT;
    if (existsSync(path)) {
      const bytes = readFileSync(path);
      if (bytes.byteLength === wantedBytes) {
        // In use again: it goes last.
        const nowDate = new Date();
        utimesSync(path, nowDate, nowDate);
        return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + wantedBytes));
      }
    }
    const ids = new Int32Array(count * profiles.towerWidth);
    ids.set(profiles.towerIds);
    const vectors = await userVectors(bundle, ids, count, (done, total) => onProgress(done, total, 'user vectors'));
    mkdirSync(folder, { recursive: true });
    const making = `${path}.making-${process.pid}`;
    writeFileSync(making, vectors);
    renameSync(making, path);
    keepNewest(folder, vectorsKept);
    return vectors;
  }
}

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
  const whole = files.filter(({ path }) => path.endsWith('.f32'));
  const abandoned = files.filter(({ path, mtimeMs }) => !path.endsWith('.f32') && nowMs - mtimeMs > makingMsMax);
  for (const { path } of [...whole.slice(count), ...abandoned]) rmSync(path, { force: true });
}

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}
