import type { EmbeddingTable } from './embedding-table.ts';
import { EmbeddingError } from './errors.ts';
import { VectorQuantiser, type VectorScale } from './quantisation.ts';

/** Crosses threads by workerData or postMessage. */
export type QuantisedTableShared = {
  readonly rowCount: number;
  readonly dimension: number;
  readonly scale: VectorScale;
  readonly data: SharedArrayBuffer;
};

/**
 * Rows of one byte a number in shared memory, by one scale: a quarter of float32, 640 MB for 10 million rows of 64. One writer; as
 * in VectorTable, rows are filled before their number is given out.
 */
export class QuantisedTable implements EmbeddingTable {
  readonly rowCount: number;
  readonly dimension: number;
  readonly quantiser: VectorQuantiser;
  /** All rows, one after another. */
  readonly data: Uint8Array;

  static allocate(rowCount: number, scale: VectorScale): QuantisedTableShared {
    const { dimension } = scale;
    return { rowCount, dimension, scale, data: new SharedArrayBuffer(QuantisedTable.bytesFor(rowCount, dimension)) };
  }

  static bytesFor(rowCount: number, dimension: number): number {
    return rowCount * dimension;
  }

  constructor(shared: QuantisedTableShared) {
    this.rowCount = shared.rowCount;
    this.dimension = shared.dimension;
    this.quantiser = new VectorQuantiser(shared.scale);
    this.data = new Uint8Array(shared.data, 0, shared.rowCount * shared.dimension);
  }

  gather(rows: Uint32Array, target: Float32Array): void {
    const { data, dimension, quantiser, rowCount } = this;
    if (target.length < rows.length * dimension)
      throw new EmbeddingError('SIZE_MISMATCH', `${rows.length} rows of ${dimension} into ${target.length} numbers`);
    for (let index = 0; index < rows.length; index++) if (rows[index]! >= rowCount) this.#outside(rows[index]!);
    quantiser.decodeRows(target, data, rows);
  }

  /** Decodes into `own` and allocates nothing; throws `SIZE_MISMATCH` where that has fewer than `dimension` places. */
  vectorOf(row: number, own: Float32Array): Float32Array {
    this.quantiser.decodeInto(own, 0, this.data, this.#startOf(row));
    return own;
  }

  /** Writes a row from numbers, `from` places into `values`; throws `VALUE_NOT_FINITE` and leaves the row as it was. */
  setRow(row: number, values: Float32Array, from = 0): void {
    this.quantiser.encodeInto(this.data, this.#startOf(row), values, from);
  }

  /** The bytes themselves, not a copy: what stores keep. */
  row(row: number): Uint8Array {
    const start = this.#startOf(row);
    return this.data.subarray(start, start + this.dimension);
  }

  #startOf(row: number): number {
    if (!(row >= 0 && row < this.rowCount)) this.#outside(row);
    return row * this.dimension;
  }

  #outside(row: number): never {
    throw new EmbeddingError('ROW_OUT_OF_RANGE', `row ${row} of ${this.rowCount}`);
  }
}
