import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fitScale } from '#embeddings/quantisation.ts';
import { QuantisedTable } from '#embeddings/quantised-table.ts';
import { chunkBytes, type LoadedTable, readTableFile, writeTableFile } from '#embeddings/table-file.ts';
import { VectorTable } from '#embeddings/vector-table.ts';
import { seededRandom } from '#inference/seeded-random.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gavelin-table-'));
  path = join(folder, 'made/users.table');
});
afterEach(() => rmSync(folder, { recursive: true }));

function floats(rowCount: number, dimension: number): LoadedTable & { kind: 'float32' } {
  const random = seededRandom(3);
  const shared = VectorTable.allocate(rowCount, dimension);
  const { data } = new VectorTable(shared);
  for (let at = 0; at < data.length; at++) data[at] = random() - 0.5;
  return { kind: 'float32', shared };
}

function bytes(rowCount: number, dimension: number): LoadedTable & { kind: 'int8' } {
  const source = new VectorTable(floats(rowCount, dimension).shared).data;
  const shared = QuantisedTable.allocate(rowCount, fitScale(source, dimension));
  const table = new QuantisedTable(shared);
  for (let row = 0; row < rowCount; row++) table.setRow(row, source, row * dimension);
  return { kind: 'int8', shared };
}

const bytesOf = ({ shared }: LoadedTable): Buffer => Buffer.from(shared.data);

describe.each([
  ['float32', floats],
  ['int8', bytes],
] as const)('a file of %s rows', (_, make) => {
  test('holds the table: the same bytes, in memory that threads share, however many pieces it took', async () => {
    // Two whole pieces and a part of one.
    const dimension = 32;
    const width = make(1, dimension).shared.data.byteLength;
    const table = make(Math.ceil((chunkBytes * 2.2) / width), dimension);
    const written: number[] = [];
    await writeTableFile(path, table, (done, total) => written.push(done / total));
    const read: number[] = [];
    const loaded = await readTableFile(path, (done, total) => read.push(done / total));
    expect(loaded.kind).toBe(table.kind);
    expect(loaded.shared.data).toBeInstanceOf(SharedArrayBuffer);
    expect(bytesOf(loaded).equals(bytesOf(table))).toBe(true);
    expect({ ...loaded.shared, data: 0 }).toEqual({ ...table.shared, data: 0 });
    expect(read).toEqual(written);
    expect([read.length, read.at(-1)]).toEqual([3, 1]);
    expect(read).toEqual(read.toSorted((left, right) => left - right));
  });

  test('may be empty', async () => {
    const table: LoadedTable =
      make === floats
        ? { kind: 'float32', shared: VectorTable.allocate(0, 4) }
        : { kind: 'int8', shared: QuantisedTable.allocate(0, fitScale(new Float32Array(4), 4)) };
    await writeTableFile(path, table);
    expect((await readTableFile(path)).shared.rowCount).toBe(0);
  });

  test('is refused by file and reason wherever one bit of it is wrong, and where it ends early or late', async () => {
    await writeTableFile(path, make(20, 4));
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at++) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1 << (at % 8);
      writeFileSync(path, damaged);
      const code = at < 4 ? /FOREIGN/u : at < 8 ? /VERSION/u : /DAMAGED/u;
      await expect(readTableFile(path)).rejects.toMatchObject({
        code: expect.stringMatching(code) as unknown,
        message: expect.stringContaining(path) as unknown,
      });
    }
    writeFileSync(path, Buffer.concat([whole, Buffer.of(0)]));
    await expect(readTableFile(path)).rejects.toMatchObject({ code: 'TABLE_FILE_TRUNCATED' });
    for (let length = whole.length - 1; length >= 0; length--) {
      writeFileSync(path, whole.subarray(0, length));
      await expect(readTableFile(path)).rejects.toMatchObject({ code: 'TABLE_FILE_TRUNCATED' });
    }
  });
});

test('a header that asks for the world is refused before memory is taken', async () => {
  await writeTableFile(path, floats(2, 2));
  // A sparse file of the length that its header names: only the checksums are left to find it out.
  truncateSync(path, 2 ** 40);
  await expect(readTableFile(path)).rejects.toMatchObject({ code: 'TABLE_FILE_TRUNCATED' });
});

test('a text is no table, and no file is the error of the file system', async () => {
  writeFileSync(join(folder, 'text'), 'a text that is longer than the header of a table would be');
  await expect(readTableFile(join(folder, 'text'))).rejects.toMatchObject({ code: 'TABLE_FILE_FOREIGN' });
  await expect(readTableFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a write that fails leaves the file before it, and nothing half made', async () => {
  const table = floats(3, 2);
  await writeTableFile(path, table);
  await expect(
    writeTableFile(path, floats(9, 2), () => {
      throw new Error('enough');
    }),
  ).rejects.toThrow('enough');
  expect(bytesOf(await readTableFile(path)).equals(bytesOf(table))).toBe(true);
  expect(readdirSync(join(folder, 'made'))).toEqual(['users.table']);
  expect(existsSync(`${path}.making-${process.pid}`)).toBe(false);
});
