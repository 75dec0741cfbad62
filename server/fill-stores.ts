import type { VectorScale } from '#embeddings/quantisation.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';
import type { KeyValueStore, StoreEntry } from '#embeddings/stores/store.ts';
import { userEmbeddingVersion, UserEmbeddingRows } from '#embeddings/users/user-embedding-row.ts';
import { encodeUserProfile, userProfileVersion } from '#embeddings/users/user-profile.ts';
import type { Bundle } from '#inference/bundle.ts';
import type { Tower } from '#inference/tower.ts';
import { openUserTower } from '#inference/user-tower.ts';
import { ProfileVocabulary } from './profile-vocabulary.ts';
import { type UserStores, userTablePrefixes } from './user-tables.ts';
import { type Profile, usersOf } from './users-file.ts';

export type FillOptions = {
  readonly usersPath: string;
  readonly bundle: Bundle;
  readonly stores: Pick<UserStores, 'batch' | 'embeddings' | 'history'>;
  /** Users of the file that are left out at its beginning: those that every process has by itself. */
  readonly skipCount: number;
  readonly nowMs: () => number;
  readonly onProgress: (done: number, total: number, what: string) => void;
};

export type Filled = { readonly users: number; readonly profiles: number; readonly embeddings: number };

/** Users worked on at once: a run of the user tower, and a write of that many entries to each store. */
const usersPerRun = 2048;

/**
 * Puts the users of a file where the lookups find them: profiles in the batch store and the history, vectors under the bundle's
 * tower as rows of int8 in the store of embeddings. What is there already is overwritten; what was is left, since keys carry the
 * tower's version. The whole file is read once before anything is written, so that a bad line changes nothing. A bundle without the scale
 * of its user vectors is refused.
 */
export async function fillStores(options: FillOptions): Promise<Filled> {
  const { usersPath, bundle, stores, skipCount, onProgress } = options;
  if (bundle.userScale === undefined)
    throw new Error(`Bundle ${bundle.id} says no scale of its user vectors: it cannot be served from stores.`);
  let count = 0;
  for await (const _ of usersOf(usersPath)) count++;
  const run: Profile[] = [];
  let done = 0;
  let index = 0;
  const embedder = await Embedder.open(bundle, bundle.userScale);
  try {
    const write = async (): Promise<void> => {
      await writeRun(run, embedder, options);
      done += run.length;
      run.length = 0;
      onProgress(done, Math.max(0, count - skipCount), 'users written');
    };
    for await (const profile of usersOf(usersPath)) {
      if (index++ < skipCount) continue;
      run.push(profile);
      if (run.length === usersPerRun) await write();
    }
    if (run.length > 0) await write();
  } finally {
    await embedder.close();
  }
  const profileWrites = stores.history === stores.batch ? done : 2 * done;
  return { users: count, profiles: profileWrites, embeddings: done };
}

async function writeRun(
  profiles: readonly Profile[],
  embedder: Embedder,
  { stores, nowMs }: FillOptions,
): Promise<void> {
  const writtenMs = nowMs();
  const profileEntries = profiles.map((profile) => ({
    key: Buffer.from(`${userTablePrefixes.profile}${profile.id}`),
    value: storedValue(encodeUserProfile(profile), userProfileVersion, writtenMs),
  }));
  const writes = new Map<KeyValueStore, StoreEntry[]>([[stores.batch, [...profileEntries]]]);
  if (stores.history !== stores.batch) writes.set(stores.history, [...profileEntries]);
  const embeddingEntries = await embedder.entriesOf(profiles, writtenMs);
  writes.set(stores.embeddings, [...(writes.get(stores.embeddings) ?? []), ...embeddingEntries]);
  await Promise.all([...writes].map(([store, entries]) => store.write(entries)));
}

const embeddingPrefix = Buffer.from(userTablePrefixes.embedding);

/** Profiles to entries of vectors. Its tower and vocabulary are made once: both hold every user that the model knows. */
class Embedder {
  readonly #tower: Tower;
  readonly #vocabulary: ProfileVocabulary;
  readonly #rows: UserEmbeddingRows;
  readonly #dimension: number;

  static async open(bundle: Bundle, scale: VectorScale): Promise<Embedder> {
    return new Embedder(await openUserTower(bundle), bundle, scale);
  }

  private constructor(tower: Tower, bundle: Bundle, scale: VectorScale) {
    this.#tower = tower;
    this.#vocabulary = new ProfileVocabulary(bundle.schema);
    this.#rows = new UserEmbeddingRows(bundle.towerVersion, scale);
    this.#dimension = bundle.head.dims.user;
  }

  async entriesOf(profiles: readonly Profile[], writtenMs: number): Promise<StoreEntry[]> {
    const { width } = this.#vocabulary;
    const ids = new Int32Array(profiles.length * width);
    for (const [index, profile] of profiles.entries())
      this.#vocabulary.idsInto(ids, index * width, profile.id, profile);
    const vectors = await this.#tower.vectors(ids, profiles.length);
    const dimension = this.#dimension;
    return profiles.map((profile, index) => ({
      key: Buffer.concat([embeddingPrefix, this.#rows.keyOf(profile.id)]),
      value: storedValue(
        this.#rows.encode(vectors.subarray(index * dimension, (index + 1) * dimension)),
        userEmbeddingVersion,
        writtenMs,
      ),
    }));
  }

  close(): Promise<void> {
    return this.#tower.close();
  }
}
