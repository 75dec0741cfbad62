import { adColumnsOf } from '#inference/ad-columns.ts';
import { placeCount } from '#inference/field-places.ts';
import { LightRanker, type LightRankerWeights } from '#inference/light-ranker.ts';
import {
  categoryCountOf,
  vectorProfileCategoryMax,
  vectorProfileColumns,
  type VectorProfileWeights,
} from '#inference/vector-profile.ts';
import type { ExportedScorer } from './exported-scorer.ts';
import type { ImpressionSet } from './impression-set.ts';
import type { RowRange } from './training-rows.ts';

/** 65 numbers per column need no more: with 40,000 the fit explains the same share. */
const rowCountMax = 20_000;
/** Ridge, as a share of the mean variance of a dimension: keeps dimensions that hardly move from deciding. */
const ridgeShare = 1e-3;

/**
 * The linear map from user vectors to what the ids of their users add to the light ranker's parts, by least squares with a ridge over
 * users as often as they came. Rows without a user are in it: of nobody's vector it is to say nothing. Undefined with too many
 * categories.
 */
export function fitVectorProfile(
  set: ImpressionSet,
  { from, to }: RowRange,
  { userVectors, userIds, userWidth }: ExportedScorer,
  weights: LightRankerWeights,
): VectorProfileWeights | undefined {
  const { schema, users, userIndex } = set;
  const categoryCount = categoryCountOf(schema);
  if (categoryCount > vectorProfileCategoryMax) return undefined;
  const dimension = userVectors.length / users.ids.length;
  const { count: columns } = vectorProfileColumns(categoryCount);
  const rowCount = Math.min(rowCountMax, to - from);
  const vectors = new Float64Array(rowCount * dimension);
  const wanted = new Float64Array(rowCount * columns);
  const ranker = new LightRanker(schema, weights, adColumnsOf(schema, weights, [], 0));
  const noContext = new Uint32Array(placeCount(schema.context));
  const nobody = new Float64Array(columns);
  ranker.prepare(noContext, new Uint32Array(userWidth));
  ranker.partsInto(nobody);
  for (let row = 0; row < rowCount; row++) {
    const user = userIndex[from + Math.floor((row * (to - from)) / rowCount)]!;
    vectors.set(userVectors.subarray(user * dimension, (user + 1) * dimension), row * dimension);
    ranker.prepare(noContext, userIds.subarray(user * userWidth, (user + 1) * userWidth));
    const parts = wanted.subarray(row * columns, (row + 1) * columns);
    ranker.partsInto(parts);
    for (let column = 0; column < columns; column++) parts[column] = parts[column]! - nobody[column]!;
  }
  const means = takeMeans(vectors, dimension);
  const level = takeMeans(wanted, columns);
  const slopes = leastSquares(vectors, dimension, wanted, columns);
  for (let d = 0; d < dimension; d++) {
    for (let column = 0; column < columns; column++)
      level[column] = level[column]! - means[d]! * slopes[d * columns + column]!;
  }
  return Float32Array.from([...slopes, ...level]);
}

/** Takes the mean of each column off a matrix of `width` columns, and returns them. */
function takeMeans(values: Float64Array, width: number): Float64Array {
  const means = new Float64Array(width);
  const rowCount = values.length / width;
  for (let at = 0; at < values.length; at++) means[at % width]! += values[at]! / rowCount;
  for (let at = 0; at < values.length; at++) values[at] = values[at]! - means[at % width]!;
  return means;
}

/** B [width × columns] that makes X B nearest to Y, both centred: (XᵀX + λ) B = XᵀY, by Gaussian elimination. */
function leastSquares(x: Float64Array, width: number, y: Float64Array, columns: number): Float64Array {
  const left = new Float64Array(width * width);
  const right = new Float64Array(width * columns);
  const rowCount = x.length / width;
  for (let row = 0; row < rowCount; row++) {
    for (let d = 0; d < width; d++) {
      const value = x[row * width + d]!;
      for (let other = 0; other < width; other++) left[d * width + other]! += value * x[row * width + other]!;
      for (let column = 0; column < columns; column++)
        right[d * columns + column]! += value * y[row * columns + column]!;
    }
  }
  let trace = 0;
  for (let d = 0; d < width; d++) trace += left[d * width + d]!;
  // Vectors that are all the same say nothing: the ridge alone must keep the matrix from being singular.
  const ridge = trace > 0 ? (ridgeShare * trace) / width : 1;
  for (let d = 0; d < width; d++) left[d * width + d]! += ridge;
  // Symmetric and positive: no pivot needs to be looked for.
  for (let d = 0; d < width; d++) {
    for (let below = d + 1; below < width; below++) {
      const share = left[below * width + d]! / left[d * width + d]!;
      for (let other = d; other < width; other++) left[below * width + other]! -= share * left[d * width + other]!;
      for (let column = 0; column < columns; column++)
        right[below * columns + column]! -= share * right[d * columns + column]!;
    }
  }
  for (let d = width - 1; d >= 0; d--) {
    for (let column = 0; column < columns; column++) {
      let sum = right[d * columns + column]!;
      for (let other = d + 1; other < width; other++)
        sum -= left[d * width + other]! * right[other * columns + column]!;
      right[d * columns + column] = sum / left[d * width + d]!;
    }
  }
  return right;
}
