import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AppendingStore, isAppending, storeKeyBytesMax, storeValueBytesMax } from '#embeddings/stores/store.ts';
import { until } from '../../support/until.ts';
import { type BuildStore, expectFault, expectSame, ownKey, valuesOf } from './store.contract.ts';

const hourMs = 3_600_000;

export function keepsTheAppendingContract(name: string, build: BuildStore<AppendingStore>): void {
  describe(`${name} keeps the contract of appending stores`, () => {
    let store: AppendingStore;
    beforeAll(async () => {
      store = await build();
      await store.ready();
    });
    afterAll(() => store.close());

    test('says that it can append', () => {
      expect(isAppending(store)).toBe(true);
    });

    test('keeps the last records in the order they came', { timeout: 60_000 }, async () => {
      const story = fc.record({
        recordBytes: fc.integer({ min: 1, max: 40 }),
        countMax: fc.integer({ min: 1, max: 8 }),
        records: fc.array(fc.uint8Array({ minLength: 40, maxLength: 40 }), { minLength: 1, maxLength: 20 }),
      });
      let number = 0;
      await fc.assert(
        fc.asyncProperty(story, async ({ recordBytes, countMax, records }) => {
          const key = ownKey(`ordered ${number++}`);
          const cut = records.map((record) => Buffer.from(record).subarray(0, recordBytes));
          for (const record of cut) await store.append(key, record, countMax, hourMs);
          expectSame(await valuesOf(store, [key]), [Buffer.concat(cut.slice(-countMax))]);
          await store.remove([key]);
        }),
        { numRuns: 30 },
      );
    });

    test('a smaller limit cuts an older list', async () => {
      const key = ownKey('cut');
      for (const record of ['aa', 'bb', 'cc', 'dd']) await store.append(key, Buffer.from(record), 4, hourMs);
      await store.append(key, Buffer.from('ee'), 2, hourMs);
      expectSame(await valuesOf(store, [key]), [Buffer.from('ddee')]);
    });

    test('begins anew where records of another length stand', async () => {
      const key = ownKey('other length');
      await store.append(key, Buffer.from('abc'), 5, hourMs);
      await store.append(key, Buffer.from('de'), 5, hourMs);
      expectSame(await valuesOf(store, [key]), [Buffer.from('de')]);
    });

    test('loses and tears nothing when many append at once', { timeout: 60_000 }, async () => {
      const key = ownKey('crowd');
      const records = Array.from({ length: 120 }, (_, index) =>
        Buffer.alloc(24, String.fromCharCode(32 + (index % 90), 200 + (index % 50))),
      );
      await Promise.all(records.map((record) => store.append(key, record, 200, hourMs)));
      const [list] = await valuesOf(store, [key]);
      const found = Array.from({ length: list!.length / 24 }, (_, index) =>
        list!.toString('latin1', index * 24, index * 24 + 24),
      );
      expect(found.toSorted()).toEqual(records.map((record) => record.toString('latin1')).toSorted());
    });

    test('appends to different lists at once, each for itself', { timeout: 60_000 }, async () => {
      const keys = Array.from({ length: 60 }, (_, index) => ownKey(`list ${index}`));
      await Promise.all(
        keys.flatMap((key, index) => [1, 2, 3].map((step) => store.append(key, Buffer.from([step, index]), 2, hourMs))),
      );
      const lists = await valuesOf(store, keys);
      for (const [index, list] of lists.entries()) {
        const [first, own, second, alsoOwn, ...rest] = [...list!];
        expect([own, alsoOwn, rest]).toEqual([index, index, []]);
        expect(first).not.toBe(second);
      }
    });

    test('the list lives as long as its last record was given', { timeout: 60_000 }, async () => {
      const [key, kept] = [ownKey('brief'), ownKey('prolonged')];
      const startedMs = performance.now();
      await store.append(kept, Buffer.from('x'), 5, 1000);
      await store.append(kept, Buffer.from('y'), 5, hourMs);
      await store.append(key, Buffer.from('x'), 5, 1500);
      const [early] = await valuesOf(store, [key]);
      if (performance.now() - startedMs < 1500) expectSame([early], [Buffer.from('x')]);
      await until(async () => (await valuesOf(store, [key]))[0] === undefined, 'the list is let go');
      const [prolonged] = await valuesOf(store, [kept]);
      // A machine that slept for a second between the two loses the first.
      expect(['xy', 'y']).toContain(prolonged?.toString());
      await store.append(key, Buffer.from('z'), 5, hourMs);
      expectSame(await valuesOf(store, [key]), [Buffer.from('z')]);
    });

    test('a list can be removed and overwritten like a value', async () => {
      const key = ownKey('both');
      await store.append(key, Buffer.from('ab'), 5, hourMs);
      await store.write([{ key, value: Buffer.from('plain!') }]);
      expectSame(await valuesOf(store, [key]), [Buffer.from('plain!')]);
      await store.remove([key]);
      expectSame(await valuesOf(store, [key]), [undefined]);
    });

    test('refuses what could outgrow a value, and a key that is too long', async () => {
      const key = ownKey('too much');
      await expectFault(() => store.append(key, Buffer.alloc(1025), 64, hourMs), 'STORE_VALUE_TOO_LONG');
      await expectFault(
        () => store.append(Buffer.alloc(storeKeyBytesMax + 1), Buffer.from('x'), 1, hourMs),
        'STORE_KEY_TOO_LONG',
      );
      await store.append(key, Buffer.alloc(1024, 'r'), storeValueBytesMax / 1024, hourMs);
      expectSame(await valuesOf(store, [key]), [Buffer.alloc(1024, 'r')]);
    });

    test('appends nothing once it is closed', async () => {
      const other = await build();
      await other.ready();
      await other.close();
      await expectFault(() => other.append(ownKey('closed'), Buffer.from('x'), 1, hourMs), 'STORE_CLOSED');
    });
  });
}
