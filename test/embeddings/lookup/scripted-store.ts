import type { KeyValueStore, ReadValues, StoreEntry, StoreKind } from '#embeddings/stores/store.ts';
import { type LookupTable } from '#embeddings/lookup/lookup-table.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';

/** One read as the store saw it; settled by the test where the store holds its answers back. */
export type ScriptedRead = {
  readonly shard: number;
  readonly copy: number;
  readonly keys: readonly string[];
  answer(values?: ReadValues): void;
  fail(error: unknown): void;
};

type Script = (read: ScriptedRead) => void;

/** A store that does as the test says: answers at once (`now`), by a promise that is ready (`soon`), or when told (a script). */
export class ScriptedStore implements KeyValueStore {
  readonly kind: StoreKind = 'memory';
  readonly reads: ScriptedRead[] = [];
  readonly writes: StoreEntry[] = [];
  readonly values = new Map<string, Buffer>();
  shardCount: number;
  copies: number;
  behaviour: 'now' | 'soon' | Script;
  writeError: unknown;
  keepsReads = true;
  readCount = 0;

  constructor(behaviour: 'now' | 'soon' | Script = 'now', shardCount = 1, copies = 1) {
    this.behaviour = behaviour;
    this.shardCount = shardCount;
    this.copies = copies;
  }

  /** By the last byte, so that a test can say where a key lies. */
  shardOf(key: Buffer): number {
    return (key.at(-1) ?? 0) % this.shardCount;
  }

  copyCount(): number {
    return this.copies;
  }

  copyName(shard: number, copy: number): string {
    return `shard ${shard} copy ${copy}`;
  }

  read(shard: number, copy: number, keys: readonly Buffer[]): ReadValues | Promise<ReadValues> {
    this.readCount += 1;
    if (this.behaviour === 'now' && !this.keepsReads) return keys.map((key) => this.valueOf(key.toString('latin1')));
    const texts = keys.map((key) => key.toString('latin1'));
    const found = () => texts.map((text) => this.valueOf(text));
    const { promise, resolve, reject } = Promise.withResolvers<ReadValues>();
    const read: ScriptedRead = {
      shard,
      copy,
      keys: texts,
      answer: (values) => resolve(values ?? found()),
      fail: reject,
    };
    if (this.keepsReads) this.reads.push(read);
    if (this.behaviour === 'now') return found();
    if (this.behaviour === 'soon') resolve(found());
    else this.behaviour(read);
    return promise;
  }

  valueOf(key: string): Buffer | undefined {
    return this.values.get(key);
  }

  write(entries: readonly StoreEntry[]): Promise<void> {
    if (this.writeError !== undefined) return Promise.reject(this.writeError);
    for (const entry of entries) {
      this.writes.push(entry);
      this.values.set(entry.key.toString('latin1'), entry.value);
    }
    return Promise.resolve();
  }

  remove(keys: readonly Buffer[]): Promise<void> {
    for (const key of keys) this.values.delete(key.toString('latin1'));
    return Promise.resolve();
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Holds every answer back until the test gives it. */
export const held: Script = () => {};

export function tableIn(store: KeyValueStore, change: Partial<LookupTable> = {}): LookupTable {
  return {
    name: 'user_profile',
    keyPrefix: 'u:',
    store,
    format: { kind: 'value', version: 3, payloadBytes: -1 },
    cacheMs: 0,
    absentCacheMs: 0,
    staleMs: 0,
    ...change,
  };
}

export function stored(text: string, writtenMs = 0): Buffer {
  return storedValue(Buffer.from(text), 3, writtenMs);
}
