import type { EmbeddingTable } from './embedding-table.ts';
import { EmbeddingError } from './errors.ts';

/** Crosses threads by workerData or postMessage. */
export type VectorTableShared = {
  readonly rowCount: number;
  readonly dimension: number;
  readonly data: SharedArrayBuffer;
};

/** Rows that are brought into the cache together before the first of them is copied: 16 KB of 64 numbers each, half of the nearest cache. */
const rowsPerStep = 64;
/** Numbers in a line of the cache. */
const lineNumbers = 16;
/** For fewer rows a view on the target costs more than it saves. */
const wideRowsMin = 16;

/**
 * float32 rows in shared memory. One writer at a time, by agreement of its owners; a reader that races it may see a row half
 * written, so rows are filled before their number is given out.
 */
export class VectorTable implements EmbeddingTable {
  readonly rowCount: number;
  readonly dimension: number;
  /** All rows, one after another. */
  readonly data: Float32Array;
  /** The rows as pairs of numbers, when their dimension is even. */
  readonly #pairs: Float64Array | undefined;
  /** The last target and its pairs: callers reuse their buffers. */
  #target: Float32Array | undefined;
  #targetPairs: Float64Array | undefined;
  /** What was read only to have it in the cache; kept, so that reading it is not left out. */
  readonly #touched = new Float64Array(1);

  static allocate(rowCount: number, dimension: number): VectorTableShared {
    return { rowCount, dimension, data: new SharedArrayBuffer(rowCount * dimension * 4) };
  }

  constructor(shared: VectorTableShared) {
    this.rowCount = shared.rowCount;
    this.dimension = shared.dimension;
    const { rowCount, dimension } = shared;
    this.data = new Float32Array(shared.data, 0, rowCount * dimension);
    if (dimension % 2 === 0) this.#pairs = new Float64Array(shared.data, 0, (rowCount * dimension) / 2);
  }

  gather(rows: Uint32Array, target: Float32Array): void {
    const { data, dimension, rowCount } = this;
    if (target.length < rows.length * dimension)
      throw new EmbeddingError('SIZE_MISMATCH', `${rows.length} rows of ${dimension} into ${target.length} numbers`);
    for (let index = 0; index < rows.length; index++) if (rows[index]! >= rowCount) this.#outside(rows[index]!);
    const pairs = rows.length < wideRowsMin ? undefined : this.#pairsOf(target);
    for (let from = 0; from < rows.length; from += rowsPerStep) {
      const to = Math.min(from + rowsPerStep, rows.length);
      this.#touch(rows, from, to);
      if (pairs === undefined || this.#pairs === undefined) copyRows(data, rows, from, to, dimension, target);
      else copyRows(this.#pairs, rows, from, to, dimension / 2, pairs);
    }
  }

  /** A read of each line without waiting for it: the misses of many rows overlap, those of a copy hardly do. */
  #touch(rows: Uint32Array, from: number, to: number): void {
    const { data, dimension } = this;
    let touched = 0;
    for (let index = from; index < to; index++) {
      const start = rows[index]! * dimension;
      for (let place = 0; place < dimension; place += lineNumbers) touched += data[start + place]!;
    }
    this.#touched[0] = touched;
  }

  /** Two float32 are copied as one float64: only the payload of a NaN could change by it. Undefined where they do not lie so. */
  #pairsOf(target: Float32Array): Float64Array | undefined {
    if (target !== this.#target) {
      this.#target = target;
      this.#targetPairs =
        target.byteOffset % 8 === 0
          ? new Float64Array(target.buffer, target.byteOffset, target.length >> 1)
          : undefined;
    }
    return this.#targetPairs;
  }

  /** As `row`: nothing is copied. */
  vectorOf(row: number): Float32Array {
    return this.row(row);
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

/** Rows of `width` numbers, one after another, to their places in `target`. */
function copyRows<Numbers extends Float32Array | Float64Array>(
  data: Numbers,
  rows: Uint32Array,
  from: number,
  to: number,
  width: number,
  target: Numbers,
): void {
  const whole = width & ~3;
  for (let index = from; index < to; index++) {
    let at = index * width;
    let source = rows[index]! * width;
    const end = source + whole;
    for (; source < end; source += 4, at += 4) {
      target[at] = data[source]!;
      target[at + 1] = data[source + 1]!;
      target[at + 2] = data[source + 2]!;
      target[at + 3] = data[source + 3]!;
    }
    for (let rest = whole; rest < width; rest++) target[at++] = data[source++]!;
  }
}
