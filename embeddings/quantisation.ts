import { EmbeddingError } from './errors.ts';

/** Per dimension: what the bytes 0 and 255 stand for, and the mean, which stands in for rows that nobody has. */
export type VectorScale = {
  readonly dimension: number;
  readonly min: Float32Array;
  readonly max: Float32Array;
  readonly mean: Float32Array;
};

/** Steps between the 256 values of a byte. */
const stepCount = 255;
/**
 * Values farther from the mean than this many standard deviations are outliers: they are cut to the ends of the range, so that one
 * of them does not take the resolution of all others. Chebyshev: at most 1 value in 64; of normal ones, none.
 */
export const outlierDeviations = 8;
/** An outlier widens the deviation that it is judged by, so the judgement is repeated without those that were found. */
const fitRoundsMax = 4;

/**
 * The scale of rows, `rows.length / dimension` of them one after another. A dimension that never changes has min = max and decodes
 * exactly. Throws `VALUE_NOT_FINITE` and names row and dimension where a value is no finite number.
 */
export function fitScale(rows: Float32Array, dimension: number): VectorScale {
  if (!(dimension > 0) || rows.length === 0 || rows.length % dimension !== 0)
    throw new EmbeddingError('SIZE_MISMATCH', `${rows.length} numbers are no rows of ${dimension}`);
  let moments = momentsOf(rows, dimension, undefined);
  const mean = Float32Array.from(moments.mean);
  for (let round = 1; round < fitRoundsMax; round++) {
    const { low, high, hasOutlier } = boundsOf(moments);
    if (!hasOutlier) break;
    moments = momentsOf(rows, dimension, { low, high });
  }
  return { dimension, min: Float32Array.from(moments.min), max: Float32Array.from(moments.max), mean };
}

type Moments = {
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly mean: Float64Array;
  readonly deviation: Float64Array;
};
type Bounds = { readonly low: Float64Array; readonly high: Float64Array };

/** Of the values within the bounds; sums are taken about the first row, so that a large mean costs no digits. */
function momentsOf(rows: Float32Array, dimension: number, bounds: Bounds | undefined): Moments {
  const min = new Float64Array(dimension).fill(Number.POSITIVE_INFINITY);
  const max = new Float64Array(dimension).fill(Number.NEGATIVE_INFINITY);
  const sum = new Float64Array(dimension);
  const squares = new Float64Array(dimension);
  const counts = new Float64Array(dimension);
  for (let at = 0; at < rows.length; at += dimension) {
    for (let place = 0; place < dimension; place++) {
      const value = rows[at + place]!;
      if (!Number.isFinite(value)) notFinite(value, at / dimension, place);
      if (bounds !== undefined && (value < bounds.low[place]! || value > bounds.high[place]!)) continue;
      if (value < min[place]!) min[place] = value;
      if (value > max[place]!) max[place] = value;
      const off = value - rows[place]!;
      sum[place] = sum[place]! + off;
      squares[place] = squares[place]! + off * off;
      counts[place] = counts[place]! + 1;
    }
  }
  const mean = sum.map((each, place) => rows[place]! + each / counts[place]!);
  const deviation = squares.map((each, place) => {
    const off = sum[place]! / counts[place]!;
    return Math.sqrt(Math.max(0, each / counts[place]! - off * off));
  });
  return { min, max, mean, deviation };
}

function boundsOf({ min, max, mean, deviation }: Moments): Bounds & { readonly hasOutlier: boolean } {
  const low = mean.map((each, place) => each - outlierDeviations * deviation[place]!);
  const high = mean.map((each, place) => each + outlierDeviations * deviation[place]!);
  // Of a dimension that never changes, the mean may differ from the value by a rounding.
  const hasOutlier = min.some(
    (each, place) => each < max[place]! && (each < low[place]! || max[place]! > high[place]!),
  );
  for (let place = 0; place < low.length; place++) {
    if (min[place]! < max[place]!) continue;
    low[place] = min[place]!;
    high[place] = max[place]!;
  }
  return { low, high, hasOutlier };
}

function notFinite(value: number, row: number, place: number): never {
  throw new EmbeddingError('VALUE_NOT_FINITE', `row ${row}, dimension ${place}: ${value}`);
}

/** Rows that are brought into the cache together before the first of them is decoded. */
const rowsPerStep = 64;
/** Bytes in a line of the cache. */
const lineBytes = 64;

/** Rows of numbers to bytes and back, by one scale: off by half a step at most, 1/510 of a dimension's range. */
export class VectorQuantiser {
  readonly scale: VectorScale;
  readonly dimension: number;
  readonly #min: Float64Array;
  readonly #max: Float64Array;
  readonly #step: Float64Array;
  /** What was read only to have it in the cache; kept, so that reading it is not left out. */
  readonly #touched = new Int32Array(1);

  constructor(scale: VectorScale) {
    const { dimension, min, max, mean } = scale;
    if (min.length !== dimension || max.length !== dimension || mean.length !== dimension)
      throw new EmbeddingError(
        'SIZE_MISMATCH',
        `a scale of ${min.length}, ${max.length} and ${mean.length} numbers for ${dimension}`,
      );
    this.scale = scale;
    this.dimension = dimension;
    this.#min = Float64Array.from(min);
    this.#max = Float64Array.from(max);
    this.#step = this.#max.map((each, place) => (each - this.#min[place]!) / stepCount);
    for (let place = 0; place < dimension; place++)
      if (!(this.#step[place]! >= 0 && this.#step[place]! < Number.POSITIVE_INFINITY))
        throw new EmbeddingError(
          'VALUE_NOT_FINITE',
          `a scale from ${min[place]} to ${max[place]} in dimension ${place}`,
        );
  }

  /** One row. Values beyond the scale become its ends; throws `VALUE_NOT_FINITE` before anything is written. */
  encodeInto(target: Uint8Array, at: number, values: Float32Array, from: number): void {
    const { dimension } = this;
    if (at + dimension > target.length || from + dimension > values.length)
      throw new EmbeddingError(
        'SIZE_MISMATCH',
        `a row of ${dimension} from ${values.length - from} numbers into ${target.length - at} bytes`,
      );
    for (let place = 0; place < dimension; place++)
      if (!Number.isFinite(values[from + place]!))
        notFinite(values[from + place]!, Math.floor(from / dimension), place);
    for (let place = 0; place < dimension; place++) {
      const step = this.#step[place]!;
      const value = values[from + place]!;
      const min = this.#min[place]!;
      target[at + place] =
        step === 0 || value <= min ? 0 : value >= this.#max[place]! ? stepCount : Math.round((value - min) / step);
    }
  }

  /** One row; allocates nothing. */
  decodeInto(target: Float32Array, at: number, bytes: Uint8Array, from: number): void {
    const { dimension } = this;
    if (at + dimension > target.length || from + dimension > bytes.length)
      throw new EmbeddingError(
        'SIZE_MISMATCH',
        `a row of ${dimension} from ${bytes.length - from} bytes into ${target.length - at} numbers`,
      );
    const min = this.#min;
    const step = this.#step;
    for (let place = 0; place < dimension; place++)
      target[at + place] = min[place]! + bytes[from + place]! * step[place]!;
  }

  /**
   * Rows of a table by number, one after another into `target`; rows and lengths are the caller's to check. First a read of each
   * row's lines without waiting for it: the cache misses of many rows overlap, those of a decoding hardly do.
   */
  decodeRows(target: Float32Array, data: Uint8Array, rows: Uint32Array): void {
    const { dimension } = this;
    const min = this.#min;
    const step = this.#step;
    let touched = 0;
    let at = 0;
    for (let from = 0; from < rows.length; from += rowsPerStep) {
      const to = Math.min(from + rowsPerStep, rows.length);
      for (let index = from; index < to; index++) {
        const start = rows[index]! * dimension;
        for (let place = 0; place < dimension; place += lineBytes) touched += data[start + place]!;
      }
      for (let index = from; index < to; index++) {
        const start = rows[index]! * dimension;
        for (let place = 0; place < dimension; place++)
          target[at++] = min[place]! + data[start + place]! * step[place]!;
      }
    }
    this.#touched[0] = touched;
  }
}
