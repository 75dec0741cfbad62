import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { fitScale } from '#embeddings/quantisation.ts';
import { QuantisedTable } from '#embeddings/quantised-table.ts';
import { SharedUserTable, type UserVectorsShared } from '#embeddings/shared-user-table.ts';
import { VectorTable } from '#embeddings/vector-table.ts';
import { idsOfUser, idsPerUser, userKey } from './numbered-users.ts';

const error = (code: string): Error => expect.objectContaining({ code }) as Error;

/** The same rows of two numbers as either kind of table; int8 has 0 to 255 in whole steps. */
const kinds: readonly [string, (rows: Float32Array) => UserVectorsShared][] = [
  [
    'float32',
    (rows) => {
      const shared = VectorTable.allocate(rows.length / 2, 2);
      new VectorTable(shared).data.set(rows);
      return shared;
    },
  ],
  [
    'int8',
    (rows) => {
      const shared = QuantisedTable.allocate(rows.length / 2, fitScale(Float32Array.of(0, 0, 255, 255), 2));
      const table = new QuantisedTable(shared);
      for (let row = 0; row < table.rowCount; row++) table.setRow(row, rows, row * 2);
      return shared;
    },
  ],
];

test.each(kinds)('%s: row 0 is whoever is unknown; users get the rows after it', (_kind, vectors) => {
  const shared = SharedUserTable.around(vectors(Float32Array.of(9, 9, 0, 0, 5, 6)), 2, 20);
  const table = new SharedUserTable(structuredClone(shared));
  const own = new Float32Array(2);
  const vectorOf = (key: string): number[] => [...table.vectorOf(table.rowOf(key), own)];
  expect(table.add('ann', [1, 2])).toBe(1);
  expect(table.add('bob', Uint32Array.of(3, 4))).toBe(2);
  expect(['ann', 'bob', 'eve', ''].map((key) => table.rowOf(key))).toEqual([1, 2, 0, 0]);
  expect([...table.idsOf(1), ...table.idsOf(2), ...table.idsOf(0)]).toEqual([1, 2, 3, 4, 0, 0]);
  expect([...vectorOf('bob'), ...vectorOf('eve')]).toEqual([5, 6, 9, 9]);
  expect(table.userCount).toBe(2);
});

test('a known user keeps the row and gets the new ids, even when the table is full', () => {
  const table = new SharedUserTable(SharedUserTable.allocate(2, 2, 2, 20));
  table.add('ann', [1, 2]);
  expect(table.add('ann', [7, 8])).toBe(1);
  expect([...table.idsOf(1)]).toEqual([7, 8]);
  expect(() => table.add('bob', [1, 2])).toThrow(error('USER_TABLE_FULL'));
  expect([table.rowOf('bob'), table.userCount]).toEqual([0, 1]);
});

test('wrong numbers of ids and rows outside are refused', () => {
  const table = new SharedUserTable(SharedUserTable.allocate(2, 2, 2, 20));
  expect(() => table.add('ann', [1])).toThrow(error('SIZE_MISMATCH'));
  for (const row of [-1, 2, Number.NaN]) {
    expect(() => table.idsOf(row)).toThrow(error('ROW_OUT_OF_RANGE'));
    expect(() => table.vectorOf(row, new Float32Array(2))).toThrow(error('ROW_OUT_OF_RANGE'));
  }
});

test('a reader in another thread finds users whole or not at all while they are added', async () => {
  const userCount = 20_000;
  let textBytes = 0;
  for (let user = 1; user <= userCount; user++) textBytes += Buffer.byteLength(userKey(user));
  const shared = SharedUserTable.allocate(userCount + 1, 2, idsPerUser, textBytes);
  const table = new SharedUserTable(shared);
  const reader = new Worker(new URL('index-reader-child.ts', import.meta.url), { workerData: { shared, userCount } });
  const said: unknown[] = [];
  const ended = new Promise((resolve, reject) => {
    reader.once('exit', resolve);
    reader.once('error', reject);
  });
  await new Promise<void>((resolve) => {
    reader.on('message', (message: unknown) => {
      said.push(message);
      resolve();
    });
  });
  // In portions, so that the reader sees many states of the table.
  for (let user = 1; user <= userCount; user++) {
    table.add(userKey(user), idsOfUser(user));
    if (user % 500 === 0) await new Promise((resolve) => void setTimeout(resolve, 1));
  }
  await ended;
  const { problems, found } = said[1] as { problems: string[]; found: number };
  expect(problems).toEqual([]);
  expect(found).toBeGreaterThan(userCount / 10);
});
