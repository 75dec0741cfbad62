import { describe, expect, test } from 'vitest';
import type { EmbeddingTable } from '#embeddings/embedding-table.ts';

/** A table of the given rows, one after another. */
type Build = (rows: Float32Array, dimension: number) => EmbeddingTable;

/**
 * What every embedding table does; each table's own test file calls this and adds what is special to it. `tolerance`: how far a
 * number may come back from where it was, for tables that keep fewer bits.
 */
export function keepsTheTableContract(name: string, build: Build, tolerance = 0): void {
  const farthest = (got: Float32Array, wanted: readonly number[]): number =>
    Math.max(...wanted.map((number, place) => Math.abs(got[place]! - number)));
  describe(`${name} keeps the table contract`, () => {
    const table = build(Float32Array.of(1, 2, 3, 4, 5, 6), 2);

    test('knows its size', () => {
      expect([table.rowCount, table.dimension]).toEqual([3, 2]);
    });

    test('gathers rows in the order asked, repeats included', () => {
      const target = new Float32Array(6);
      table.gather(Uint32Array.of(2, 0, 2), target);
      expect(farthest(target, [5, 6, 1, 2, 5, 6])).toBeLessThanOrEqual(tolerance);
    });

    test('leaves the rest of a larger target alone', () => {
      const target = Float32Array.of(9, 9, 9, 9);
      table.gather(Uint32Array.of(1), target);
      expect(farthest(target, [3, 4, 9, 9])).toBeLessThanOrEqual(tolerance);
      table.gather(new Uint32Array(0), target);
      expect(farthest(target, [3, 4, 9, 9])).toBeLessThanOrEqual(tolerance);
    });

    test("has one row as the table's own or in the numbers handed over, and touches no place behind its dimension", () => {
      const own = Float32Array.of(9, 9, 9);
      for (const [row, wanted] of [
        [2, [5, 6]],
        [0, [1, 2]],
      ] as const) {
        const vector = table.vectorOf(row, own);
        expect(farthest(vector, wanted)).toBeLessThanOrEqual(tolerance);
        expect([vector === own || vector.length === 2, own[2]]).toEqual([true, 9]);
      }
      for (const row of [-1, 3, Number.NaN]) expect(() => table.vectorOf(row, own)).toThrow(/of 3/u);
    });

    test('refuses a row outside the table and a target too small, before it copies anything', () => {
      const target = new Float32Array(4);
      expect(() => table.gather(Uint32Array.of(0, 3), target)).toThrow(/row 3 of 3/u);
      expect(() => table.gather(Uint32Array.of(0, 0xffff_ffff), target)).toThrow(/row 4294967295 of 3/u);
      expect(() => table.gather(Uint32Array.of(0, 1, 2), target)).toThrow(/3 rows of 2 into 4/u);
      expect([...target]).toEqual([0, 0, 0, 0]);
    });
  });
}
