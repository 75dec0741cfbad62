import { expect, test } from 'vitest';
import { fitScale } from '#embeddings/quantisation.ts';
import { QuantisedTable } from '#embeddings/quantised-table.ts';
import { keepsTheTableContract } from './embedding-table.contract.ts';

function tableOf(rows: Float32Array, dimension: number): QuantisedTable {
  const table = new QuantisedTable(QuantisedTable.allocate(rows.length / dimension, fitScale(rows, dimension)));
  for (let row = 0; row < table.rowCount; row++) table.setRow(row, rows, row * dimension);
  return table;
}

// A range of 4 in 255 steps: half a step.
keepsTheTableContract('QuantisedTable', tableOf, 4 / 255 / 2 + 1e-6);

test('what one view writes, another reads', () => {
  const scale = fitScale(Float32Array.of(0, 0, 0, 255, 255, 255), 3);
  const shared = QuantisedTable.allocate(4, scale);
  const [writer, reader] = [new QuantisedTable(shared), new QuantisedTable(structuredClone(shared))];
  writer.setRow(2, Float32Array.of(9, 1, 2, 3), 1);
  expect([...reader.row(2)]).toEqual([1, 2, 3]);
  const target = new Float32Array(6);
  reader.gather(Uint32Array.of(2, 1), target);
  expect([...target]).toEqual([1, 2, 3, 0, 0, 0]);
});

test('one row goes into the numbers handed over, which must have room for it', () => {
  const table = tableOf(Float32Array.of(0, 0, 255, 255), 2);
  const own = new Float32Array(2);
  expect(table.vectorOf(1, own)).toBe(own);
  expect([...own]).toEqual([255, 255]);
  expect(() => table.vectorOf(0, new Float32Array(1))).toThrow(
    expect.objectContaining({ code: 'SIZE_MISMATCH' }) as Error,
  );
});

test('a row of no numbers is refused and leaves what was there', () => {
  const table = tableOf(Float32Array.of(1, 2, 3, 4), 2);
  const before = [...table.row(1)];
  expect(() => table.setRow(1, Float32Array.of(1, Number.NaN))).toThrow(
    expect.objectContaining({ code: 'VALUE_NOT_FINITE' }) as Error,
  );
  expect([...table.row(1)]).toEqual(before);
});

test.each([-1, 2, Number.NaN])('row %s is refused', (row) => {
  const table = tableOf(Float32Array.of(1, 2, 3, 4), 2);
  const error = expect.objectContaining({ code: 'ROW_OUT_OF_RANGE' }) as Error;
  expect(() => table.row(row)).toThrow(error);
  expect(() => table.setRow(row, Float32Array.of(1, 2))).toThrow(error);
});

test('10 million rows of 64 take 640 MB, a quarter of float32', () => {
  expect(QuantisedTable.bytesFor(10_000_000, 64)).toBe(640_000_000);
  const scale = fitScale(new Float32Array(64), 64);
  expect(QuantisedTable.allocate(1000, scale).data.byteLength).toBe(QuantisedTable.bytesFor(1000, 64));
});

test.each([1, 3, 4, 6, 64])('many rows of %i come back as one by one', (dimension) => {
  const table = tableOf(
    Float32Array.from({ length: 200 * dimension }, (_, at) => Math.sin(at)),
    dimension,
  );
  const rows = Uint32Array.from({ length: 150 }, (_, index) => (index * 61) % 200);
  const together = new Float32Array(rows.length * dimension);
  table.gather(rows, together);
  const alone = new Float32Array(dimension);
  for (const [index, row] of rows.entries()) {
    table.quantiser.decodeInto(alone, 0, table.row(row), 0);
    expect([...together.subarray(index * dimension, (index + 1) * dimension)]).toEqual([...alone]);
  }
});
