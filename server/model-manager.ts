import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
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
    const profiles = await readProfiles(this.#context.usersPath, bundle.schema);
    const vectors = await this.#vectorsOf(bundle, profiles);
    await pool.load(tables.scoringModel);
    const { id, towerVersion, manifest } = bundle;
    return {
      bundle: { id, directory: bundle.directory, towerVersion, manifest },
      tables,
      shared: { model: tables.shared, users: shareProfiles(profiles, vectors, bundle.head.dims.user) },
      userCount: profiles.userCount,
      sinceMs: nowMs,
    };
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
      if (bytes.byteLength === wantedBytes)
        return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + wantedBytes));
    }
    const ids = new Int32Array(count * profiles.towerWidth);
    ids.set(profiles.towerIds);
    const vectors = await userVectors(bundle, ids, count, (done, total) => onProgress(done, total, 'user vectors'));
    mkdirSync(folder, { recursive: true });
    const making = `${path}.making-${process.pid}`;
    writeFileSync(making, vectors);
    renameSync(making, path);
    return vectors;
  }
}

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}
