import type { LookupTable } from '#embeddings/lookup/lookup-table.ts';
import type { KeyValueStore } from '#embeddings/stores/store.ts';
import { userEmbeddingVersion } from '#embeddings/users/user-embedding-row.ts';
import { userProfileVersion } from '#embeddings/users/user-profile.ts';
import { userEventBytes } from '#embeddings/users/user-window.ts';

/** Numbers of the tables that users are looked up in: in tickets and in the log, for ever. */
export const userTables = { profile: 0, embedding: 1, window: 2 } as const;
export type UserTableName = keyof typeof userTables;
export const userTableNames = ['user_profile', 'user_embedding', 'user_window'] as const;
/** Before every key of a table in its store. */
export const userTablePrefixes: Readonly<Record<UserTableName, string>> = {
  profile: 'p:',
  embedding: 'e:',
  window: 'w:',
};

export type UserStores = {
  readonly realtime: KeyValueStore;
  readonly embeddings: KeyValueStore;
  readonly batch: KeyValueStore;
  readonly history: KeyValueStore;
};

export type UserTableOptions = {
  /** How long a thread keeps what it read of profiles and embeddings, and that there is nothing. */
  readonly cacheMs: number;
  readonly userDimension: number;
};

/** So long after it was read a profile or vector stands in for one that its store does not give: tastes change over days. */
const staleMs = 3_600_000;
/** How long a profile that was found in the history stays in the batch store, and the word that there is none. */
const warmMs = 86_400_000;
const coldAbsentMs = 3_600_000;

/**
 * The tables, in the order of their numbers. Windows are never kept by a thread: they are what the user did a second ago. A profile
 * that the batch store lacks is fetched from the history behind the request's back.
 */
export function userLookupTables(stores: UserStores, options: UserTableOptions): readonly LookupTable[] {
  const { cacheMs, userDimension } = options;
  return [
    {
      name: userTableNames[userTables.profile],
      keyPrefix: userTablePrefixes.profile,
      store: stores.batch,
      format: { kind: 'value', version: userProfileVersion, payloadBytes: -1 },
      cacheMs,
      absentCacheMs: cacheMs,
      staleMs,
      ...(stores.history === stores.batch ? {} : { cold: { store: stores.history, warmMs, absentMs: coldAbsentMs } }),
    },
    {
      name: userTableNames[userTables.embedding],
      keyPrefix: userTablePrefixes.embedding,
      store: stores.embeddings,
      format: { kind: 'value', version: userEmbeddingVersion, payloadBytes: userDimension },
      cacheMs,
      absentCacheMs: cacheMs,
      staleMs,
    },
    {
      name: userTableNames[userTables.window],
      keyPrefix: userTablePrefixes.window,
      store: stores.realtime,
      format: { kind: 'records', recordBytes: userEventBytes },
      cacheMs: 0,
      absentCacheMs: 0,
      staleMs: 0,
    },
  ];
}

/** Key of a user's window: notices know users by their keyed hash alone. */
export function windowKey(userHashHigh: number, userHashLow: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt32LE(userHashHigh >>> 0, 0);
  bytes.writeUInt32LE(userHashLow >>> 0, 4);
  return bytes;
}
