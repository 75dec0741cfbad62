import type { EmbeddingTable } from './embedding-table.ts';
import { EmbeddingError } from './errors.ts';

/** Crosses threads by workerData or postMessage. */
export type LiveTableShared = {
  readonly rowCount: number;
  readonly dimension: number;
  readonly versions: SharedArrayBuffer;
  readonly data: SharedArrayBuffer;
};

/** A reader tries again when its row was replaced while it copied. A write takes longer than a copy, so two tries are rare. */
const attemptsMax = 10_000;

/**
 * float32 rows that are replaced while other threads read them, and never read half old and half new. Each row has two places: the
 * writer fills the one that nobody reads and then raises the row's version, whose last bit says which place holds. A reader takes
 * what the version points to and looks at the version again: it waits for no writer, even one that was stopped in the middle of a
 * row or has died there. Costs twice the memory of a VectorTable; for rows that never change in place that is wasted.
 *
 * One writer at a time, by agreement of its owners. Words go through Atomics, so that the language's memory model orders them on
 * every processor: plain ones may pass an atomic one in either direction where the hardware lets them (ARM).
 */
export class LiveVectorTable implements EmbeddingTable {
  readonly rowCount: number;
  readonly dimension: number;
  readonly #versions: Int32Array;
  readonly #words: Int32Array;
  readonly #written: Int32Array;
  readonly #writtenFloats: Float32Array;
  /** The last target, and its words: callers reuse their buffers. */
  #target: Float32Array = new Float32Array(0);
  #targetWords: Int32Array = new Int32Array(0);

  static allocate(rowCount: number, dimension: number): LiveTableShared {
    return {
      rowCount,
      dimension,
      versions: new SharedArrayBuffer(rowCount * 4),
      data: new SharedArrayBuffer(rowCount * dimension * 8),
    };
  }

  constructor(shared: LiveTableShared) {
    this.rowCount = shared.rowCount;
    this.dimension = shared.dimension;
    this.#versions = new Int32Array(shared.versions);
    this.#words = new Int32Array(shared.data);
    this.#written = new Int32Array(shared.dimension);
    this.#writtenFloats = new Float32Array(this.#written.buffer);
  }

  gather(rows: Uint32Array, target: Float32Array): void {
    const { dimension, rowCount } = this;
    if (target.length < rows.length * dimension)
      throw new EmbeddingError('SIZE_MISMATCH', `${rows.length} rows of ${dimension} into ${target.length} numbers`);
    for (let index = 0; index < rows.length; index++) if (rows[index]! >= rowCount) this.#outside(rows[index]!);
    if (target !== this.#target) {
      this.#target = target;
      this.#targetWords = new Int32Array(target.buffer, target.byteOffset, target.length);
    }
    for (let index = 0; index < rows.length; index++) this.#copy(rows[index]!, this.#targetWords, index * dimension);
  }

  /** How often the row was written; 0 is a row of zeros. */
  versionOf(row: number): number {
    if (!(row >= 0 && row < this.rowCount)) this.#outside(row);
    return Atomics.load(this.#versions, row) >>> 0;
  }

  /** The one writer: replaces a row by `dimension` numbers, `from` places into `values`. */
  setRow(row: number, values: Float32Array, from = 0): void {
    const { dimension } = this;
    if (!(row >= 0 && row < this.rowCount)) this.#outside(row);
    if (from + dimension > values.length)
      throw new EmbeddingError('SIZE_MISMATCH', `a row of ${dimension} from ${values.length - from} numbers`);
    for (let place = 0; place < dimension; place++) this.#writtenFloats[place] = values[from + place]!;
    const version = Atomics.load(this.#versions, row) + 1;
    const start = (2 * row + (version & 1)) * dimension;
    for (let place = 0; place < dimension; place++) Atomics.store(this.#words, start + place, this.#written[place]!);
    Atomics.store(this.#versions, row, version);
  }

  #copy(row: number, target: Int32Array, at: number): void {
    const { dimension } = this;
    const versions = this.#versions;
    const words = this.#words;
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const version = Atomics.load(versions, row);
      const start = (2 * row + (version & 1)) * dimension;
      for (let place = 0; place < dimension; place++) target[at + place] = Atomics.load(words, start + place);
      if (Atomics.load(versions, row) === version) return;
    }
    throw new EmbeddingError('ROW_BUSY', `row ${row}`);
  }

  #outside(row: number): never {
    throw new EmbeddingError('ROW_OUT_OF_RANGE', `row ${row} of ${this.rowCount}`);
  }
}
