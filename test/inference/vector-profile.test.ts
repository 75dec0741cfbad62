import { expect, test } from 'vitest';
import { adColumnsOf } from '#inference/ad-columns.ts';
import { CrossFeatures, crossWidth } from '#inference/cross-features.ts';
import { placeCount } from '#inference/field-places.ts';
import { LightRanker, type LightRankerWeights } from '#inference/light-ranker.ts';
import { categoryCountOf, VectorProfile, vectorProfileColumns } from '#inference/vector-profile.ts';
import { smallAdWords, smallSchema, smallTrainedModel } from '../support/small-model.ts';

const adCount = 20;
const schema = smallSchema({ adCount });
const { ranker: weights } = await smallTrainedModel(11);
const adValues = schema.ad.map((field, index) =>
  Uint32Array.from({ length: adCount }, (_, ad) => field.vocabulary!.indexOf(smallAdWords(ad)[index]!) + 1),
);
const categoryCount = categoryCountOf(schema);
const columns = vectorProfileColumns(categoryCount);
const context = Uint32Array.of(1, 2, 1, 5, 2, 3, 1, 1, 1, 1);
const known = Uint32Array.of(1, 1, 2, 3, 0, 0, 0, 0, 0, 0);
const nobody = new Uint32Array(known.length);
const vector = new Float32Array(64);
vector[5] = 2;

function rankerOf(vectorProfile?: Float32Array): LightRanker {
  const { click, conversion } = weights;
  const all: LightRankerWeights = { click, conversion, ...(vectorProfile === undefined ? {} : { vectorProfile }) };
  return new LightRanker(schema, all, adColumnsOf(schema, all, adValues, adCount));
}

function partsOf(ranker: LightRanker, ids: Uint32Array): Float64Array {
  const parts = new Float64Array(columns.count);
  ranker.prepare(context, ids);
  ranker.partsInto(parts);
  return parts;
}

/** Half of what the ids add lies in the constant row, half in dimension 5. */
function exactProfile(): Float32Array {
  const ranker = rankerOf();
  const nothing = partsOf(ranker, nobody);
  const added = partsOf(ranker, known).map((part, column) => part - nothing[column]!);
  const profile = new Float32Array(65 * columns.count);
  for (let column = 0; column < columns.count; column++) {
    profile[64 * columns.count + column] = added[column]! / 2;
    profile[5 * columns.count + column] = added[column]! / 4;
  }
  return profile;
}

test('is a linear map of the vector', () => {
  const profile = Float32Array.from({ length: 3 * columns.count }, (_, at) => at % 7);
  const reader = new VectorProfile(profile, categoryCount);
  reader.read(Float32Array.of(2, -1));
  for (let column = 0; column < columns.count; column++) {
    const [first, second, constant] = [0, 1, 2].map((row) => profile[row * columns.count + column]!);
    expect(reader.said[column]).toBe(2 * first! - second! + constant!);
  }
});

test('a ranker that reads a vector says what it says by ids, as far as the map is right', () => {
  const byIds = rankerOf();
  byIds.prepare(context, known);
  const byVector = rankerOf(exactProfile());
  byVector.prepare(context, nobody, vector);
  for (let row = 0; row < adCount; row++) {
    expect(byVector.clickLogit(row)).toBeCloseTo(byIds.clickLogit(row), 5);
    expect(byVector.conversionLogit(row)).toBeCloseTo(byIds.conversionLogit(row), 5);
  }
  expect([...byVector.interestMatches]).toEqual([...byIds.interestMatches]);
  // Nothing of it stays behind.
  byVector.prepare(context, nobody);
  byIds.prepare(context, nobody);
  expect(byVector.clickLogit(3)).toBe(byIds.clickLogit(3));
  // A match is never more than certain.
  byVector.prepare(
    context,
    nobody,
    vector.map((value) => value * 1000),
  );
  expect(Math.max(...byVector.interestMatches)).toBe(1);
  expect(Math.min(...byVector.interestMatches)).toBe(0);
});

test('the trainer reads the same numbers for a row alone as serving does for all', () => {
  const ranker = rankerOf(weights.vectorProfile);
  const cross = new CrossFeatures(schema, ranker);
  const served = new Float32Array(adCount * crossWidth);
  const some = Float32Array.from({ length: 64 }, (_, d) => Math.cos(d));
  ranker.prepare(context, nobody, some);
  cross.prepare(context, 0);
  cross.rowsInto(
    served,
    0,
    Uint32Array.from({ length: adCount }, (_, row) => row),
    0,
    adCount,
  );
  const alone = new Float32Array(crossWidth);
  for (let row = 0; row < adCount; row++) {
    cross.oneInto(alone, 0, row, context, 0, nobody, 0, 0, some);
    expect([...alone]).toEqual([...served.subarray(row * crossWidth, (row + 1) * crossWidth)]);
  }
});

test('a model without a map knows nothing of whom it has only the vector', () => {
  const ranker = rankerOf();
  const nothing = partsOf(ranker, nobody);
  ranker.prepare(new Uint32Array(placeCount(schema.context)), nobody);
  ranker.prepare(context, nobody, vector);
  const parts = new Float64Array(columns.count);
  ranker.partsInto(parts);
  expect(parts).toEqual(nothing);
});
