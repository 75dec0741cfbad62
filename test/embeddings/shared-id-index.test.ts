import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { idBytesMax, SharedIdIndex } from '#embeddings/shared-id-index.ts';

const codeOf = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('the index of ids', () => {
  test('is a map from any text to the row last set for it', () => {
    // Any 16-bit units: lone surrogates must neither be lost nor meet the character that UTF-8 writes for them.
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.constantFrom('\uD800', '\uDC00', '\uFFFD', '\uD800\uDC00', '\uDC00\uD800', 'é', 'a\u0000', 'a', '', '€', '😀'),
      fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 6 }).map((units) => String.fromCharCode(...units)),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(text, fc.integer({ min: 0, max: 2 ** 31 - 1 })), { maxLength: 60 }),
        text,
        (sets, other) => {
          const index = new SharedIdIndex(SharedIdIndex.allocate(60, 60 * 40));
          const truth = new Map<string, number>();
          for (const [id, row] of sets) {
            index.set(id, row);
            truth.set(id, row);
          }
          expect(index.count).toBe(truth.size);
          for (const [id, row] of truth) expect(index.get(id)).toBe(row);
          expect(index.get(other)).toBe(truth.get(other) ?? -1);
          const asked = [other, ...truth.keys(), other, ...truth.keys()];
          const rows = new Int32Array(asked.length).fill(77);
          index.getMany(asked, asked.length - 1, rows);
          expect([...rows]).toEqual([...asked.slice(0, -1).map((id) => truth.get(id) ?? -1), 77]);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('holds exactly what it was sized for, in ids and in bytes, and keeps it when it refuses more', () => {
    const ids = ['a', 'bb', '€uro', '😀'];
    const bytes = ids.reduce((sum, id) => sum + Buffer.byteLength(id), 0);
    const index = new SharedIdIndex(SharedIdIndex.allocate(ids.length, bytes));
    for (const [row, id] of ids.entries()) index.set(id, row);
    expect(codeOf(() => index.set('one more', 9))).toBe('ID_INDEX_FULL');
    index.set('a', 7);
    expect(ids.map((id) => index.get(id))).toEqual([7, 1, 2, 3]);

    const short = new SharedIdIndex(SharedIdIndex.allocate(10, 8));
    expect(codeOf(() => short.set('x'.repeat(200), 0))).toBe('ID_INDEX_FULL');
    expect(short.get('x'.repeat(200))).toBe(-1);
    short.set('x', 0);
    expect(short.get('x')).toBe(0);
  });

  test('many ids that are alike', () => {
    const count = 20_000;
    const id = (row: number): string => `li${String(row).padStart(6, '0')}.cr0001`;
    const index = new SharedIdIndex(SharedIdIndex.allocate(count, count * 15));
    for (let row = 0; row < count; row++) index.set(id(row), row);
    for (let row = 0; row < count; row++) if (index.get(id(row)) !== row) throw new Error(`row ${row}`);
    expect(index.get(id(count))).toBe(-1);
    expect(index.count).toBe(count);
  });

  test('ids too long for it are refused, and unknown', () => {
    const index = new SharedIdIndex(SharedIdIndex.allocate(4, 4 * idBytesMax));
    const longest = 'y'.repeat(idBytesMax);
    index.set(longest, 1);
    expect(index.get(longest)).toBe(1);
    for (const id of [`${longest}y`, '€'.repeat(idBytesMax / 3 + 1), '😀'.repeat(1025), 'y'.repeat(10_000_000)]) {
      expect(codeOf(() => index.set(id, 2))).toBe('ID_TOO_LONG');
      expect(index.get(id)).toBe(-1);
    }
    expect(index.get(longest)).toBe(1);
    // More of them than a batch has room for, between others.
    const asked = Array.from({ length: 40 }, (_, at) => (at % 3 === 0 ? longest : at % 3 === 1 ? `${longest}y` : 'z'));
    const rows = new Int32Array(asked.length);
    index.getMany(asked, asked.length, rows);
    expect([...rows]).toEqual(asked.map((id) => (id === longest ? 1 : -1)));
  });

  test('costs 16 bytes an id beside its text, and 11 reserved of which 1.5 are used', () => {
    const { slots, blocks } = SharedIdIndex.allocate(100_000, 2_000_000);
    expect((slots.byteLength + blocks.byteLength - 2_000_000) / 100_000).toBeLessThan(17.1);
  });

  test('another view sees what this one set', () => {
    const shared = SharedIdIndex.allocate(4, 40);
    const [writer, reader] = [new SharedIdIndex(shared), new SharedIdIndex(structuredClone(shared))];
    expect(reader.get('ad')).toBe(-1);
    writer.set('ad', 3);
    expect(reader.get('ad')).toBe(3);
    writer.set('ad', -1);
    expect(reader.get('ad')).toBe(-1);
    // A second writer after the first goes on where it stopped.
    reader.set('other', 5);
    expect([writer.get('other'), writer.count]).toEqual([5, 2]);
  });
});
