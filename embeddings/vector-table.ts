import type { EmbeddingTable } from './embedding-table.ts';
import { EmbeddingError } from './errors.ts';

/** Crosses threads by workerData or postMessage. */
export type VectorTableShared = {
  readonly rowCount: number;
  readonly dimension: number;
  readonly data: SharedArrayBuffer;
};

/**
 * float32 rows in shared memory. One writer at a time, by agreement of its owners; a reader that races it may see a row half
 * written, so rows are filled before their number is given out.
 */
export class VectorTable implements EmbeddingTable {
  readonly rowCount: number;
  readonly dimension: number;
  /** All rows, one after another. */
  readonly data: Float32Array;

  static allocate(rowCount: number, dimension: number): VectorTableShared {
    return { rowCount, dimension, data: new SharedArrayBuffer(rowCount * dimension * 4) };
  }

  constructor(shared: VectorTableShared) {
    this.rowCount = shared.rowCount;
    this.dimension = shared.dimension;
    this.data = new Float32Array(shared.data, 0, shared.rowCount * shared.dimension);
  }

  gather(rows: Uint32Array, target: Float32Array): void {
    const { data, dimension, rowCount } = this;
    if (target.length < rows.length * dimension)
      throw new EmbeddingError('SIZE_MISMATCH', `${rows.length} rows of ${dimension} into ${target.length} numbers`);
    for (let index = 0; index < rows.length; index++) if (rows[index]! >= rowCount) this.#outside(rows[index]!);
    let at = 0;
    for (let index = 0; index < rows.length; index++) {
      const start = rows[index]! * dimension;
      for (let place = 0; place < dimension; place++) target[at++] = data[start + place]!;
    }
  }

  /** The row itself, not a copy: what is written there is seen by all threads. */
  row(row: number): Float32Array {
    if (!(row >= 0 && row < this.rowCount)) this.#outside(row);
    return this.data.subarray(row * this.dimension, (row + 1) * this.dimension);
  }

  #outside(row: number): never {
    throw new EmbeddingError('ROW_OUT_OF_RANGE', `row ${row} of ${this.rowCount}`);
  }
}
