import type { KeyValueStore } from '../stores/store.ts';
import { type ValueCondition, conditionOf } from '../stores/stored-value.ts';
import type { ShardCall } from './lookup-run.ts';
import type { LookupTable } from './lookup-table.ts';

/** A store as the lookup knows it: tables with the same store share its calls. */
export class StoreState {
  readonly store: KeyValueStore;
  /** Calls being put together by the `begin` that runs right now, by shard. */
  readonly open: (ShardCall | undefined)[] = [];

  constructor(store: KeyValueStore) {
    this.store = store;
  }
}

/** Invalidations are told apart by 8 bits of the key's hash: one of them costs 1 of 256 reads under way its place in the cache. */
const stripeCount = 256;
/** Free key buffers kept per length and table, and the longest that are kept: longer keys are made anew. */
const freeKeysMax = 4096;
const freeKeyLengthMax = 256;
/** Up to here a loop copies a key faster than a call into the engine does. */
const loopBytesMax = 64;

/** Why a value did not count, by number; `valid` and `absent` are not counted here. */
export const conditionNumbers: Readonly<Record<ValueCondition, number>> = {
  VALID: 0,
  KNOWN_ABSENT: 1,
  LENGTH_WRONG: 2,
  VERSION_WRONG: 3,
  CHECKSUM_WRONG: 4,
};

/** A table, what was counted about it, and its reused key buffers. */
export class TableState {
  readonly index: number;
  readonly table: LookupTable;
  readonly storeState: StoreState;
  readonly prefix: Buffer;
  readonly isCached: boolean;
  readonly #version: number;
  readonly #payloadBytes: number;
  readonly #recordBytes: number;
  readonly generations = new Uint32Array(stripeCount);
  /** By `outcomeNumbers`, `sourceNumbers`, `conditionNumbers`. */
  readonly outcomes = new Float64Array(5);
  readonly sources = new Float64Array(4);
  readonly conditions = new Float64Array(5);
  lateAnswers = 0;
  /** Values past their time that were handed out in place of late or failed ones. */
  staleFound = 0;
  coldAsked = 0;
  coldFound = 0;
  coldAbsent = 0;
  coldInvalid = 0;
  coldFailed = 0;
  coldDropped = 0;
  warmWriteFailed = 0;
  /** By length; the prefix is already in each. */
  readonly #freeKeys: (Buffer[] | undefined)[] = [];

  constructor(index: number, table: LookupTable, storeState: StoreState) {
    const { format } = table;
    if (format.kind === 'records' && table.cold !== undefined) {
      throw new RangeError(`${table.name}: a cold store is for tables of single values, not for lists`);
    }
    if (format.kind === 'records' && !(format.recordBytes > 0))
      throw new RangeError(`${table.name}: records of no bytes`);
    this.index = index;
    this.table = table;
    this.storeState = storeState;
    this.prefix = Buffer.from(table.keyPrefix, 'utf8');
    this.isCached = table.cacheMs > 0 || table.absentCacheMs > 0;
    this.#version = format.kind === 'value' ? format.version : 0;
    this.#payloadBytes = format.kind === 'value' ? format.payloadBytes : 0;
    this.#recordBytes = format.kind === 'records' ? format.recordBytes : 0;
  }

  /** Judges bytes from the store; records carry no envelope, so only their length can be wrong. */
  judge(bytes: Buffer): ValueCondition {
    if (this.#recordBytes === 0) return conditionOf(bytes, this.#version, this.#payloadBytes);
    if (bytes.length === 0) return 'KNOWN_ABSENT';
    return bytes.length % this.#recordBytes === 0 ? 'VALID' : 'LENGTH_WRONG';
  }

  get hasEnvelope(): boolean {
    return this.#recordBytes === 0;
  }

  get version(): number {
    return this.#version;
  }

  /** The key as the store knows it, in a buffer that goes back by `freeKey`. */
  storeKey(key: Buffer): Buffer {
    const start = this.prefix.length;
    const length = start + key.length;
    let bytes = this.#freeKeys[length]?.pop();
    if (bytes === undefined) {
      bytes = Buffer.allocUnsafe(length);
      bytes.set(this.prefix);
    }
    if (key.length > loopBytesMax) bytes.set(key, start);
    else for (let at = 0; at < key.length; at++) bytes[start + at] = key[at]!;
    return bytes;
  }

  freeKey(bytes: Buffer): void {
    const { length } = bytes;
    if (length > freeKeyLengthMax) return;
    let free = this.#freeKeys[length];
    if (free === undefined) {
      free = [];
      this.#freeKeys[length] = free;
    }
    if (free.length < freeKeysMax) free.push(bytes);
  }

  generationOf(hash: number): number {
    return this.generations[hash & (stripeCount - 1)]!;
  }

  invalidate(hash: number): void {
    this.generations[hash & (stripeCount - 1)]! += 1;
  }

  invalidateAll(): void {
    for (let stripe = 0; stripe < stripeCount; stripe++) this.generations[stripe]! += 1;
  }
}
