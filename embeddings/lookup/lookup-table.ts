import type { KeyValueStore, OrderedStore } from '../stores/store.ts';

/** What a table's values look like in its store. */
export type ValueFormat =
  /** One payload in an envelope (stores/stored-value.ts), of this length (−1: any). */
  | { readonly kind: 'value'; readonly version: number; readonly payloadBytes: number }
  /** Fixed-length records one after another, as `append` leaves them; each is checked by whoever reads it. */
  | { readonly kind: 'records'; readonly recordBytes: number };

/** A table of values by key, in one store, as requests look them up. */
export type LookupTable = {
  /** For logs and metrics: `user_profile`. */
  readonly name: string;
  /** Put before every key in the store, so that tables can share a store: short, and different for each table and tower version. */
  readonly keyPrefix: string;
  readonly store: KeyValueStore;
  readonly format: ValueFormat;
  /** How long a thread keeps a value it has read, and that there is none. 0: never kept. */
  readonly cacheMs: number;
  readonly absentCacheMs: number;
  /**
   * How long after it was read a kept value stands in for one that is late or failed, `cacheMs` or not: found, from the process, with its
   * true age. 0: never. Absences never do, and where nothing is kept nothing stands in.
   */
  readonly staleMs: number;
  /**
   * Asked behind the request's back when the store has nothing: what it holds goes into the store (for `warmMs`) and the cache, and
   * so does the absence of it. A request never waits for it.
   */
  readonly cold?: { readonly store: OrderedStore | KeyValueStore; readonly warmMs: number; readonly absentMs: number };
};

/** Where a value came from; the number goes into the log. */
export const sourceNumbers = { none: 0, process: 1, store: 2, hedge: 3 } as const;
/** What became of a key; the number goes into the log. `late`, `failed` and `invalid` are answered by the table's default, as `absent` is. */
export const outcomeNumbers = { found: 0, absent: 1, late: 2, failed: 3, invalid: 4 } as const;

/** Keys that one request can ask for: one user's tables and a few hundred ads or sites. */
export const ticketPlacesMax = 1024;
/** Age of what has none. */
export const unknownAge = -1;

/**
 * What one request asks and is told. Made once per flight and reused: fill it by `ask`, hand it to `Lookup.begin`, read the
 * columns up to `count` when it is done. Values are only good until `clear`.
 */
export class LookupTicket {
  count = 0;
  readonly capacity: number;
  readonly tables: Uint8Array;
  /** Without the table's prefix. */
  readonly keys: Buffer[] = [];
  /** The payload (or the records), undefined unless `found`. */
  readonly values: (Buffer | undefined)[] = [];
  /** See `outcomeNumbers`, `sourceNumbers`. */
  readonly outcomes: Uint8Array;
  readonly sources: Uint8Array;
  /** How long ago the value was written, in ms; `unknownAge` where there is no value or it does not say. */
  readonly ageMs: Float64Array;

  constructor(capacity: number = ticketPlacesMax) {
    this.capacity = capacity;
    this.tables = new Uint8Array(capacity);
    this.outcomes = new Uint8Array(capacity);
    this.sources = new Uint8Array(capacity);
    this.ageMs = new Float64Array(capacity);
  }

  clear(): void {
    this.count = 0;
    this.keys.length = 0;
    this.values.length = 0;
  }

  /** One more key of a table (by its number in the lookup). Returns its place; −1 when the ticket is full. */
  ask(table: number, key: Buffer): number {
    const place = this.count;
    if (place >= this.capacity) return -1;
    this.tables[place] = table;
    this.keys[place] = key;
    this.values[place] = undefined;
    this.outcomes[place] = outcomeNumbers.absent;
    this.sources[place] = sourceNumbers.none;
    this.ageMs[place] = unknownAge;
    this.count = place + 1;
    return place;
  }
}
