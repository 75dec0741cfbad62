import type { EmbeddingTable } from './embedding-table.ts';
import { EmbeddingError } from './errors.ts';
import { QuantisedTable, type QuantisedTableShared } from './quantised-table.ts';
import { type IdIndexShared, SharedIdIndex } from './shared-id-index.ts';
import { VectorTable, type VectorTableShared } from './vector-table.ts';

/** Users' vectors as float32, or as int8 in a quarter of the memory. */
export type UserVectorsShared = VectorTableShared | QuantisedTableShared;

/** Crosses threads by workerData or postMessage. */
export type UserTableShared = {
  readonly idsPerUser: number;
  readonly index: IdIndexShared;
  readonly vectors: UserVectorsShared;
  readonly ids: SharedArrayBuffer;
  readonly state: SharedArrayBuffer;
};

/**
 * Users in shared memory: key → row, and by row a vector and a few ids. Row 0 is whoever is unknown. One writer, many readers:
 * a user can be found only once its ids are written; its vector is the writer's to fill before or after.
 */
export class SharedUserTable {
  readonly #index: SharedIdIndex;
  readonly #vectors: EmbeddingTable;
  readonly #ids: Uint32Array;
  readonly idsPerUser: number;
  readonly #state: Int32Array;

  /** With float32 vectors. `count`: rows, the unknown one included. `textBytes`: sum of the keys' lengths in UTF-8. */
  static allocate(count: number, vectorDimension: number, idsPerUser: number, textBytes: number): UserTableShared {
    return SharedUserTable.around(VectorTable.allocate(count, vectorDimension), idsPerUser, textBytes);
  }

  /** Around vectors that are there already, the unknown user's first: from a file, say, without copying them. */
  static around(vectors: UserVectorsShared, idsPerUser: number, textBytes: number): UserTableShared {
    const count = vectors.rowCount;
    return {
      idsPerUser,
      index: SharedIdIndex.allocate(count, textBytes),
      vectors,
      ids: new SharedArrayBuffer(count * idsPerUser * 4),
      state: new SharedArrayBuffer(4),
    };
  }

  constructor(shared: UserTableShared) {
    this.#index = new SharedIdIndex(shared.index);
    const { vectors } = shared;
    this.#vectors = 'scale' in vectors ? new QuantisedTable(vectors) : new VectorTable(vectors);
    this.idsPerUser = shared.idsPerUser;
    this.#ids = new Uint32Array(shared.ids);
    this.#state = new Int32Array(shared.state);
  }

  /** Users that are known. */
  get userCount(): number {
    return Atomics.load(this.#state, 0);
  }

  /** 0 = unknown. */
  rowOf(key: string): number {
    const row = this.#index.get(key);
    return row > 0 ? row : 0;
  }

  /** The vector itself where vectors are float32; otherwise `own`, filled: see EmbeddingTable. */
  vectorOf(row: number, own: Float32Array): Float32Array {
    return this.#vectors.vectorOf(row, own);
  }

  /** The ids themselves, not a copy. */
  idsOf(row: number): Uint32Array {
    if (!(row >= 0 && row < this.#vectors.rowCount))
      throw new EmbeddingError('ROW_OUT_OF_RANGE', `row ${row} of ${this.#vectors.rowCount}`);
    return this.#ids.subarray(row * this.idsPerUser, (row + 1) * this.idsPerUser);
  }

  /** The one writer: a new user's row, or a known one's with its ids replaced. Throws `USER_TABLE_FULL`. */
  add(key: string, ids: ArrayLike<number>): number {
    if (ids.length !== this.idsPerUser)
      throw new EmbeddingError('SIZE_MISMATCH', `${ids.length} ids instead of ${this.idsPerUser}`);
    const known = this.rowOf(key);
    const row = known > 0 ? known : this.userCount + 1;
    if (row >= this.#vectors.rowCount) throw new EmbeddingError('USER_TABLE_FULL', `${this.userCount} users`);
    this.#ids.set(ids, row * this.idsPerUser);
    if (known === 0) {
      this.#index.set(key, row);
      Atomics.store(this.#state, 0, row);
    }
    return row;
  }
}
