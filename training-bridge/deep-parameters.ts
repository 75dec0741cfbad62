import { type DeepShape, parameterShapes } from './deep-graph.ts';
import { type EmbeddingOptions, fillNormal } from './embedding-optimizer.ts';

export type FieldHyperParameters = EmbeddingOptions & { readonly dimension: number };
export type DeepHyperParameters = {
  readonly batchRows: number;
  /** Adam's rate for everything dense. */
  readonly denseRate: number;
  /** Share of the rows after which that rate falls in a straight line to 0. */
  readonly decayFrom: number;
  /** How much a clicked row weighs in the conversion loss, against 1 in the click loss. */
  readonly conversionWeight: number;
  readonly fields: Readonly<Record<string, FieldHyperParameters>>;
  readonly otherField: FieldHyperParameters;
  /** Of context fields with at most 64 ids, and of larger ones (sites). */
  readonly smallContext: EmbeddingOptions;
  readonly largeContext: EmbeddingOptions;
};

/** Found on the demo logs of 200 K and 1 M rows: see README. Ids of which there are many learn slowly and begin at nothing. */
export const deepDefaults: DeepHyperParameters = {
  batchRows: 256,
  denseRate: 0.003,
  decayFrom: 0.2,
  conversionWeight: 1,
  fields: {
    user: { dimension: 8, learningRate: 0.02, deviation: 0, initialSquares: 1 },
    age: { dimension: 8, learningRate: 0.1, deviation: 0.1, initialSquares: 0.01 },
    gender: { dimension: 4, learningRate: 0.1, deviation: 0.1, initialSquares: 0.01 },
    segment: { dimension: 16, learningRate: 0.06, deviation: 0.1, initialSquares: 0.01 },
    ad: { dimension: 4, learningRate: 0.02, deviation: 0, initialSquares: 1 },
    line_item: { dimension: 4, learningRate: 0.02, deviation: 0, initialSquares: 1 },
    advertiser: { dimension: 8, learningRate: 0.1, deviation: 0.05, initialSquares: 0.1 },
    category: { dimension: 16, learningRate: 0.06, deviation: 0.1, initialSquares: 0.01 },
    size: { dimension: 4, learningRate: 0.05, deviation: 0.1, initialSquares: 1 },
  },
  otherField: { dimension: 8, learningRate: 0.05, deviation: 0.05, initialSquares: 1 },
  smallContext: { learningRate: 0.003, deviation: 0, initialSquares: 1 },
  largeContext: { learningRate: 0.03, deviation: 0, initialSquares: 1 },
};

/**
 * First values. The head begins as the light ranker: its logit passes with weight 1 through the cross branch, everything else starts
 * small beside it, and training begins from what the linear model already knows.
 */
export function initialParameters(shape: DeepShape, random: () => number): ReadonlyMap<string, Float32Array> {
  const { dims } = shape;
  const width = dims.user + dims.ad + dims.cross;
  const parameters = new Map<string, Float32Array>();
  for (const { name, rows, columns } of parameterShapes(shape)) {
    const values = new Float32Array(rows * columns);
    const deviation = deviationOf(name, rows, width);
    if (deviation > 0) fillNormal(values, deviation, random);
    parameters.set(name, values);
  }
  const g = parameters.get('g')!;
  // Conversions are fifty times rarer: there the same strength would be noise first.
  for (let at = 1; at < g.length; at += dims.heads) g[at] = g[at]! * conversionDotShare;
  const wx = parameters.get('wx')!;
  const crossStart = dims.user + dims.ad;
  wx[(crossStart + lightLogit) * dims.heads] = 1;
  wx[(crossStart + lightConversionLogit) * dims.heads + 1] = 1;
  return parameters;
}

/** Places of the light ranker's logits among the cross features. */
const lightLogit = 0;
const lightConversionLogit = 11;
/** u·a is what towers are for: a strong dot product from the start makes the embeddings learn in one pass (AUC +0.003 from 0.1 to 2). */
const dotDeviation = 2;
const conversionDotShare = 0.05;

function deviationOf(name: string, rows: number, width: number): number {
  if (rows === 1 && name !== 'v1') return 0;
  switch (name) {
    case 'v1':
    case 'v2':
      return 1 / Math.sqrt(width);
    case 'u1':
    case 'u2':
      return 0.02;
    case 'wx':
    case 'wm':
      return 0.01;
    case 'g':
      return dotDeviation;
    default:
      return Math.sqrt(1 / rows);
  }
}
