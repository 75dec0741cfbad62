import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isOrdered, type OrderedStore, type StoreEntry } from '#embeddings/stores/store.ts';
import { type BuildStore, expectFault, expectSame, ownKey } from './store.contract.ts';

export function keepsTheOrderedContract(name: string, build: BuildStore<OrderedStore>): void {
  describe(`${name} keeps the contract of ordered stores`, () => {
    let store: OrderedStore;
    beforeAll(async () => {
      store = await build();
      await store.ready();
    });
    afterAll(() => store.close());

    test('says that it is ordered', () => {
      expect(isOrdered(store)).toBe(true);
    });

    test(
      'finds what begins with a prefix, in the order of the bytes, up to the limit',
      { timeout: 60_000 },
      async () => {
        let number = 0;
        const story = fc.record({
          tails: fc.uniqueArray(fc.uint8Array({ maxLength: 6 }), {
            minLength: 1,
            maxLength: 30,
            selector: (tail) => Buffer.from(tail).toString('latin1'),
          }),
          inner: fc.uint8Array({ maxLength: 2 }),
          limit: fc.integer({ min: 0, max: 35 }),
        });
        await fc.assert(
          fc.asyncProperty(story, async ({ tails, inner, limit }) => {
            const root = ownKey(`scan ${number++} `);
            const keys = tails.map((tail) => Buffer.concat([root, tail]));
            const prefix = Buffer.concat([root, inner]);
            await store.write(keys.map((key) => ({ key, value: Buffer.concat([Buffer.from('of '), key]) })));
            const expected = keys
              .filter((key) => key.subarray(0, prefix.length).equals(prefix))
              .toSorted((left, right) => Buffer.compare(left, right))
              .slice(0, limit);
            const found = await all(store.scan(prefix, limit));
            expectSame(keysOf(found), expected);
            expectSame(
              found.map(({ value }) => value),
              expected.map((key) => Buffer.concat([Buffer.from('of '), key])),
            );
            await store.remove(keys);
          }),
          { numRuns: 25 },
        );
      },
    );

    test('a prefix of highest bytes ends where its keys end', async () => {
      const root = ownKey('highest ');
      const prefix = Buffer.concat([root, Buffer.from([0xff, 0xff])]);
      const inside = [prefix, Buffer.concat([prefix, Buffer.from([0])]), Buffer.concat([prefix, Buffer.from([0xff])])];
      const outside = [Buffer.concat([root, Buffer.from([0xff, 0xfe, 0xff])]), Buffer.concat([root, Buffer.from('g')])];
      await store.write([...inside, ...outside].map((key) => ({ key, value: Buffer.from('x') })));
      expectSame(keysOf(await all(store.scan(prefix, 10))), inside);
    });

    test(
      'walks through far more than it holds at once, and stops when nobody listens any more',
      { timeout: 60_000 },
      async () => {
        const root = ownKey('long walk ');
        const keys = Array.from({ length: 3000 }, (_, index) =>
          Buffer.concat([root, Buffer.from(String(index).padStart(5, '0'))]),
        );
        await store.write(keys.map((key) => ({ key, value: key })));
        expectSame(keysOf(await all(store.scan(root, 10_000))), keys);
        let seen = 0;
        for await (const { key } of store.scan(root, 10_000)) {
          expect(key.equals(keys[seen]!)).toBe(true);
          if (++seen === 7) break;
        }
        expect(seen).toBe(7);
        await store.remove(keys);
        expect(await all(store.scan(root, 10_000))).toEqual([]);
      },
    );

    test('leaves out what has expired and says how long the rest lives', async () => {
      const root = ownKey('expiring ');
      const [gone, brief, lasting] = ['gone', 'hour', 'lasting'].map((tail) =>
        Buffer.concat([root, Buffer.from(tail)]),
      );
      const value = Buffer.from('v');
      await store.write([
        { key: gone!, value, ttlMs: 1 },
        { key: brief!, value, ttlMs: 3_600_000 },
        { key: lasting!, value },
      ]);
      await new Promise((resolve) => setTimeout(resolve, 30));
      const found = await all(store.scan(root, 10));
      expectSame(keysOf(found), [brief, lasting]);
      expect(found[0]!.ttlMs).toBeGreaterThan(3_000_000);
      expect(found[0]!.ttlMs).toBeLessThanOrEqual(3_600_000);
      expect(found[1]!.ttlMs).toBeUndefined();
    });

    test('answers STORE_CLOSED once it is closed', async () => {
      const other = await build();
      await other.ready();
      await other.close();
      await expectFault(() => all(other.scan(ownKey('closed'), 1)), 'STORE_CLOSED');
    });
  });
}

async function all(entries: AsyncIterable<StoreEntry>): Promise<StoreEntry[]> {
  const found: StoreEntry[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

function keysOf(entries: readonly StoreEntry[]): Buffer[] {
  return entries.map(({ key }) => key);
}
