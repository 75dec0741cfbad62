import { type Database, open } from 'lmdb';
import { hashOfKey } from './key-hash.ts';
import { pageBytes } from './lmdb-file.ts';
import { StoreError } from './store-errors.ts';

/** Threads × (a reader, a prefetch, a writer), of more than one process; 126 is lmdb's own number, and running out of it ends the process. */
const readerCountMax = 1024;
/** Counters that say "something under a key of this slot was written": 256 KiB that all threads of the process share. */
const generationCount = 65_536;
/** Before each value: when it expires (epoch ms, float64; 0: never). */
const expiryBytes = 8;

type SharedBuffers = { getUserSharedBuffer(id: Buffer, made: ArrayBuffer): ArrayBuffer };

/** One thread's hold of a folder: the database, and the counters by which threads tell each other what they wrote. */
export class LmdbFolder {
  readonly database: Database<Buffer, Buffer>;
  readonly #generations: Int32Array;

  /** Whoever is the first asks `checkFile` before. Throws STORE_FAULTY or STORE_UNREACHABLE, with the path. */
  constructor(path: string) {
    try {
      this.database = open<Buffer, Buffer>({
        path,
        noSubdir: false,
        name: 'values',
        encoding: 'binary',
        keyEncoding: 'binary',
        pageSize: pageBytes,
        maxReaders: readerCountMax,
      });
      const made = new ArrayBuffer(generationCount * Int32Array.BYTES_PER_ELEMENT);
      const shared = (this.database as unknown as SharedBuffers).getUserSharedBuffer(Buffer.from('generations'), made);
      this.#generations = new Int32Array(shared);
    } catch (error) {
      throw openingFault(path, error);
    }
  }

  /** Of a key, before it is read: what was read may be kept as long as this stays. */
  generationOf(key: Buffer): number {
    return Atomics.load(this.#generations, hashOfKey(key) & (generationCount - 1));
  }

  /** After a commit: whatever any thread of the process kept under this key is old now. */
  bumpGeneration(key: Buffer): void {
    Atomics.add(this.#generations, hashOfKey(key) & (generationCount - 1), 1);
  }

  /** What live entries take; what was freed inside the file comes on top, and is used again. */
  liveBytes(): number {
    const stats = this.database.getStats() as Readonly<Record<string, number>>;
    return (stats['treeBranchPageCount']! + stats['treeLeafPageCount']! + stats['overflowPages']!) * pageBytes;
  }

  /** From now on reads see what others have committed until now. */
  refresh(): void {
    this.database.resetReadTxn();
  }

  /** Bytes with their expiry before them, good until the next read of this thread. */
  wrappedOf(key: Buffer): Buffer | undefined {
    const { database } = this;
    const bytes = database.getBinaryFast(key);
    // Damage that lmdb does not notice can hand out anything.
    return bytes === undefined || bytes.length < expiryBytes ? undefined : bytes;
  }

  async close(): Promise<void> {
    await this.database.close();
  }
}

/** Epoch ms; infinite where it never does. */
export function expiryOfWrapped(bytes: Buffer): number {
  const expiresMs = bytes.readDoubleLE(0);
  return expiresMs === 0 ? Number.POSITIVE_INFINITY : expiresMs;
}

/** A copy of its own: the bytes are lmdb's. */
export function valueOfWrapped(bytes: Buffer): Buffer {
  const value = Buffer.allocUnsafeSlow(bytes.length - expiryBytes);
  bytes.copy(value, 0, expiryBytes, bytes.length);
  return value;
}

export function wrapped(value: Uint8Array, expiresMs: number): Buffer {
  const bytes = Buffer.allocUnsafe(expiryBytes + value.length);
  bytes.writeDoubleLE(expiresMs === Number.POSITIVE_INFINITY ? 0 : expiresMs, 0);
  bytes.set(value, expiryBytes);
  return bytes;
}

function openingFault(path: string, error: unknown): StoreError {
  const { message, code } = error as Error & { code?: unknown };
  const isOurs = typeof code === 'number' && code < -30_000;
  return new StoreError(isOurs ? 'STORE_FAULTY' : 'STORE_UNREACHABLE', `${path}: ${message}`, { cause: error });
}
