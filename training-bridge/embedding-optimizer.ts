export type EmbeddingOptions = {
  readonly learningRate: number;
  /** Standard deviation of the first values; 0 for ids of which there are many: an id that is never seen then means nothing. */
  readonly deviation: number;
  /**
   * Where Adagrad's sum of squares begins, in units of (Σ over rows of gradient)²: a row that has seen less than this moves like plain
   * gradient descent, so a rare id does not jump at its first click.
   */
  readonly initialSquares: number;
};

/**
 * The table of one field while it is trained: gradients of a batch are added up per id, then every id that occurred moves once by
 * Adagrad. Only ids of the batch cost anything, whatever the size of the vocabulary.
 */
export class TrainedEmbedding {
  readonly size: number;
  readonly dimension: number;
  readonly table: Float32Array;
  /** Rows of the log in which an id occurred. */
  readonly counts: Uint32Array;
  readonly #gradients: Float32Array;
  readonly #squares: Float32Array;
  readonly #learningRate: number;
  readonly #touched: Uint32Array;
  readonly #isTouched: Uint8Array;
  #touchedCount = 0;

  /** `storage`: where table and gradients lie when a graph reads and writes them itself. */
  constructor(
    size: number,
    dimension: number,
    options: EmbeddingOptions,
    random: () => number,
    storage?: { readonly table: Float32Array; readonly gradients: Float32Array },
  ) {
    this.size = size;
    this.dimension = dimension;
    this.table = storage?.table ?? new Float32Array(size * dimension);
    if (options.deviation > 0) fillNormal(this.table, options.deviation, random);
    this.counts = new Uint32Array(size);
    this.#gradients = storage?.gradients ?? new Float32Array(size * dimension);
    this.#squares = new Float32Array(size * dimension).fill(options.initialSquares);
    this.#learningRate = options.learningRate;
    this.#touched = new Uint32Array(size);
    this.#isTouched = new Uint8Array(size);
  }

  /** target[at…] += scale × row of `id`. */
  addTo(target: Float32Array, at: number, id: number, scale: number): void {
    const { table, dimension } = this;
    const from = id * dimension;
    for (let d = 0; d < dimension; d++) target[at + d] = target[at + d]! + scale * table[from + d]!;
  }

  /** Remembers scale × source[at…] as a part of the gradient of `id`. */
  collect(source: Float32Array, at: number, id: number, scale: number): void {
    const { dimension } = this;
    const gradients = this.#gradients;
    const to = id * dimension;
    for (let d = 0; d < dimension; d++) gradients[to + d] = gradients[to + d]! + scale * source[at + d]!;
    this.touch(id);
  }

  /** Notes that an id occurs in the batch; its gradient is somebody else's work. */
  touch(id: number): void {
    this.counts[id] = this.counts[id]! + 1;
    if (this.#isTouched[id] === 1) return;
    this.#isTouched[id] = 1;
    this.#touched[this.#touchedCount++] = id;
  }

  /** Moves every id of the batch and forgets the gradients. `scale` turns what was collected into sums over rows. */
  apply(scale: number): void {
    const { table, dimension } = this;
    const gradients = this.#gradients;
    const squares = this.#squares;
    const rate = this.#learningRate;
    for (let index = 0; index < this.#touchedCount; index++) {
      const id = this.#touched[index]!;
      this.#isTouched[id] = 0;
      const end = (id + 1) * dimension;
      for (let at = id * dimension; at < end; at++) {
        const gradient = gradients[at]! * scale;
        const sum = squares[at]! + gradient * gradient;
        squares[at] = sum;
        table[at] = table[at]! - (rate * gradient) / Math.sqrt(sum);
        gradients[at] = 0;
      }
    }
    this.#touchedCount = 0;
  }

  /** Gives every id that never occurred, from `firstId` on, the mean of those that did. */
  fillUnseen(firstId: number): void {
    const { table, dimension, counts, size } = this;
    const mean = new Float64Array(dimension);
    let total = 0;
    for (let id = 1; id < size; id++) {
      const count = counts[id]!;
      if (count === 0) continue;
      total += count;
      for (let d = 0; d < dimension; d++) mean[d] = mean[d]! + count * table[id * dimension + d]!;
    }
    for (let id = firstId; id < size; id++) {
      if (counts[id]! > 0) continue;
      for (let d = 0; d < dimension; d++) table[id * dimension + d] = total === 0 ? 0 : mean[d]! / total;
    }
  }
}

/** Normal numbers by Box and Muller, two per pair of draws. */
export function fillNormal(values: Float32Array, deviation: number, random: () => number): void {
  for (let at = 0; at < values.length; at += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    values[at] = radius * Math.cos(angle);
    if (at + 1 < values.length) values[at + 1] = radius * Math.sin(angle);
  }
}
