export type StoreKind = 'memory' | 'lmdb' | 'redis' | 'redis-cluster' | 'memcached' | 'bigtable';

/** Values at the places of their keys; undefined where the store has none. A value is the store's own bytes: nobody writes into it. */
export type ReadValues = readonly (Buffer | undefined)[];

export type StoreEntry = {
  readonly key: Buffer;
  readonly value: Buffer;
  /** How long the store keeps it; left out: until it is overwritten or removed. */
  readonly ttlMs?: number;
};

/** Longest key of any store: Bigtable's row keys end at 4 KiB, and a store may put a few bytes of its own before ours. */
export const storeKeyBytesMax = 2048;
/** Longest value of any store, its envelope included: 1 MiB is where Memcached's default item size ends. */
export const storeValueBytesMax = 65_536;

/**
 * Keys of any bytes to values of any bytes, spread over shards that can each be asked on its own. What breaks, breaks as a
 * `StoreError`; a value is never checked here (that is `stored-value.ts`), and nothing is retried here (that is the lookup's to decide).
 *
 * A shard is what one multi-key read reaches; each has one or more copies (primary first) that may answer for it. Shards may
 * change while the store lives (a cluster moves its slots): their numbers are good for the turn of the event loop they were asked in.
 *
 * A key has at least one byte. Keys and values are the store's own once written: the caller may reuse his buffers after the
 * promise has settled. A call with a key or a value that is too long is refused before any of it is written.
 */
export interface KeyValueStore {
  readonly kind: StoreKind;
  readonly shardCount: number;
  /** 0 to shardCount − 1. Allocates nothing. */
  shardOf(key: Buffer): number;
  /** At least 1. */
  copyCount(shard: number): number;
  /** Address or path of a copy: for metrics, breakers and errors. Stable while the topology is. */
  copyName(shard: number, copy: number): string;
  /**
   * One round trip for keys that all belong to `shard`. A store in the process answers at once, others with a promise that
   * settles within the store's own limit whatever the server does. Rejects (or throws) with a StoreError only. Under a key that is
   * too long it finds nothing. A value that was handed out never changes. Keys that have moved to another shard since
   * `shardOf` are found there.
   */
  read(shard: number, copy: number, keys: readonly Buffer[]): ReadValues | Promise<ReadValues>;
  /** Resolves when the store has taken all of them, in any order; on an error some may be written. */
  write(entries: readonly StoreEntry[]): Promise<void>;
  remove(keys: readonly Buffer[]): Promise<void>;
  /** Resolves once every shard has answered; else the StoreError says which address does not, and why. */
  ready(): Promise<void>;
  /** Nothing is pending afterwards; reads that were rejected with `STORE_CLOSED`. */
  close(): Promise<void>;
}

/** A store of short lists: what real-time windows live in. */
export interface AppendingStore extends KeyValueStore {
  /**
   * Puts a record at the end of the list under `key`, of which the last `countMax` are kept, in one step whoever else appends.
   * All records of a list are as long as this one; `read` gives them one after another. The whole list lives `ttlMs` from now on.
   * Where the bytes there are no whole number of such records, the list begins anew. `record.length × countMax` beyond
   * `storeValueBytesMax` is refused.
   */
  append(key: Buffer, record: Buffer, countMax: number, ttlMs: number): Promise<void>;
}

/** A store that keeps its keys in order: histories, list tails, backfills. */
export interface OrderedStore extends KeyValueStore {
  /** Entries whose keys begin with `prefix`, by key bytes, at most `limit`. */
  scan(prefix: Buffer, limit: number): AsyncIterable<StoreEntry>;
}

export function isAppending(store: KeyValueStore): store is AppendingStore {
  return 'append' in store;
}

export function isOrdered(store: KeyValueStore): store is OrderedStore {
  return 'scan' in store;
}
