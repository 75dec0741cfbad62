import fc from 'fast-check';
import { expect, test } from 'vitest';
import { keyOfRow, rowKeyOf, saltCount, saltsOf } from '#embeddings/stores/bigtable-rows.ts';
import { historyKey, historyPrefix } from './history-keys.ts';

const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength }).map((each) => Buffer.from(each));

test('a row gives its key back', () => {
  fc.assert(fc.property(bytes(1, 60), (key) => keyOfRow(rowKeyOf(key)).equals(key)));
});

test('whatever begins with a prefix lies under one of the salts of the prefix', () => {
  const few = fc.array(fc.constantFrom(0, 1, 65, 255), { maxLength: 6 }).map((each) => Buffer.from(each));
  fc.assert(
    fc.property(few, few, (prefix, tail) => {
      const row = rowKeyOf(Buffer.concat([prefix, tail]));
      expect(saltsOf(prefix)).toContain(row[0]);
      expect(saltsOf(prefix).length).toBe(prefix.includes(0) ? 1 : saltCount);
    }),
  );
});

test('keys that count upwards spread over all salts', () => {
  const counts = Array.from({ length: saltCount }, () => 0);
  for (let number = 0; number < 16_000; number++) counts[rowKeyOf(Buffer.from(`user:${1_000_000 + number}`))[0]!]!++;
  for (const count of counts) {
    expect(count).toBeGreaterThan(800);
    expect(count).toBeLessThan(1200);
  }
});

test('a history lies in one place, the latest first', () => {
  fc.assert(
    fc.property(
      bytes(1, 20),
      fc.uniqueArray(fc.integer({ min: 0, max: 2 ** 48 - 1 }), { maxLength: 20 }),
      (entity, times) => {
        const rows = times.map((timeMs) => rowKeyOf(historyKey(entity, timeMs)));
        expect(new Set(rows.map((row) => row[0])).size).toBeLessThanOrEqual(1);
        expect(
          rows.every((row) =>
            keyOfRow(row)
              .subarray(0, entity.length + 1)
              .equals(historyPrefix(entity)),
          ),
        ).toBe(true);
        const sorted = times
          .toSorted((left, right) => right - left)
          .map((timeMs) => rowKeyOf(historyKey(entity, timeMs)));
        expect(rows.toSorted((left, right) => Buffer.compare(left, right))).toEqual(sorted);
      },
    ),
  );
});
