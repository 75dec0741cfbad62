import { expect, test } from 'vitest';
import { VectorTable } from '#embeddings/vector-table.ts';
import { keepsTheTableContract } from './embedding-table.contract.ts';

keepsTheTableContract('VectorTable', (rows, dimension) => {
  const table = new VectorTable(VectorTable.allocate(rows.length / dimension, dimension));
  table.data.set(rows);
  return table;
});

test('what one view writes, another reads', () => {
  const shared = VectorTable.allocate(4, 3);
  const [writer, reader] = [new VectorTable(shared), new VectorTable(structuredClone(shared))];
  writer.row(2).set([1, 2, 3]);
  expect([...reader.row(2)]).toEqual([1, 2, 3]);
  expect([...reader.row(1)]).toEqual([0, 0, 0]);
});

test.each([-1, 4, Number.NaN])('row %s is refused', (row) => {
  expect(() => new VectorTable(VectorTable.allocate(4, 3)).row(row)).toThrow(
    expect.objectContaining({ code: 'ROW_OUT_OF_RANGE' }) as Error,
  );
});

test.each([1, 3, 4, 6, 64])(
  'many rows of %i are copied as they are, into a target that begins anywhere',
  (dimension) => {
    const table = new VectorTable(VectorTable.allocate(500, dimension));
    for (let at = 0; at < table.data.length; at++) table.data[at] = at / 7;
    table.row(9).fill(Number.POSITIVE_INFINITY);
    table.row(10).fill(Number.NaN);
    const rows = Uint32Array.from({ length: 333 }, (_, index) => (index * 61) % 500);
    const wanted = Array.from(rows).flatMap((row) => [...table.row(row)]);
    const buffer = new ArrayBuffer(4 * (rows.length * dimension + 3));
    for (const offset of [0, 1, 2]) {
      const target = new Float32Array(buffer, offset * 4, rows.length * dimension);
      table.gather(rows, target.fill(-1));
      expect([...target]).toEqual(wanted);
    }
  },
);
