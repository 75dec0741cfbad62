/** Rows of numbers by row number. Heap, shared memory, file: where they live is the table's affair. */
export interface EmbeddingTable {
  readonly rowCount: number;
  readonly dimension: number;

  /**
   * Copies the rows into `target`, one after another, and allocates nothing. A row number outside the table, or a target that is
   * too small, is a bug in the caller and throws before anything is copied.
   */
  gather(rows: Uint32Array, target: Float32Array): void;

  /**
   * One row: the table's own numbers where it holds float32, otherwise decoded into `own`, which has `dimension` places. For reading,
   * and until `own` is used again. A row number outside the table throws.
   */
  vectorOf(row: number, own: Float32Array): Float32Array;
}
