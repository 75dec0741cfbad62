/** Rows of numbers by row number. Heap, shared memory, file: where they live is the table's affair. */
export interface EmbeddingTable {
  readonly rowCount: number;
  readonly dimension: number;

  /**
   * Copies the rows into `target`, one after another, and allocates nothing. A row number outside the table, or a target that is
   * too small, is a bug in the caller and throws before anything is copied.
   */
  gather(rows: Uint32Array, target: Float32Array): void;
}
