import { allDone } from './all-done.ts';
import { MemcachedConnection, type MemcachedLimits, memcachedLimits } from './memcached-connection.ts';
import { isReplaced, memcachedKey, type MetaEntry } from './memcached-protocol.ts';
import { MemcachedRing } from './memcached-ring.ts';
import { nodeName, type ServerNode } from './server-node.ts';
import { StoreError } from './store-errors.ts';
import { checkEntries, checkKeys } from './store-limits.ts';
import { type KeyValueStore, type ReadValues, type StoreEntry, storeKeyBytesMax } from './store.ts';

export type MemcachedServer = ServerNode & {
  /** Share of the keys, relative to the others; default 1. */
  readonly weight?: number;
};

export type MemcachedOptions = {
  readonly servers: readonly MemcachedServer[];
  /** How many servers hold each key; default 1. */
  readonly copyCount?: number;
  /** Epoch ms: lives beyond 30 days are told as a date. */
  readonly now: () => number;
  readonly random?: () => number;
  readonly limits?: Partial<MemcachedLimits>;
};

/** Memcached takes a longer time to live for a date in seconds since 1970. */
const relativeSecondsMax = 30 * 24 * 3600;
/** Writes go out in pieces of about this, the next when the last is taken. */
const writeBytesMax = 512 << 10;

/**
 * Memcached servers that know nothing of each other: keys lie on a ring (memcached-ring.ts), a shard is a server, its further copies are on
 * the servers after it. A server that comes back after a fault may hold what was overwritten meanwhile, until that expires.
 */
export class MemcachedStore implements KeyValueStore {
  readonly kind = 'memcached';
  readonly shardCount: number;
  readonly #copyCount: number;
  readonly #now: () => number;
  readonly #ring: MemcachedRing;
  readonly #connections: readonly MemcachedConnection[];
  #closed = false;

  constructor({ servers, copyCount = 1, now, random = Math.random, limits = {} }: MemcachedOptions) {
    if (servers.length === 0 || copyCount < 1 || copyCount > servers.length)
      throw new StoreError('STORE_ADDRESS_INVALID', `${copyCount} copies on ${servers.length} servers`);
    this.shardCount = servers.length;
    this.#copyCount = copyCount;
    this.#now = now;
    this.#ring = new MemcachedRing(servers.map((server) => ({ name: nodeName(server), weight: server.weight ?? 1 })));
    const all = { ...memcachedLimits, ...limits };
    this.#connections = servers.map((server) => new MemcachedConnection(server, all, random));
  }

  shardOf(key: Buffer): number {
    return this.#ring.serverOf(key);
  }

  copyCount(): number {
    return this.#copyCount;
  }

  copyName(shard: number, copy: number): string {
    return this.#holder(shard, copy).name;
  }

  async read(shard: number, copy: number, keys: readonly Buffer[]): Promise<ReadValues> {
    this.#refuseIfClosed();
    const places: number[] = [];
    let sent: Buffer[] | undefined;
    for (let place = 0; place < keys.length; place++) {
      const key = keys[place]!;
      if (key.length === 0 || key.length > storeKeyBytesMax) continue;
      places.push(place);
      if (isReplaced(key)) (sent ??= [...keys])[place] = memcachedKey(key);
    }
    if (places.length === 0) return keys.map(() => undefined);
    const values = await this.#holder(shard, copy).read(sent ?? keys, places);
    return sent === undefined ? values : values.map((value, place) => ownValue(keys[place]!, value));
  }

  async write(entries: readonly StoreEntry[]): Promise<void> {
    this.#refuseIfClosed();
    checkEntries(entries);
    await this.#toHolders(
      entries,
      ({ key }) => key,
      async (connection, mine) => {
        for (const piece of pieces(mine)) await connection.write(piece.map((entry) => this.#metaEntry(entry)));
      },
    );
  }

  async remove(keys: readonly Buffer[]): Promise<void> {
    this.#refuseIfClosed();
    checkKeys(keys);
    await this.#toHolders(
      keys,
      (key) => key,
      (connection, mine) => connection.remove(mine.map(memcachedKey)),
    );
  }

  async ready(): Promise<void> {
    this.#refuseIfClosed();
    await allDone(this.#connections.map((connection) => connection.ready()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  #holder(shard: number, copy: number): MemcachedConnection {
    return this.#connections[this.#ring.copyOf(shard, copy)]!;
  }

  async #toHolders<Item>(
    items: readonly Item[],
    keyOf: (item: Item) => Buffer,
    send: (connection: MemcachedConnection, mine: readonly Item[]) => Promise<void>,
  ): Promise<void> {
    const calls: Promise<void>[] = [];
    for (const [shard, mine] of Map.groupBy(items, (item) => this.shardOf(keyOf(item))))
      for (let copy = 0; copy < this.#copyCount; copy++) calls.push(send(this.#holder(shard, copy), mine));
    await allDone(calls);
  }

  #metaEntry({ key, value, ttlMs }: StoreEntry): MetaEntry {
    return {
      key: memcachedKey(key),
      value: isReplaced(key) ? Buffer.concat([key, value]) : value,
      expirySeconds: this.#expirySeconds(ttlMs),
    };
  }

  /** Its clock ticks in whole seconds, so one more: never early, at most two seconds late. 0: never. */
  #expirySeconds(ttlMs: number | undefined): number {
    if (ttlMs === undefined) return 0;
    const seconds = Math.max(1, Math.ceil(ttlMs / 1000) + 1);
    return seconds <= relativeSecondsMax ? seconds : Math.ceil(this.#now() / 1000) + seconds;
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new StoreError('STORE_CLOSED');
  }
}

/** Before the value of a replaced key stands the key itself. */
function ownValue(key: Buffer, value: Buffer | undefined): Buffer | undefined {
  if (value === undefined || !isReplaced(key)) return value;
  return value.length >= key.length && value.compare(key, 0, key.length, 0, key.length) === 0
    ? value.subarray(key.length)
    : undefined;
}

function* pieces(entries: readonly StoreEntry[]): Generator<StoreEntry[]> {
  let piece: StoreEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    piece.push(entry);
    bytes += entry.key.length + entry.value.length + 64;
    if (bytes < writeBytesMax) continue;
    yield piece;
    piece = [];
    bytes = 0;
  }
  if (piece.length > 0) yield piece;
}
