import { LRUCache } from 'lru-cache';
import { appended } from './record-list.ts';
import { StoreError } from './store-errors.ts';
import { checkAppend, checkEntries, checkKeys } from './store-limits.ts';
import type { AppendingStore, OrderedStore, ReadValues, StoreEntry } from './store.ts';

export type MemoryStoreOptions = {
  /** Epoch ms. */
  readonly now: () => number;
  /** Keys and values, and about 100 bytes of bookkeeping each. Default 64 MiB. */
  readonly bytesMax?: number;
  /** Default 262,144. */
  readonly entryCountMax?: number;
};

/** What an entry costs beside its bytes: objects, a string of the key, places in the cache's arrays. */
const entryOverheadBytes = 100;

type Kept = { readonly value: Buffer; readonly expiresMs: number };

/**
 * Values in this thread's heap; what was not used for longest makes room. For tests, for one thread alone, and where losing all of it at
 * a restart does not matter.
 */
export class MemoryStore implements AppendingStore, OrderedStore {
  readonly kind = 'memory';
  readonly shardCount = 1;
  readonly #kept: LRUCache<string, Kept>;
  readonly #now: () => number;
  #closed = false;

  constructor({ now, bytesMax = 64 << 20, entryCountMax = 262_144 }: MemoryStoreOptions) {
    this.#now = now;
    this.#kept = new LRUCache({
      max: entryCountMax,
      maxSize: bytesMax,
      sizeCalculation: ({ value }, key) => value.length + key.length + entryOverheadBytes,
    });
  }

  get entryCount(): number {
    return this.#kept.size;
  }

  /** As `bytesMax` counts them. */
  get bytes(): number {
    return this.#kept.calculatedSize;
  }

  shardOf(): number {
    return 0;
  }

  copyCount(): number {
    return 1;
  }

  copyName(): string {
    return 'memory';
  }

  read(_shard: number, _copy: number, keys: readonly Buffer[]): ReadValues {
    this.#refuseIfClosed();
    const nowMs = this.#now();
    const values: (Buffer | undefined)[] = [];
    for (const key of keys) values.push(this.#valueOf(key.toString('latin1'), nowMs));
    return values;
  }

  async write(entries: readonly StoreEntry[]): Promise<void> {
    this.#refuseIfClosed();
    checkEntries(entries);
    const nowMs = this.#now();
    for (const { key, value, ttlMs } of entries) this.#keep(key, Buffer.from(value), expiryOf(ttlMs, nowMs));
  }

  async remove(keys: readonly Buffer[]): Promise<void> {
    this.#refuseIfClosed();
    checkKeys(keys);
    for (const key of keys) this.#kept.delete(key.toString('latin1'));
  }

  async append(key: Buffer, record: Buffer, countMax: number, ttlMs: number): Promise<void> {
    this.#refuseIfClosed();
    checkAppend(key, record, countMax);
    const nowMs = this.#now();
    this.#keep(key, appended(this.#valueOf(key.toString('latin1'), nowMs), record, countMax), expiryOf(ttlMs, nowMs));
  }

  /** Sorts all keys that begin so: for tests and small stores. */
  async *scan(prefix: Buffer, limit: number): AsyncIterable<StoreEntry> {
    this.#refuseIfClosed();
    const start = prefix.toString('latin1');
    const names = [...this.#kept.keys()].filter((name) => name.startsWith(start)).toSorted(byCodeUnits);
    let left = limit;
    for (const name of names) {
      if (left <= 0) return;
      const nowMs = this.#now();
      const kept = this.#kept.peek(name);
      if (kept === undefined || kept.expiresMs <= nowMs) continue;
      left--;
      const key = Buffer.from(name, 'latin1');
      yield kept.expiresMs === Number.POSITIVE_INFINITY
        ? { key, value: kept.value }
        : { key, value: kept.value, ttlMs: kept.expiresMs - nowMs };
    }
  }

  async ready(): Promise<void> {
    this.#refuseIfClosed();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#kept.clear();
  }

  #valueOf(name: string, nowMs: number): Buffer | undefined {
    const kept = this.#kept.get(name);
    if (kept === undefined) return undefined;
    if (kept.expiresMs > nowMs) return kept.value;
    this.#kept.delete(name);
    return undefined;
  }

  #keep(key: Buffer, value: Buffer, expiresMs: number): void {
    this.#kept.set(key.toString('latin1'), { value, expiresMs });
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new StoreError('STORE_CLOSED');
  }
}

function expiryOf(ttlMs: number | undefined, nowMs: number): number {
  return ttlMs === undefined ? Number.POSITIVE_INFINITY : nowMs + ttlMs;
}

/** A latin-1 string has one code unit per byte: the order of the bytes. */
function byCodeUnits(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
