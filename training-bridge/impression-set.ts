import type { FeatureSchema } from '#inference/feature-schema.ts';

/** Users or ads, described once: `values[f]` holds count × width vocabulary ids of the schema's f-th field. Row 0 is "unknown". */
export type EntityTable = {
  readonly ids: readonly string[];
  readonly values: readonly Uint32Array[];
};

/**
 * Logged impressions as columns, in the order of time. Everything the trainer knows: no truth of any world is in here.
 * `contextIds` is rowCount × (sum of context widths). `views` = views of the line item by the user in the cap window before this one.
 */
export type ImpressionSet = {
  readonly schema: FeatureSchema;
  readonly rowCount: number;
  readonly users: EntityTable;
  readonly ads: EntityTable;
  readonly userIndex: Uint32Array;
  readonly adIndex: Uint32Array;
  readonly contextIds: Uint32Array;
  readonly views: Uint8Array;
  readonly timeMs: Float64Array;
  readonly click: Uint8Array;
  readonly conversion: Uint8Array;
  readonly weight: Float32Array;
};
