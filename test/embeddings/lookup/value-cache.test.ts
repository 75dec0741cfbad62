import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ValueCache } from '#embeddings/lookup/value-cache.ts';

function put(
  cache: ValueCache,
  table: number,
  key: string,
  value: string | undefined,
  expiresMs = 1e9,
  goneMs = expiresMs,
): void {
  const bytes = Buffer.from(key, 'latin1');
  const payload = value === undefined ? undefined : Buffer.from(value, 'latin1');
  cache.put(table, cache.hashOf(table, bytes), bytes, 0, payload, 7, expiresMs, goneMs);
}

/** `null`: known to be absent; undefined: not known. */
function get(
  cache: ValueCache,
  table: number,
  key: string,
  nowMs = 0,
  isStaleEnough = false,
): string | null | undefined {
  const bytes = Buffer.from(key, 'latin1');
  const hash = cache.hashOf(table, bytes);
  const slot = isStaleEnough ? cache.findStale(table, hash, bytes, 0, nowMs) : cache.find(table, hash, bytes, nowMs);
  return slot < 0 ? undefined : (cache.valueAt(slot)?.toString('latin1') ?? null);
}

test('does what a plain map with an order would do', () => {
  const key = fc.integer({ min: 0, max: 40 }).map((number) => `key ${number}`);
  const step = fc.oneof(
    fc.record({
      what: fc.constant('put' as const),
      key,
      value: fc.option(fc.string({ maxLength: 20 })),
      ttl: fc.nat(50),
      staleFor: fc.nat(50),
    }),
    fc.record({ what: fc.constantFrom('get' as const, 'getStale' as const, 'drop' as const), key }),
    fc.record({ what: fc.constant('dropTable' as const) }),
    fc.record({ what: fc.constant('wait' as const), ms: fc.nat(20) }),
  );
  const entriesMax = 12;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const cache = new ValueCache(entriesMax, 1_000_000, 42);
      const model = new Map<string, { value: string | null; expiresMs: number; goneMs: number }>();
      const answers: (string | null | undefined)[] = [];
      const wanted: (string | null | undefined)[] = [];
      let nowMs = 0;
      for (const each of steps) {
        if (each.what === 'wait') nowMs += each.ms;
        else if (each.what === 'dropTable') {
          cache.dropTable(1);
          for (const [name, entry] of model) model.set(name, { ...entry, goneMs: -1 });
        } else if (each.what === 'drop') {
          const bytes = Buffer.from(each.key);
          cache.drop(1, cache.hashOf(1, bytes), bytes);
          model.delete(each.key);
        } else if (each.what === 'put') {
          const value = each.value === null ? null : Buffer.from(each.value).toString('latin1');
          const expiresMs = nowMs + each.ttl;
          const goneMs = expiresMs + each.staleFor;
          put(cache, 1, each.key, value ?? undefined, expiresMs, goneMs);
          model.delete(each.key);
          if (model.size === entriesMax) model.delete(model.keys().next().value!);
          model.set(each.key, { value, expiresMs, goneMs });
        } else {
          const isStaleEnough = each.what === 'getStale';
          answers.push(get(cache, 1, each.key, nowMs, isStaleEnough));
          const entry = model.get(each.key);
          const isThere = entry !== undefined && nowMs < entry.goneMs;
          const isFound = isThere && (isStaleEnough || nowMs < entry.expiresMs);
          wanted.push(isFound ? entry.value : undefined);
          // What is past its time stays where it is in the order; what is used becomes the newest.
          if (isFound || !isThere) model.delete(each.key);
          if (isFound) model.set(each.key, entry);
        }
        expect(cache.entries).toBe(model.size);
      }
      expect(answers).toEqual(wanted);
    }),
  );
});

test('stays within its bytes whatever comes, and gives them all back', () => {
  const entry = fc.record({ key: fc.nat(500), length: fc.oneof(fc.nat(200), fc.nat(30_000)) });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 300 }), fc.integer({ min: 100, max: 200_000 }), (entries, bytesMax) => {
      const cache = new ValueCache(100, bytesMax, 1);
      for (const { key, length } of entries) {
        const value = `${key}`.padEnd(length, '.');
        put(cache, 0, `key ${key}`, value);
        expect(cache.bytes).toBeLessThanOrEqual(bytesMax);
        expect(cache.entries).toBeLessThanOrEqual(100);
        const isKept = value.length + `key ${key}`.length <= bytesMax;
        expect(get(cache, 0, `key ${key}`)).toBe(isKept ? value : undefined);
      }
      cache.clear();
      expect([cache.entries, cache.bytes]).toEqual([0, 0]);
    }),
    { numRuns: 50 },
  );
});

test('grows past its first arrays and still knows everything', () => {
  const cache = new ValueCache(20_000, 50_000_000, 9);
  for (let number = 0; number < 25_000; number++) put(cache, number % 3, `user ${number}`, `value ${number}`);
  expect(cache.entries).toBe(20_000);
  expect(cache.evicted).toBe(5000);
  for (let number = 0; number < 25_000; number++) {
    expect(get(cache, number % 3, `user ${number}`)).toBe(number < 5000 ? undefined : `value ${number}`);
  }
});

test('a value handed out stays as it was when its place goes to another', () => {
  const cache = new ValueCache(4, 100_000, 9);
  put(cache, 0, 'a', 'first');
  const bytes = Buffer.from('a');
  const value = cache.valueAt(cache.find(0, cache.hashOf(0, bytes), bytes, 0))!;
  for (let number = 0; number < 10_000; number++) put(cache, 0, `other ${number}`, 'xxxxxxxxxxxx');
  expect(value.toString()).toBe('first');
});
