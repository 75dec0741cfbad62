import type { KeyValueStore, ReadValues } from '../stores/store.ts';
import type { LookupTicket } from './lookup-table.ts';
import type { StoreCopy } from './store-copies.ts';

/** One request's lookup from `begin` to `done`. Pooled. */
export class LookupRun {
  ticket!: LookupTicket;
  done: ((ticket: LookupTicket) => void) | undefined;
  cutoffMs = 0;
  /** Calls without an answer yet. */
  waiting = 0;
  readonly calls: ShardCall[] = [];
  /** Place in the list of those pending; −1 while `begin` has not returned. */
  index = -1;
}

/** Places that a call has room for before it grows. */
const roomAtFirst = 64;

/**
 * Keys of one shard that are read together, and where their values belong. Pooled: it lives from `begin` until every attempt to get
 * an answer has been settled, which may be long after its request has gone.
 */
export class ShardCall {
  store!: KeyValueStore;
  shard = 0;
  /** Undefined once the request has its answer or its cut-off: what arrives then is for the caches. */
  run: LookupRun | undefined;
  isResolved = false;
  /** Exactly the keys to read, prefix included. */
  readonly keys: Buffer[] = [];
  tables = new Uint8Array(roomAtFirst);
  places = new Uint16Array(roomAtFirst);
  /** For the cache: the key's hash, and the generation of its stripe when it was sent. */
  hashes = new Int32Array(roomAtFirst);
  generations = new Uint32Array(roomAtFirst);
  attempts = 0;
  attemptsPending = 0;
  /** The copy that was asked first, and its place then; −1: none was. */
  asked: StoreCopy | undefined;
  askedIndex = -1;
  /** The allowance did not reach for it: counted once, however long it waits. */
  isRefused = false;

  add(table: number, place: number, key: Buffer, hash: number, generation: number): void {
    const index = this.keys.length;
    if (index === this.tables.length) this.#grow();
    this.keys.push(key);
    this.tables[index] = table;
    this.places[index] = place;
    this.hashes[index] = hash;
    this.generations[index] = generation;
  }

  #grow(): void {
    const count = this.tables.length * 2;
    const { tables, places, hashes, generations } = this;
    this.tables = new Uint8Array(count);
    this.tables.set(tables);
    this.places = new Uint16Array(count);
    this.places.set(places);
    this.hashes = new Int32Array(count);
    this.hashes.set(hashes);
    this.generations = new Uint32Array(count);
    this.generations.set(generations);
  }
}

/** One question to one copy. Pooled with its two handlers, so that a call makes no closures. */
export class Attempt {
  call!: ShardCall;
  copy!: StoreCopy;
  copyIndex = 0;
  pass = 0;
  isHedge = false;
  startedMs = 0;
  /** From when on silence is a failure, and whether the breaker has been told the outcome. */
  failsAtMs = 0;
  isCounted = false;
  /** How long our own loop had stood still in all when it was sent. */
  stalledMsBefore = 0;
  /** Waited ÷ what its copy usually takes at most. */
  lateness = 0;
  /** Place in the list of those pending. */
  index = -1;
  readonly onValues: (values: ReadValues) => void;
  readonly onError: (error: unknown) => void;

  constructor(
    answered: (attempt: Attempt, values: ReadValues) => void,
    failed: (attempt: Attempt, error: unknown) => void,
  ) {
    this.onValues = (values) => answered(this, values);
    this.onError = (error) => failed(this, error);
  }
}
