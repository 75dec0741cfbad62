import type { VectorScale } from '#embeddings/quantisation.ts';
import type { CalibrationSet } from './calibration.ts';
import type { FeatureSchema } from './feature-schema.ts';
import type { HeadDims, HeadWeights } from './head-weights.ts';
import type { LightRankerWeights } from './light-ranker.ts';
import type { Signature } from './signing.ts';
import type { SplitTable } from './split-head.ts';
import type { GoldenRow } from './trained-model.ts';

export const bundleFormatVersion = 1;
export const manifestFile = 'manifest.json';
/** What the heads give, in the order of the logits. */
export const bundleHeads = ['click', 'conversion'] as const;

const mebibyte = 2 ** 20;
/** A manifest lists a dozen files and some metrics: about 4 KB. */
export const manifestBytesMax = mebibyte;

/** Every file that a bundle may have, and the most it may hold. All are read into memory, one after another. */
export const bundleFiles = {
  /** Vocabularies of a million ads and users take about 40 MB. */
  schema: { name: 'schema.json', bytesMax: 256 * mebibyte },
  headGraph: { name: 'head.onnx', bytesMax: 64 * mebibyte },
  serveGraph: { name: 'serve.onnx', bytesMax: 64 * mebibyte },
  adPartGraph: { name: 'ad-part.onnx', bytesMax: 64 * mebibyte },
  /** Towers carry their embeddings: protobuf, and so ONNX without side files, ends at 2 GiB. */
  userTower: { name: 'user-tower.onnx', bytesMax: 1536 * mebibyte },
  adTower: { name: 'ad-tower.onnx', bytesMax: 1536 * mebibyte },
  head: { name: 'head.safetensors', bytesMax: 64 * mebibyte },
  context: { name: 'context.safetensors', bytesMax: 512 * mebibyte },
  ranker: { name: 'ranker.safetensors', bytesMax: 512 * mebibyte },
  calibration: { name: 'calibration.json', bytesMax: mebibyte },
  golden: { name: 'golden.jsonl', bytesMax: 4 * mebibyte },
  /** Range and mean of the user vectors: bundles of before 0.2.0 have none. */
  userScale: { name: 'user-scale.safetensors', bytesMax: mebibyte },
} as const;
export type BundleFile = keyof typeof bundleFiles;
/** Files that a bundle may lack. */
export type OptionalBundleFile = 'userScale';
export type RequiredBundleFile = Exclude<BundleFile, OptionalBundleFile>;

export type ManifestFile = { readonly name: string; readonly sha256: string; readonly bytes: number };

/** `manifest.json`: canonical JSON. The hash of it without `signature` is the bundle's id and the name of its directory. */
export type Manifest = {
  readonly format_version: number;
  readonly parent: string | null;
  readonly window: { readonly from_ms: number; readonly to_ms: number; readonly rows: number };
  readonly heads: readonly string[];
  readonly dims: HeadDims;
  /** Per-ad tables that the serving graph gathers from. */
  readonly tables: readonly SplitTable[];
  readonly metrics: Readonly<Record<string, number>>;
  /** Stored user vectors belong to one of these: user tower, user fields and context rows. */
  readonly tower_version: string;
  readonly calibration_id: string;
  /** In the order of their names. */
  readonly files: readonly ManifestFile[];
  readonly signature?: Signature;
};

/** What the files of a bundle say. */
export type BundleContent = {
  readonly schema: FeatureSchema;
  readonly head: HeadWeights;
  readonly headGraph: Uint8Array;
  readonly serveGraph: Uint8Array;
  readonly adPartGraph: Uint8Array;
  readonly tables: readonly SplitTable[];
  readonly userTower: Uint8Array;
  readonly adTower: Uint8Array;
  readonly context: readonly Float32Array[];
  readonly ranker: LightRankerWeights;
  readonly calibration: CalibrationSet;
  readonly golden: readonly GoldenRow[];
  /** Of the user tower's vectors: int8 user embeddings in stores are read by it, and its mean stands in for one that cannot be had. */
  readonly userScale?: VectorScale;
};

/** A bundle that was read and checked. */
export type Bundle = BundleContent & {
  readonly id: string;
  readonly directory: string;
  readonly towerVersion: string;
  readonly manifest: Manifest;
};
