import { mkdirSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { EmbeddingError, type EmbeddingFault } from './errors.ts';
import type { VectorScale } from './quantisation.ts';
import { QuantisedTable, type QuantisedTableShared } from './quantised-table.ts';
import { VectorTable, type VectorTableShared } from './vector-table.ts';

/** A table in shared memory, as it comes out of a file. */
export type LoadedTable =
  | { readonly kind: 'float32'; readonly shared: VectorTableShared }
  | { readonly kind: 'int8'; readonly shared: QuantisedTableShared };

/** Bytes of rows that are in the file, and in the table, so far. */
export type TableProgress = (doneBytes: number, totalBytes: number) => void;

export const tableFileVersion = 1;
/** Rows are checked, read and written by pieces of this size: four milliseconds of a disk of 1 GB/s. */
export const chunkBytes = 4 << 20;
/** More dimensions or rows than this are a damaged header, whatever its checksum says. */
const dimensionMax = 4096;
const rowCountMax = 2 ** 31;

/** "GVT" and a byte that no text has, so that a file that went through a text mode is found out. */
const magic = 0x0054_5647;
const kinds = { float32: 1, int8: 2 } as const;
const headerBytes = 32;
const crcBytes = 4;

/**
 * Writes a table: header of 32 bytes (magic, format version, kind, dimension as u32, rows as u64, 4 bytes of zeros, checksum of these
 * 28), for int8 its scale (min, max, mean as float32) with a checksum, then rows in pieces of 4 MiB, each with its checksum behind
 * it. Numbers little-endian, checksums CRC-32. The file is there whole and on disk, or not at all.
 */
export async function writeTableFile(
  path: string,
  table: LoadedTable,
  onProgress: TableProgress = () => {},
): Promise<void> {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true });
  const making = `${path}.making-${process.pid}`;
  const file = await open(making, 'w');
  try {
    const rows = rowBytes(table);
    let at = await writeWithCrc(file, headerOf(table), 0);
    if (table.kind === 'int8') at = await writeWithCrc(file, scaleBytes(table.shared.scale), at);
    for (let done = 0; done < rows.length;) {
      const chunk = rows.subarray(done, done + chunkBytes);
      at = await writeWithCrc(file, chunk, at);
      done += chunk.length;
      onProgress(done, rows.length);
    }
    await file.sync();
    await file.close();
    await rename(making, path);
  } catch (error) {
    await file.close();
    await rm(making, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

/**
 * Reads a table straight into shared memory, piece by piece. Throws an EmbeddingError that names the file and what is wrong with it,
 * or the error of the file system; memory is taken only for a header that is whole and a file of the right length.
 */
export async function readTableFile(path: string, onProgress: TableProgress = () => {}): Promise<LoadedTable> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const reader = new PieceReader(file, path);
    const header = await readHeader(reader, path, size);
    const { kind, dimension, rowCount } = header;
    const table: LoadedTable =
      kind === 'float32'
        ? { kind, shared: VectorTable.allocate(rowCount, dimension) }
        : { kind, shared: QuantisedTable.allocate(rowCount, await readScale(reader, dimension)) };
    const rows = rowBytes(table);
    for (let done = 0; done < rows.length;) {
      const chunk = rows.subarray(done, done + chunkBytes);
      await reader.readInto(chunk, `rows from ${Math.floor((done * rowCount) / rows.length)} on`);
      done += chunk.length;
      onProgress(done, rows.length);
    }
    return table;
  } finally {
    await file.close();
  }
}

type Header = { readonly kind: 'float32' | 'int8'; readonly dimension: number; readonly rowCount: number };

function headerOf(table: LoadedTable): Uint8Array {
  const view = new DataView(new ArrayBuffer(headerBytes - crcBytes));
  view.setUint32(0, magic, true);
  view.setUint32(4, tableFileVersion, true);
  view.setUint32(8, kinds[table.kind], true);
  view.setUint32(12, table.shared.dimension, true);
  view.setBigUint64(16, BigInt(table.shared.rowCount), true);
  return new Uint8Array(view.buffer);
}

async function readHeader(reader: PieceReader, path: string, size: number): Promise<Header> {
  const bytes = new Uint8Array(headerBytes - crcBytes);
  const view = new DataView(bytes.buffer);
  if (size < headerBytes) fail('TABLE_FILE_TRUNCATED', path, `${size} bytes hold no header`);
  // Foreign files and later formats are told by their first words, before a checksum that they may not have.
  await reader.peekInto(bytes);
  if (view.getUint32(0, true) !== magic) fail('TABLE_FILE_FOREIGN', path, 'its first bytes are others');
  const version = view.getUint32(4, true);
  if (version !== tableFileVersion) fail('TABLE_FILE_VERSION', path, `${version} instead of ${tableFileVersion}`);
  await reader.readInto(bytes, 'header');
  const kindNumber = view.getUint32(8, true);
  const kind = kindNumber === kinds.float32 ? 'float32' : kindNumber === kinds.int8 ? 'int8' : undefined;
  const dimension = view.getUint32(12, true);
  const rowCount = Number(view.getBigUint64(16, true));
  if (kind === undefined || dimension === 0 || dimension > dimensionMax || rowCount > rowCountMax)
    fail('TABLE_FILE_DAMAGED', path, `kind ${kindNumber}, ${rowCount} rows of ${dimension}`);
  const expected = fileBytes({ kind, dimension, rowCount });
  if (size !== expected) fail('TABLE_FILE_TRUNCATED', path, `${size} bytes instead of ${expected}`);
  return { kind, dimension, rowCount };
}

/** Length of the whole file. */
function fileBytes({ kind, dimension, rowCount }: Header): number {
  const rows = rowCount * dimension * (kind === 'float32' ? 4 : 1);
  const scale = kind === 'float32' ? 0 : dimension * 12 + crcBytes;
  return headerBytes + scale + rows + Math.ceil(rows / chunkBytes) * crcBytes;
}

function scaleBytes({ min, max, mean }: VectorScale): Uint8Array {
  return new Uint8Array(Float32Array.from([...min, ...max, ...mean]).buffer);
}

async function readScale(reader: PieceReader, dimension: number): Promise<VectorScale> {
  const numbers = new Float32Array(3 * dimension);
  await reader.readInto(new Uint8Array(numbers.buffer), 'scale');
  const part = (index: number): Float32Array => numbers.slice(index * dimension, (index + 1) * dimension);
  return { dimension, min: part(0), max: part(1), mean: part(2) };
}

/** Little-endian, as every processor that Node runs on. */
function rowBytes({ shared }: LoadedTable): Uint8Array {
  return new Uint8Array(shared.data);
}

async function writeWithCrc(file: FileHandle, bytes: Uint8Array, at: number): Promise<number> {
  const crc = Buffer.alloc(crcBytes);
  crc.writeUInt32LE(crc32(bytes));
  await writeAll(file, bytes, at);
  await writeAll(file, crc, at + bytes.length);
  return at + bytes.length + crcBytes;
}

async function writeAll(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}

/** Reads pieces one after another and checks each. */
class PieceReader {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #crc = Buffer.alloc(crcBytes);
  #at = 0;

  constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /** Without moving on, and unchecked. */
  async peekInto(bytes: Uint8Array): Promise<void> {
    await this.#fill(bytes, this.#at);
  }

  async readInto(bytes: Uint8Array, what: string): Promise<void> {
    await this.#fill(bytes, this.#at);
    await this.#fill(this.#crc, this.#at + bytes.length);
    this.#at += bytes.length + crcBytes;
    if (crc32(bytes) !== this.#crc.readUInt32LE())
      fail('TABLE_FILE_DAMAGED', this.#path, `the checksum of its ${what} is wrong`);
  }

  async #fill(bytes: Uint8Array, at: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesRead } = await this.#file.read(bytes, done, bytes.length - done, at + done);
      if (bytesRead === 0) fail('TABLE_FILE_TRUNCATED', this.#path, `it ends at byte ${at + done}`);
      done += bytesRead;
    }
  }
}

function fail(code: EmbeddingFault, path: string, detail: string): never {
  throw new EmbeddingError(code, `${path}: ${detail}.`);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
