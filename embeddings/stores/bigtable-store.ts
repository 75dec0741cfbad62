import type { Bigtable, Row, Table } from '@google-cloud/bigtable';
import { allDone } from './all-done.ts';
import { type BigtableAddress, bigtableFault, bigtableName, openBigtable, tableOf } from './bigtable-client.ts';
import { families, keyOfRow, qualifier, rowKeyOf, salted, saltsOf } from './bigtable-rows.ts';
import { endOfPrefix } from './record-list.ts';
import { StoreError } from './store-errors.ts';
import { checkEntries, checkKeys } from './store-limits.ts';
import { type OrderedStore, type ReadValues, type StoreEntry, storeKeyBytesMax } from './store.ts';

export type BigtableLimits = {
  /** A read, a page of a scan, and `ready` are rejected after this long; a piece of a write after four times that. */
  readonly answerMs: number;
  /** When calls have timed out for this long and none was answered, the connections are made anew. */
  readonly silenceMs: number;
  readonly callsInFlightMax: number;
};

export type BigtableStoreOptions = BigtableAddress & {
  /** Epoch ms. */
  readonly now: () => number;
  readonly limits?: Partial<BigtableLimits>;
};

const defaultLimits: BigtableLimits = { answerMs: 2000, silenceMs: 5000, callsInFlightMax: 1024 };
/** One call of a write: Bigtable takes 100,000 changes, a grpc message should stay within a few MB. */
const writeCountMax = 1000;
const writeBytesMax = 4 << 20;
const scanPage = 256;
/** What deserves to be asked for: the newest cell of each column. */
const newestCell = [{ column: { cellLimit: 1 } }];

type Found = { readonly key: Buffer; readonly value: Buffer; readonly expiresMs: number };

/** A table of Bigtable (bigtable-rows.ts says how): full histories, cold tails, backfills. */
export class BigtableStore implements OrderedStore {
  readonly kind = 'bigtable';
  readonly shardCount = 1;
  readonly #address: BigtableAddress;
  readonly #now: () => number;
  readonly #limits: BigtableLimits;
  #client: Bigtable;
  #table: Table;
  /** Each ends its own call. */
  readonly #underWay = new Set<(error: StoreError) => void>();
  /** Since when calls have been waiting without one being answered. */
  #silentSinceMs = Number.POSITIVE_INFINITY;
  #closing: Promise<void> | undefined;

  constructor({ now, limits = {}, ...address }: BigtableStoreOptions) {
    this.#address = address;
    this.#now = now;
    this.#limits = { ...defaultLimits, ...limits };
    this.#client = openBigtable(address);
    this.#table = tableOf(this.#client, address);
  }

  shardOf(): number {
    return 0;
  }

  copyCount(): number {
    return 1;
  }

  copyName(): string {
    return bigtableName(this.#address);
  }

  async read(_shard: number, _copy: number, keys: readonly Buffer[]): Promise<ReadValues> {
    this.#refuseIfClosed();
    const places = new Map<string, number[]>();
    const rows: Buffer[] = [];
    for (const [place, key] of keys.entries()) {
      if (key.length === 0 || key.length > storeKeyBytesMax) continue;
      const name = key.toString('latin1');
      const others = places.get(name);
      if (others !== undefined) others.push(place);
      else {
        places.set(name, [place]);
        rows.push(rowKeyOf(key));
      }
    }
    const values: (Buffer | undefined)[] = keys.map(() => undefined);
    // Without keys it would read the whole table.
    if (rows.length === 0) return values;
    const nowMs = this.#now();
    for (const { key, value, expiresMs } of await this.#readRows({ keys: rows as unknown as string[] })) {
      if (expiresMs <= nowMs) continue;
      for (const place of places.get(key.toString('latin1')) ?? []) values[place] = value;
    }
    return values;
  }

  async write(entries: readonly StoreEntry[]): Promise<void> {
    this.#refuseIfClosed();
    checkEntries(entries);
    const nowMs = this.#now();
    await this.#mutate(
      entries.map(({ key, value, ttlMs }) => ({
        rowKey: rowKeyOf(key),
        mutations: [
          { deleteFromRow: {} },
          {
            setCell: {
              familyName: ttlMs === undefined ? families.kept : families.timed,
              columnQualifier: Buffer.from(qualifier),
              timestampMicros: ttlMs === undefined ? 0 : Math.ceil(nowMs + ttlMs) * 1000,
              value,
            },
          },
        ],
        bytes: key.length + value.length + 64,
      })),
    );
  }

  async remove(keys: readonly Buffer[]): Promise<void> {
    this.#refuseIfClosed();
    checkKeys(keys);
    await this.#mutate(
      keys.map((key) => ({ rowKey: rowKeyOf(key), mutations: [{ deleteFromRow: {} }], bytes: key.length + 64 })),
    );
  }

  /** A range for each salt that the prefix allows, 256 rows at a time, merged by key. */
  async *scan(prefix: Buffer, limit: number): AsyncIterable<StoreEntry> {
    this.#refuseIfClosed();
    if (limit <= 0) return;
    const ranges = saltsOf(prefix).map(
      (salt) => new SaltedRange(salt, prefix, this.#now, (range) => this.#readRows(range)),
    );
    await allDone(ranges.map((range) => range.fill()));
    for (let left = limit; left > 0; left--) {
      let first: SaltedRange | undefined;
      for (const range of ranges)
        if (
          range.next !== undefined &&
          (first?.next === undefined || Buffer.compare(range.next.key, first.next.key) < 0)
        )
          first = range;
      const found = first?.next;
      if (first === undefined || found === undefined) return;
      yield found.expiresMs === Number.POSITIVE_INFINITY
        ? { key: found.key, value: found.value }
        : { key: found.key, value: found.value, ttlMs: Math.max(1, found.expiresMs - this.#now()) };
      await first.step();
    }
  }

  async ready(): Promise<void> {
    this.#refuseIfClosed();
    await this.#readRows({ keys: [rowKeyOf(Buffer.from('\0ready')) as unknown as string] });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = new StoreError('STORE_CLOSED');
    for (const end of this.#underWay) end(closed);
    await this.#client.close();
  }

  #readRows(what: ReadOptions): Promise<Found[]> {
    return this.#call<Found[]>(this.#limits.answerMs, (resolve, reject) => {
      const found: Found[] = [];
      const stream = this.#table.createReadStream({
        ...what,
        decode: false,
        filter: newestCell,
        gaxOptions: { timeout: this.#limits.answerMs },
      });
      stream.on('data', (row: Row) => found.push(foundIn(row)));
      stream.on('error', reject);
      stream.on('end', () => resolve(found));
      return () => stream.end();
    });
  }

  async #mutate(entries: readonly RowMutation[]): Promise<void> {
    for (let from = 0; from < entries.length;) {
      let to = from;
      for (let bytes = 0; to < entries.length && to - from < writeCountMax && bytes < writeBytesMax; to++)
        bytes += entries[to]!.bytes;
      const piece = entries.slice(from, to).map(({ rowKey, mutations }) => ({ rowKey, mutations }));
      const waitMs = this.#limits.answerMs * 4;
      await this.#call<void>(waitMs, (resolve, reject) => {
        this.#table.mutate(piece, { rawMutation: true, gaxOptions: { timeout: waitMs } }, (error: unknown) => {
          if (error) reject(error);
          else resolve();
        });
        return undefined;
      });
      from = to;
    }
  }

  /** Settles within `waitMs`, whatever grpc does. `begin` returns what takes the call back. */
  #call<Answer>(
    waitMs: number,
    begin: (resolve: (answer: Answer) => void, reject: (error: unknown) => void) => (() => void) | undefined,
  ): Promise<Answer> {
    this.#refuseIfClosed();
    if (this.#underWay.size >= this.#limits.callsInFlightMax)
      return Promise.reject(new StoreError('STORE_BUSY', bigtableName(this.#address)));
    return new Promise((resolve, reject) => {
      this.#silentSinceMs = Math.min(this.#silentSinceMs, performance.now());
      let takeBack: (() => void) | undefined;
      const end = (error: StoreError): void => {
        if (!this.#underWay.delete(end)) return;
        clearTimeout(timer);
        reject(error);
        takeBack?.();
      };
      // A little after grpc's own deadline, which says more.
      const timer = setTimeout(() => {
        end(new StoreError('STORE_TIMEOUT', bigtableName(this.#address)));
        this.#renewIfSilent();
      }, waitMs + 50);
      this.#underWay.add(end);
      takeBack = begin(
        (answer) => {
          if (!this.#underWay.delete(end)) return;
          clearTimeout(timer);
          this.#silentSinceMs = Number.POSITIVE_INFINITY;
          resolve(answer);
        },
        (error) => {
          const fault = bigtableFault(this.#address, error);
          if (fault.code !== 'STORE_TIMEOUT') this.#silentSinceMs = Number.POSITIVE_INFINITY;
          end(fault);
          this.#renewIfSilent();
        },
      );
    });
  }

  /** A connection that died without a word would only be noticed by grpc's keepalive, after 40 s. */
  #renewIfSilent(): void {
    if (this.#closing !== undefined || performance.now() - this.#silentSinceMs < this.#limits.silenceMs) return;
    this.#silentSinceMs = Number.POSITIVE_INFINITY;
    const old = this.#client;
    this.#client = openBigtable(this.#address);
    this.#table = tableOf(this.#client, this.#address);
    old.close().catch(() => {
      // It is given up either way.
    });
  }

  #refuseIfClosed(): void {
    if (this.#closing !== undefined) throw new StoreError('STORE_CLOSED');
  }
}

type RowMutation = { readonly rowKey: Buffer; readonly mutations: readonly object[]; readonly bytes: number };
type ReadOptions = {
  readonly keys?: string[];
  readonly ranges?: { start: { value: string; inclusive: boolean }; end?: { value: string; inclusive: boolean } }[];
  readonly limit?: number;
};

/** What is left of one salt's range, a page at a time. */
class SaltedRange {
  readonly #now: () => number;
  readonly #read: (what: ReadOptions) => Promise<Found[]>;
  readonly #end: Buffer;
  #start: Buffer;
  #inclusive = true;
  #page: Found[] = [];
  #at = 0;
  #isLast = false;

  constructor(salt: number, prefix: Buffer, now: () => number, read: (what: ReadOptions) => Promise<Found[]>) {
    this.#now = now;
    this.#read = read;
    this.#start = salted(salt, prefix);
    // Salts are small, so there is always something behind a prefix with its salt.
    this.#end = endOfPrefix(this.#start)!;
  }

  get next(): Found | undefined {
    return this.#page[this.#at];
  }

  async step(): Promise<void> {
    this.#at++;
    if (this.next === undefined) await this.fill();
  }

  /** Until there is something, or nothing is left: a page may hold only what has expired. */
  async fill(): Promise<void> {
    while (this.next === undefined && !this.#isLast) {
      const page = await this.#read({
        ranges: [
          {
            start: { value: this.#start as unknown as string, inclusive: this.#inclusive },
            end: { value: this.#end as unknown as string, inclusive: false },
          },
        ],
        limit: scanPage,
      });
      this.#isLast = page.length < scanPage;
      const last = page.at(-1);
      if (last !== undefined) this.#start = Buffer.concat([this.#start.subarray(0, 1), last.key]);
      this.#inclusive = false;
      const nowMs = this.#now();
      this.#page = page.filter(({ expiresMs }) => expiresMs > nowMs);
      this.#at = 0;
    }
  }
}

type Cell = { readonly value: Buffer; readonly timestamp: string | number };

/** A row with none of our cells, or whose cells are being collected, is one that has expired. */
function foundIn(row: Row): Found {
  const data = row.data as Readonly<Record<string, Readonly<Record<string, readonly Cell[]>>>>;
  const key = Buffer.from(keyOfRow(row.id as unknown as Buffer));
  const kept = data[families.kept]?.[qualifier]?.[0];
  if (kept !== undefined) return { key, value: kept.value, expiresMs: Number.POSITIVE_INFINITY };
  const timed = data[families.timed]?.[qualifier]?.[0];
  return timed === undefined
    ? { key, value: Buffer.alloc(0), expiresMs: 0 }
    : { key, value: timed.value, expiresMs: Number(timed.timestamp) / 1000 };
}
