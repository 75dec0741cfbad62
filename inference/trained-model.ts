import type { VectorScale } from '#embeddings/quantisation.ts';
import type { CalibrationSet } from './calibration.ts';
import type { FeatureSchema } from './feature-schema.ts';
import type { HeadWeights } from './head-weights.ts';
import type { LightRankerWeights } from './light-ranker.ts';

/**
 * One example with its expected answer: checked whenever a bundle is read, and run before a model serves. Ids are in the
 * schema's order, `width` places per field, the identity first.
 */
export type GoldenRow = {
  readonly userIds: readonly number[];
  readonly adIds: readonly number[];
  readonly contextIds: readonly number[];
  /** The 16 numbers that cross-features.ts gives for these ids; reading a bundle checks all but `line_item_views_log`. */
  readonly cross: readonly number[];
  /** Click and conversion of the head with u = userTower(userIds) + Σ context rows, a = adTower(adIds). */
  readonly logits: readonly [number, number];
};

/** Which log the model learnt from. */
export type TrainingWindow = { readonly fromMs: number; readonly toMs: number; readonly rows: number };

/**
 * What a trainer hands over; `writeBundle` makes a bundle of it. Places of a field wider than one that hold 0 are empty;
 * in a field of width one, 0 is the unknown word and has a row and a weight of its own.
 */
export type TrainedModel = {
  readonly schema: FeatureSchema;
  readonly head: HeadWeights;
  /** ONNX: `ids` int32 [N, Σ widths of the user fields] → `vector` float32 [N, dims.user]. */
  readonly userTower: Uint8Array;
  /** ONNX: `ids` int32 [N, Σ widths of the ad fields] → `vector` float32 [N, dims.ad]. */
  readonly adTower: Uint8Array;
  /** Per context field [size × dims.user], row-major; row 0 = unknown. */
  readonly context: readonly Float32Array[];
  readonly ranker: LightRankerWeights;
  readonly calibration: CalibrationSet;
  readonly golden: readonly GoldenRow[];
  /** Range of the user tower's vectors per dimension, and their mean as requests meet them. */
  readonly userScale?: VectorScale;
  readonly window: TrainingWindow;
  readonly metrics: Readonly<Record<string, number>>;
  /** Id of the bundle that training began from. */
  readonly parent?: string;
};
