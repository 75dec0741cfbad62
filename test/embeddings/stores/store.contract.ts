import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError, type StoreFault } from '#embeddings/stores/store-errors.ts';
import { type KeyValueStore, storeKeyBytesMax, storeValueBytesMax } from '#embeddings/stores/store.ts';
import { until } from '../../support/until.ts';

/** Opens a client of its own each time it is called; what it writes may be there already, and may be there the next time. */
export type BuildStore<Store extends KeyValueStore = KeyValueStore> = () => Store | Promise<Store>;

export function keepsTheStoreContract(name: string, build: BuildStore): void {
  describe(`${name} keeps the store contract`, () => {
    let store: KeyValueStore;
    beforeAll(async () => {
      store = await build();
      await store.ready();
    });
    afterAll(() => store.close());

    test('names its shards and their copies', () => {
      expect(store.shardCount).toBeGreaterThan(0);
      for (let shard = 0; shard < store.shardCount; shard++) {
        const names = Array.from({ length: store.copyCount(shard) }, (_, copy) => store.copyName(shard, copy));
        expect(names.length).toBeGreaterThan(0);
        expect(names.every((each) => each !== '')).toBe(true);
        expect(new Set(names).size).toBe(names.length);
      }
    });

    test('puts a key on one of its shards, always the same', () => {
      fc.assert(
        fc.property(someKey, (key) => {
          const shard = store.shardOf(key);
          expect(Number.isInteger(shard) && shard >= 0 && shard < store.shardCount).toBe(true);
          expect(store.shardOf(Buffer.from(key))).toBe(shard);
        }),
      );
    });

    test('has nothing under a key that nobody wrote', async () => {
      expect(await valuesOf(store, [ownKey('nobody'), ownKey('nobody either')])).toEqual([undefined, undefined]);
    });

    test('reads nothing when asked for nothing', async () => {
      expect(await store.read(0, 0, [])).toEqual([]);
    });

    test('writes and removes nothing when given nothing', async () => {
      await expect(store.write([])).resolves.toBeUndefined();
      await expect(store.remove([])).resolves.toBeUndefined();
    });

    test('gives back keys and values of any bytes, each at its place', { timeout: 60_000 }, async () => {
      const entries = fc.uniqueArray(fc.record({ key: someKey, value: someValue }), {
        minLength: 1,
        maxLength: 40,
        selector: ({ key }) => key.toString('latin1'),
      });
      await fc.assert(
        fc.asyncProperty(entries, async (written) => {
          const keys = written.map(({ key }) => key);
          await store.write(written);
          expectSame(
            await valuesOf(store, keys),
            written.map(({ value }) => value),
          );
          await store.remove(keys);
          expectSame(
            await valuesOf(store, keys),
            keys.map(() => undefined),
          );
        }),
        { numRuns: 30 },
      );
    });

    test('takes the longest key and the longest value', async () => {
      const key = Buffer.concat([ownKey('longest'), Buffer.alloc(storeKeyBytesMax, 0xff)]).subarray(
        0,
        storeKeyBytesMax,
      );
      const sibling = Buffer.from(key);
      sibling[storeKeyBytesMax - 1] = 0xfe;
      const value = Buffer.alloc(storeValueBytesMax, '\r\n$-1\r\nEND\r\n');
      await store.write([{ key, value }]);
      expectSame(await valuesOf(store, [key, sibling]), [value, undefined]);
      await store.remove([key]);
    });

    test(
      'reads two thousand keys, absent ones among them, in any order and repeatedly',
      { timeout: 60_000 },
      async () => {
        const keys = Array.from({ length: 2000 }, (_, index) => ownKey(`many ${index}`));
        const written = keys
          .filter((_, index) => index % 3 !== 0)
          .map((key) => ({ key, value: Buffer.concat([key, key]) }));
        await store.write(written);
        const expected = keys.map((key, index) => (index % 3 === 0 ? undefined : Buffer.concat([key, key])));
        expectSame(await valuesOf(store, keys), expected);
        expectSame(await valuesOf(store, [...keys.toReversed(), ...keys]), [...expected.toReversed(), ...expected]);
        await store.remove(keys);
      },
    );

    test('answers a key that is asked for twice at both places', async () => {
      const key = ownKey('twice');
      await store.write([{ key, value: Buffer.from('here') }]);
      const values = await store.read(store.shardOf(key), 0, [key, key]);
      expectSame(values, [Buffer.from('here'), Buffer.from('here')]);
    });

    test('overwrites, with a shorter value too', async () => {
      const key = ownKey('overwritten');
      for (const value of ['first', 'the second and longer', '3', '']) {
        await store.write([{ key, value: Buffer.from(value) }]);
        expectSame(await valuesOf(store, [key]), [Buffer.from(value)]);
      }
    });

    test('removes what it is told to, and nothing else; what is not there is no error', async () => {
      const [gone, stays] = [ownKey('gone'), ownKey('stays')];
      await store.write([gone, stays].map((key) => ({ key, value: key })));
      await store.remove([gone, ownKey('never there')]);
      await store.remove([gone]);
      expectSame(await valuesOf(store, [gone, stays]), [undefined, stays]);
    });

    test('keeps bytes of its own: what the caller does with his later changes nothing', async () => {
      const key = ownKey('own bytes');
      const value = Buffer.from('as written');
      const entry = { key: Buffer.from(key), value: Buffer.from(value) };
      await store.write([entry]);
      entry.key.fill(0);
      entry.value.fill(0);
      expectSame(await valuesOf(store, [key]), [value]);
    });

    test('a value that was read stays as it is when the key is overwritten and removed', async () => {
      const key = ownKey('held');
      const value = Buffer.alloc(300, 'held');
      await store.write([{ key, value }]);
      const [held] = await valuesOf(store, [key]);
      await store.write([{ key, value: Buffer.alloc(300, 'other') }]);
      await store.remove([key]);
      for (let index = 0; index < 20; index++)
        await store.write([{ key: ownKey(`after ${index}`), value: Buffer.alloc(300, 'x') }]);
      expectSame([held], [value]);
    });

    test('lets go of a value when its time is over, not before', { timeout: 60_000 }, async () => {
      const [short, long, endless] = [ownKey('short'), ownKey('long'), ownKey('endless')];
      const value = Buffer.from('for a while');
      const ttlMs = 1500;
      const startedMs = performance.now();
      await store.write([
        { key: short, value, ttlMs },
        { key: long, value, ttlMs: 600_000 },
        { key: endless, value },
      ]);
      const [early] = await valuesOf(store, [short]);
      // On a machine that slept meanwhile the value may rightly be gone.
      if (performance.now() - startedMs < ttlMs) expectSame([early], [value]);
      await until(async () => (await valuesOf(store, [short]))[0] === undefined, 'the value is let go');
      expect(performance.now() - startedMs).toBeGreaterThan(ttlMs - 50);
      expectSame(await valuesOf(store, [long, endless]), [value, value]);
    });

    test('overwriting without a time lifts the time set before', { timeout: 60_000 }, async () => {
      const [lifted, watch] = [ownKey('lifted'), ownKey('watch')];
      await store.write([{ key: lifted, value: Buffer.from('short'), ttlMs: 1000 }]);
      await store.write([{ key: lifted, value: Buffer.from('for good') }]);
      await store.write([{ key: watch, value: Buffer.from('short'), ttlMs: 1500 }]);
      await until(async () => (await valuesOf(store, [watch]))[0] === undefined, 'the watched value is let go');
      expectSame(await valuesOf(store, [lifted]), [Buffer.from('for good')]);
    });

    test('refuses a key or a value that is too long, and writes nothing of that call', async () => {
      const fine = { key: ownKey('fine'), value: Buffer.from('fine') };
      const longKey = Buffer.alloc(storeKeyBytesMax + 1, 'k');
      const longValue = Buffer.alloc(storeValueBytesMax + 1, 'v');
      await expectFault(() => store.write([fine, { key: longKey, value: fine.value }]), 'STORE_KEY_TOO_LONG');
      await expectFault(
        () => store.write([fine, { key: ownKey('long value'), value: longValue }]),
        'STORE_VALUE_TOO_LONG',
      );
      await expectFault(() => store.remove([longKey]), 'STORE_KEY_TOO_LONG');
      expectSame(await valuesOf(store, [fine.key, ownKey('long value')]), [undefined, undefined]);
    });

    test('finds nothing under a key that is too long, and the rest beside it', async () => {
      const key = ownKey('beside');
      await store.write([{ key, value: key }]);
      const longKey = Buffer.alloc(storeKeyBytesMax + 1, 'k');
      expectSame(await valuesOf(store, [longKey, key]), [undefined, key]);
    });

    test('answers calls that run at the same time each with its own', { timeout: 60_000 }, async () => {
      const keys = Array.from({ length: 300 }, (_, index) => ownKey(`at once ${index}`));
      await Promise.all(keys.map((key) => store.write([{ key, value: key }])));
      const answers = await Promise.all(
        keys.map((key, index) => valuesOf(store, [key, keys[(index + 7) % keys.length]!])),
      );
      for (const [index, answer] of answers.entries())
        expectSame(answer, [keys[index], keys[(index + 7) % keys.length]]);
      await store.remove(keys);
    });

    test('every copy comes to know what was written', { timeout: 60_000 }, async () => {
      const keys = Array.from({ length: 50 }, (_, index) => ownKey(`copied ${index}`));
      await store.write(keys.map((key) => ({ key, value: key })));
      for (let copy = 0; copy < copiesOf(store); copy++) {
        await until(
          async () => (await valuesOf(store, keys, copy)).every((value, index) => value?.equals(keys[index]!)),
          `copy ${copy} has it`,
        );
      }
    });

    test('is ready, and says so again', async () => {
      await expect(store.ready()).resolves.toBeUndefined();
    });

    test('answers nothing but STORE_CLOSED once it is closed, and closes twice', async () => {
      const other = await build();
      await other.ready();
      const key = ownKey('closed');
      await other.write([{ key, value: key }]);
      await other.close();
      await other.close();
      await expectFault(() => other.read(0, 0, [key]), 'STORE_CLOSED');
      await expectFault(() => other.write([{ key, value: key }]), 'STORE_CLOSED');
      await expectFault(() => other.remove([key]), 'STORE_CLOSED');
      await expectFault(() => other.ready(), 'STORE_CLOSED');
    });

    test('settles every call that is under way when it is closed', async () => {
      const other = await build();
      await other.ready();
      const keys = Array.from({ length: 200 }, (_, index) => ownKey(`under way ${index}`));
      const settled = Promise.allSettled(keys.map((key) => valuesOf(other, [key])));
      await other.close();
      const wrong = (await settled).filter((each) =>
        each.status === 'rejected' ? (each.reason as StoreError).code !== 'STORE_CLOSED' : each.value[0] !== undefined,
      );
      expect(wrong).toEqual([]);
    });
  });
}

/** Values at the places of their keys, each asked from its own shard; a shard with fewer copies answers with its last. */
export async function valuesOf(
  store: KeyValueStore,
  keys: readonly Buffer[],
  copy = 0,
): Promise<(Buffer | undefined)[]> {
  const values: (Buffer | undefined)[] = keys.map(() => undefined);
  const places = Map.groupBy(keys.keys(), (place) => store.shardOf(keys[place]!));
  await Promise.all(
    [...places].map(async ([shard, mine]) => {
      const asked = mine.map((place) => keys[place]!);
      const found = await store.read(shard, Math.min(copy, store.copyCount(shard) - 1), asked);
      expect(found.length).toBe(asked.length);
      for (const [index, place] of mine.entries()) values[place] = found[index];
    }),
  );
  return values;
}

/** A key that no other test uses. */
export function ownKey(name: string): Buffer {
  return Buffer.from(`${process.pid}.${performance.timeOrigin} ${name}`);
}

/** By bytes; a message that names the place instead of printing 64 KiB. */
export function expectSame(found: readonly (Buffer | undefined)[], expected: readonly (Buffer | undefined)[]): void {
  expect(found.length).toBe(expected.length);
  const different = [...expected.keys()].filter((place) => {
    const [left, right] = [found[place], expected[place]];
    return left === undefined || right === undefined ? left !== right : !left.equals(right);
  });
  const shown = (values: readonly (Buffer | undefined)[]) =>
    different.slice(0, 3).map((place) => ({ place, value: values[place]?.toString('latin1') }));
  expect(shown(found)).toEqual(shown(expected));
}

/** Whether the call rejects or throws makes no difference, what with does. */
export async function expectFault(call: () => unknown, code: StoreFault): Promise<void> {
  let found: unknown;
  try {
    await call();
  } catch (error) {
    found = error;
  }
  expect(found).toBeInstanceOf(StoreError);
  expect((found as StoreError).code).toBe(code);
}

const someKey = fc
  .oneof(
    { weight: 4, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 40 }) },
    // What means something in the protocols and in hash tags.
    {
      weight: 2,
      arbitrary: fc.array(fc.constantFrom(0, 10, 13, 32, 36, 42, 47, 123, 125, 255), { minLength: 1, maxLength: 12 }),
    },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 200, maxLength: storeKeyBytesMax }) },
  )
  .map((bytes) => Buffer.from(bytes));

const someValue = fc
  .oneof(
    { weight: 5, arbitrary: fc.uint8Array({ maxLength: 200 }) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 5000, maxLength: 20_000 }) },
  )
  .map((bytes) => Buffer.from(bytes));

function copiesOf(store: KeyValueStore): number {
  return Math.max(...Array.from({ length: store.shardCount }, (_, shard) => store.copyCount(shard)));
}

/** The code of what a call rejects with; undefined when it does not. */
export async function faultOf(call: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
}

export function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code);
}
