/** One table that the serving graph gathers from: float32 rows in shared memory, named like the graph's input. */
export type ScoringTable = {
  readonly name: string;
  readonly width: number;
  readonly rows: number;
  readonly data: SharedArrayBuffer;
};

/** Rows with known answers, kept behind the ads in every table: golden row i gathers table row `firstRow + i`. */
export type GoldenRows = {
  readonly count: number;
  readonly firstRow: number;
  /** [count, 64], [count, 16] and [count, 2], row-major. */
  readonly user: Float32Array;
  readonly cross: Float32Array;
  readonly logits: Float32Array;
};

/** What a scoring thread needs to serve a model. Crosses threads as it is: all that is large lies in shared memory. */
export type ScoringModel = {
  /** Which of the `modelSlotCount` places it takes; a request names its model by this number. */
  readonly slot: number;
  readonly modelId: string;
  /** The serving graph of `splitHead`, over shared memory. */
  readonly graph: Uint8Array;
  readonly tables: readonly ScoringTable[];
  readonly golden: GoldenRows;
};

/** Models that can serve at once: the one in service and the one that follows it. */
export const modelSlotCount = 2;
