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
