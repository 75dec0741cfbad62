import * as ort from 'onnxruntime-node';
import type { VectorScale } from '#embeddings/quantisation.ts';
import { adColumnsOf } from '#inference/ad-columns.ts';
import { contentOf } from '#inference/bundle-write.ts';
import type { Bundle } from '#inference/bundle.ts';
import { CrossFeatures, crossWidth } from '#inference/cross-features.ts';
import {
  adFieldNames,
  type CategoricalField,
  contextFieldNames,
  crossFeatureNames,
  type FeatureSchema,
  userFieldNames,
} from '#inference/feature-schema.ts';
import { placeCount } from '#inference/field-places.ts';
import { goldenInputs } from '#inference/golden.ts';
import { servedDims } from '#inference/head-weights.ts';
import { LightRanker, type RankerHead } from '#inference/light-ranker.ts';
import { GraphBuilder } from '#inference/onnx-writer.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import type { GoldenRow, TrainedModel } from '#inference/trained-model.ts';
import { categoryCountOf, vectorProfileColumns } from '#inference/vector-profile.ts';
import { normals, randomHead } from './random-head.ts';

export type SmallModelOptions = {
  /** Ads `ad1`…, of which 4 share a line item `li1`… and 12 an advertiser `adv1`…; 60 by default. */
  readonly adCount?: number;
  /** Users `u1`…; 40 by default. */
  readonly userCount?: number;
  readonly goldenCount?: number;
  /** More are crossed with no advertiser. */
  readonly crossesAdvertisers?: boolean;
  /** As a trainer wrote it before user vectors had a scale. */
  readonly isOfBefore?: boolean;
};

const categories = ['IAB1', 'IAB2', 'IAB3', 'IAB4', 'IAB5'];
const sizes = ['banner:300x250', 'banner:320x50', 'banner:728x90', 'video', 'native'];

function words(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`);
}

/** The words of the n-th ad (from 0) of a small model, in the order of `adFieldNames`. */
export function smallAdWords(ad: number): string[] {
  return [
    `ad${ad + 1}`,
    `li${(ad >> 2) + 1}`,
    `adv${Math.floor(ad / 12) + 1}`,
    categories[Math.floor(ad / 12) % categories.length]!,
    sizes[ad % sizes.length]!,
  ];
}

export function smallSchema({ adCount = 60, userCount = 40 }: SmallModelOptions = {}): FeatureSchema {
  const vocabularies: Readonly<Record<string, readonly string[]>> = {
    user: words('u', userCount),
    age: ['18-24', '25-34', '35-44'],
    gender: ['M', 'F'],
    segment: [...categories, 'seg01', 'seg02', 'seg03'],
    ad: words('ad', adCount),
    line_item: words('li', Math.ceil(adCount / 4)),
    advertiser: words('adv', Math.ceil(adCount / 12)),
    category: categories,
    size: sizes,
    site: ['news.example', 'games.example', 'app.one'],
    site_category: categories,
    surface: ['site', 'app'],
    hour: Array.from({ length: 24 }, (_, hour) => String(hour)),
    day: Array.from({ length: 7 }, (_, day) => String(day)),
    device: ['phone', 'tablet', 'desktop'],
    os: ['ios', 'android', 'windows'],
    country: ['USA', 'GBR', 'DEU'],
    language: ['en', 'de'],
  };
  const fields = (names: readonly string[]): CategoricalField[] =>
    names.map((name) => {
      const vocabulary = vocabularies[name]!;
      return { name, size: vocabulary.length + 1, width: name === 'segment' ? 8 : 1, vocabulary };
    });
  return {
    version: 1,
    user: fields(userFieldNames),
    ad: fields(adFieldNames),
    context: fields(contextFieldNames),
    cross: crossFeatureNames,
  };
}

/** vector = Σ embedding rows of the ids: small, and a real graph with real tables. */
function smallTower(name: string, fields: readonly CategoricalField[], random: () => number): Uint8Array {
  const graph = new GraphBuilder(name);
  graph.input('ids', 'int32', ['N', placeCount(fields)]);
  graph.constant('axis', [1], BigInt64Array.of(1n));
  let place = 0;
  const sums = fields.map(({ size, width }, field) => {
    const table = normals(size * servedDims.user, 0.2, random);
    if (width > 1) table.fill(0, 0, servedDims.user);
    graph.constant(`table${field}`, [size, servedDims.user], table);
    const places = BigInt64Array.from({ length: width }, (_, index) => BigInt(place + index));
    place += width;
    const ids = graph.node('Gather', ['ids', graph.constant(`places${field}`, [width], places)], { axis: 1 });
    return graph.node('ReduceSum', [graph.node('Gather', [`table${field}`, ids]), 'axis'], { keepdims: 0 });
  });
  graph.node('Sum', sums, {}, { outputs: ['vector'] });
  graph.output('vector', 'float32', ['N', servedDims.user]);
  return graph.toBytes();
}

function smallRankerHead(
  schema: FeatureSchema,
  bias: number,
  crossesAdvertisers: boolean,
  random: () => number,
): RankerHead {
  const sizeOf = (name: string): number => schema.ad.find((field) => field.name === name)!.size;
  const lists = (fields: readonly CategoricalField[], columns: number, skipFirst: boolean): Float32Array[] =>
    fields.map(({ size }, field) =>
      skipFirst && field === 0 ? new Float32Array(0) : normals(size * columns, 0.2, random),
    );
  const crosses = crossesAdvertisers ? ['site_category', 'device'] : [];
  return {
    bias,
    user: lists(schema.user, 1, true),
    ad: lists(schema.ad, 1, false),
    context: lists(schema.context, 1, false),
    contextByCategory: lists(schema.context, sizeOf('category'), false),
    userByCategory: lists(schema.user, sizeOf('category'), true),
    contextByAdvertiser: Object.fromEntries(
      crosses.map((name) => {
        const { size } = schema.context.find((field) => field.name === name)!;
        return [name, normals(size * sizeOf('advertiser'), 0.2, random)];
      }),
    ),
    interestMatch: 0.4,
    siteMatch: 0.3,
  };
}

/** Not drawn: rows that are drawn after it stay what they are. */
function smallVectorProfile(schema: FeatureSchema): Float32Array {
  const { count } = vectorProfileColumns(categoryCountOf(schema));
  return Float32Array.from({ length: (servedDims.user + 1) * count }, (_, at) => Math.sin(at) / 8);
}

const smallScale: VectorScale = {
  dimension: servedDims.user,
  min: new Float32Array(servedDims.user).fill(-0.5),
  max: new Float32Array(servedDims.user).fill(1.5),
  mean: Float32Array.from({ length: servedDims.user }, (_, place) => place / 64),
};

/** A complete model with random weights, small enough to be written, read and served in a test: same seed, same bytes. */
export async function smallTrainedModel(seed: number, options: SmallModelOptions = {}): Promise<TrainedModel> {
  const random = seededRandom(seed);
  const schema = smallSchema(options);
  const crossesAdvertisers = options.crossesAdvertisers ?? true;
  const calibrator = { logits: [-12, -4, 0, 6], probabilities: [0.0001, 0.02, 0.3, 0.9] };
  const rungs = { full: calibrator, reduced: calibrator, 'light-ranker': calibrator };
  const model: TrainedModel = {
    schema,
    head: randomHead(seed + 1),
    userTower: smallTower('user-tower', schema.user, random),
    adTower: smallTower('ad-tower', schema.ad, random),
    context: schema.context.map(({ size }) => normals(size * servedDims.user, 0.1, random)),
    ranker: {
      click: smallRankerHead(schema, -4, crossesAdvertisers, random),
      conversion: smallRankerHead(schema, -2, crossesAdvertisers, random),
      ...(options.isOfBefore === true ? {} : { vectorProfile: smallVectorProfile(schema) }),
    },
    calibration: { id: '', heads: { click: rungs, conversion: rungs } },
    golden: [],
    ...(options.isOfBefore === true ? {} : { userScale: smallScale }),
    window: { fromMs: 1_700_000_000_000, toMs: 1_700_600_000_000, rows: 1000 },
    metrics: { auc: 0.75 },
  };
  return { ...model, golden: await goldenRows(model, options.goldenCount ?? 12, random) };
}

/** Random ids with the scores that the head in one piece gives them. */
async function goldenRows(model: TrainedModel, count: number, random: () => number): Promise<GoldenRow[]> {
  const { schema, ranker } = model;
  const drawIds = (fields: readonly CategoricalField[]): number[] =>
    fields.flatMap(({ size, width }) => Array.from({ length: width }, () => Math.floor(random() * size)));
  const rows = Array.from({ length: count }, (): GoldenRow => {
    const userIds = drawIds(schema.user);
    const adIds = drawIds(schema.ad);
    const contextIds = drawIds(schema.context);
    const columns = schema.ad.map((_, field) => Uint32Array.of(adIds[field]!));
    const features = new CrossFeatures(
      schema,
      new LightRanker(schema, ranker, adColumnsOf(schema, ranker, columns, 1)),
    );
    const cross = new Float32Array(crossWidth);
    features.oneInto(
      cross,
      0,
      0,
      Uint32Array.from(contextIds),
      0,
      Uint32Array.from(userIds),
      1,
      Math.floor(random() * 5),
    );
    return { userIds, adIds, contextIds, cross: [...cross], logits: [0, 0] };
  });
  const content = contentOf({ ...model, golden: rows });
  const inputs = await goldenInputs(content);
  const session = await ort.InferenceSession.create(content.headGraph, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  const { logits } = await session.run({
    user: new ort.Tensor('float32', inputs.user, [count, servedDims.user]),
    ad: new ort.Tensor('float32', inputs.tables['ad_vector']!, [count, servedDims.ad]),
    cross: new ort.Tensor('float32', inputs.cross, [count, servedDims.cross]),
  });
  await session.release();
  const scores = logits!.data as Float32Array;
  return rows.map((row, index) => ({ ...row, logits: [scores[index * 2]!, scores[index * 2 + 1]!] }));
}

/** The same as a bundle that was never on a disk: for tests that need a model in service and no files. */
export async function smallBundle(seed: number, options: SmallModelOptions = {}): Promise<Bundle> {
  const model = await smallTrainedModel(seed, options);
  const content = contentOf(model);
  return {
    ...content,
    id: `small-${seed}`,
    directory: '',
    towerVersion: `tower-${seed}`,
    manifest: {
      format_version: 1,
      parent: null,
      window: { from_ms: model.window.fromMs, to_ms: model.window.toMs, rows: model.window.rows },
      heads: ['click', 'conversion'],
      dims: content.head.dims,
      tables: content.tables,
      metrics: model.metrics,
      tower_version: `tower-${seed}`,
      calibration_id: content.calibration.id,
      files: [],
    },
  };
}
