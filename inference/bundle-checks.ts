import type { VectorScale } from '#embeddings/quantisation.ts';
import { BundleError } from './bundle-errors.ts';
import { type BundleContent, bundleFiles } from './bundle.ts';
import {
  type CalibratedRung,
  type CalibrationSet,
  calibratedRungs,
  calibratorProblem,
  laterCalibratedRungs,
} from './calibration.ts';
import { type CategoricalField, type FeatureSchema, crossFeatureNames } from './feature-schema.ts';
import { checkGolden, checkGoldenShape } from './golden.ts';
import type { HeadDims, HeadWeights } from './head-weights.ts';
import { type RankerHead, crossedAdvertiserCountMax } from './light-ranker.ts';
import { categoryCountOf, vectorProfileCategoryMax, vectorProfileColumns } from './vector-profile.ts';

const fieldCountMax = 64;
const widthMax = 64;
/** 2²⁴ words of 64 floats are 4 GiB: no tower holds more. */
const fieldSizeMax = 2 ** 24;
/** Ads keep the ids of these fields in 16 bits. */
const narrowAdFields = ['category', 'size'];
const narrowSizeMax = 2 ** 16;

/** Everything that must hold before a model may be written, and again before it may serve; throws a BundleError. */
export async function checkContent(content: BundleContent): Promise<void> {
  checkSchema(content.schema);
  checkHead(content.head);
  checkContext(content);
  checkRanker(content.schema, content.ranker.click, 'click');
  checkRanker(content.schema, content.ranker.conversion, 'conversion');
  checkVectorProfile(content);
  checkCalibration(content.calibration, bundleFiles.calibration.name);
  if (content.userScale !== undefined) checkUserScale(content.userScale, content.head.dims.user);
  checkGoldenShape(content);
  await checkGolden(content);
}

/** `schema` may be anything that JSON can hold. */
export function checkSchema(schema: FeatureSchema): void {
  const refuse = (why: string): BundleError =>
    new BundleError('BUNDLE_SCHEMA_INVALID', `${bundleFiles.schema.name}: ${why}`);
  if (typeof schema !== 'object' || schema === null) throw refuse('must be an object');
  if (schema.version !== 1) throw refuse('version must be 1');
  for (const group of ['user', 'ad', 'context'] as const) {
    const fields = schema[group];
    if (!Array.isArray(fields) || fields.length === 0 || fields.length > fieldCountMax)
      throw refuse(`${group} must be a list of 1 to ${fieldCountMax} fields`);
    for (const [index, field] of fields.entries()) {
      const problem = fieldProblem(field);
      if (problem !== undefined) throw refuse(`${group}[${index}]: ${problem}`);
    }
    if (new Set(fields.map(({ name }) => name)).size !== fields.length) throw refuse(`${group}: a name stands twice`);
  }
  for (const name of narrowAdFields) {
    const field = schema.ad.find((each) => each.name === name);
    if (field !== undefined && field.size > narrowSizeMax) throw refuse(`ad.${name}: size is above ${narrowSizeMax}`);
  }
  if (!Array.isArray(schema.cross) || schema.cross.join() !== crossFeatureNames.join())
    throw refuse(`cross must be ${crossFeatureNames.join(', ')}`);
}

function fieldProblem(field: CategoricalField): string | undefined {
  if (typeof field !== 'object' || field === null) return 'must be an object';
  const { name, size, width, vocabulary } = field;
  if (typeof name !== 'string' || !/^[a-z][a-z0-9_]{0,63}$/iu.test(name))
    return 'name must be a letter and up to 63 letters, digits or _';
  if (!Number.isInteger(size) || size < 1 || size > fieldSizeMax) return `size must be 1 to ${fieldSizeMax}`;
  if (!Number.isInteger(width) || width < 1 || width > widthMax) return `width must be 1 to ${widthMax}`;
  if (vocabulary === undefined) return undefined;
  if (!Array.isArray(vocabulary) || !vocabulary.every((word) => typeof word === 'string' && word.isWellFormed()))
    return 'vocabulary must be a list of words without lone surrogates';
  if (vocabulary.length >= size) return `size ${size} is too small for ${vocabulary.length} words and the unknown one`;
  if (new Set(vocabulary).size !== vocabulary.length) return 'a word stands twice in the vocabulary';
  return undefined;
}

/** Array lengths by the formula in head-weights.ts. */
export function headShapes({
  user,
  ad,
  cross,
  rank,
  hidden1,
  hidden2,
  heads,
}: HeadDims): Readonly<Record<Exclude<keyof HeadWeights, 'dims'>, readonly number[]>> {
  const width = user + ad + cross;
  return {
    v1: [width, rank],
    v2: [width, rank],
    u1: [rank, width],
    u2: [rank, width],
    b1: [width],
    b2: [width],
    w1: [width, hidden1],
    d1: [hidden1],
    w2: [hidden1, hidden2],
    d2: [hidden2],
    wx: [width, heads],
    wm: [hidden2, heads],
    g: [user, heads],
    bias: [heads],
  };
}

function checkHead(head: HeadWeights): void {
  const { name: file } = bundleFiles.head;
  const { dims } = head;
  if (dims.user !== dims.ad || dims.cross !== crossFeatureNames.length || dims.heads !== 2)
    throw new BundleError(
      'BUNDLE_TENSORS_INVALID',
      `${file}: dims must have user = ad, cross = ${crossFeatureNames.length} and heads = 2`,
    );
  for (const [name, shape] of Object.entries(headShapes(dims)))
    checkNumbers(head[name as keyof typeof head] as Float32Array, product(shape), `${file}: ${name}`);
}

function checkContext({ schema, context, head }: BundleContent): void {
  const { name: file } = bundleFiles.context;
  if (context.length !== schema.context.length)
    throw new BundleError('BUNDLE_TENSORS_INVALID', `${file}: one table per context field is needed`);
  for (const [field, { name, size }] of schema.context.entries())
    checkNumbers(context[field]!, size * head.dims.user, `${file}: ${name}`);
}

function checkRanker(schema: FeatureSchema, head: RankerHead, outcome: string): void {
  const { name: file } = bundleFiles.ranker;
  const sizeOf = (name: string): number => schema.ad.find((field) => field.name === name)?.size ?? 1;
  const categories = sizeOf('category');
  const advertisers = sizeOf('advertiser');
  const lists = [
    ['user', head.user, schema.user, 1],
    ['ad', head.ad, schema.ad, 1],
    ['context', head.context, schema.context, 1],
    ['context_by_category', head.contextByCategory, schema.context, categories],
    ['user_by_category', head.userByCategory, schema.user, categories],
  ] as const;
  for (const [list, weights, fields, columns] of lists) {
    if (weights.length !== fields.length)
      throw new BundleError('BUNDLE_TENSORS_INVALID', `${file}: ${outcome}/${list}: one array per field is needed`);
    for (const [field, { name, size }] of fields.entries()) {
      if (weights[field]!.length > 0)
        checkNumbers(weights[field]!, size * columns, `${file}: ${outcome}/${list}/${name}`);
    }
  }
  const crosses = Object.entries(head.contextByAdvertiser);
  if (crosses.length > 0 && advertisers > crossedAdvertiserCountMax)
    throw new BundleError(
      'BUNDLE_TENSORS_INVALID',
      `${file}: ${outcome}/context_by_advertiser: ${advertisers} advertisers are more than ${crossedAdvertiserCountMax}`,
    );
  for (const [name, weights] of crosses) {
    const field = schema.context.find((each) => each.name === name);
    const where = `${file}: ${outcome}/context_by_advertiser/${name}`;
    if (field === undefined) throw new BundleError('BUNDLE_TENSORS_INVALID', `${where}: no such context field`);
    // Its weights are picked by the id at the field's first place alone.
    if (field.width !== 1) throw new BundleError('BUNDLE_TENSORS_INVALID', `${where}: the field is wider than one`);
    checkNumbers(weights, field.size * advertisers, where);
  }
  checkNumbers([head.bias, head.interestMatch, head.siteMatch], 3, `${file}: ${outcome}/scalars`);
}

function checkVectorProfile({ schema, ranker, head }: BundleContent): void {
  if (ranker.vectorProfile === undefined) return;
  const where = `${bundleFiles.ranker.name}: vector_profile`;
  const categories = categoryCountOf(schema);
  if (categories > vectorProfileCategoryMax)
    throw new BundleError(
      'BUNDLE_TENSORS_INVALID',
      `${where}: ${categories} categories are more than ${vectorProfileCategoryMax}`,
    );
  checkNumbers(ranker.vectorProfile, (head.dims.user + 1) * vectorProfileColumns(categories).count, where);
}

/** `set` may be anything that JSON can hold. */
export function checkCalibration(set: CalibrationSet, file: string): void {
  for (const head of ['click', 'conversion'] as const) {
    // A rung that came later may be left out, but what is there must be right.
    const heads = set?.heads?.[head];
    const later = Object.keys(laterCalibratedRungs).filter((rung) => heads?.[rung as CalibratedRung] !== undefined);
    for (const rung of [...calibratedRungs, ...later] as CalibratedRung[]) {
      const calibrator = heads?.[rung];
      const problem =
        typeof calibrator !== 'object' || calibrator === null ? 'is missing' : calibratorProblem(calibrator);
      if (problem !== undefined)
        throw new BundleError('BUNDLE_CALIBRATION_INVALID', `${file}: heads.${head}.${rung}: ${problem}`);
    }
  }
}

function checkUserScale({ dimension, min, max, mean }: VectorScale, wanted: number): void {
  const { name: file } = bundleFiles.userScale;
  if (dimension !== wanted)
    throw new BundleError('BUNDLE_TENSORS_INVALID', `${file}: dimension is ${dimension}, not ${wanted}`);
  for (const [name, values] of Object.entries({ min, max, mean })) checkNumbers(values, wanted, `${file}: ${name}`);
  for (let place = 0; place < wanted; place++) {
    if (min[place]! > max[place]!)
      throw new BundleError('BUNDLE_TENSORS_INVALID', `${file}: min[${place}] is above max`);
  }
}

function product(shape: readonly number[]): number {
  return shape.reduce((result, size) => result * size, 1);
}

function checkNumbers(values: ArrayLike<number>, length: number, where: string): void {
  if (values.length !== length)
    throw new BundleError('BUNDLE_TENSORS_INVALID', `${where} holds ${values.length} numbers, not ${length}`);
  for (let index = 0; index < values.length; index++) {
    if (!Number.isFinite(values[index])) throw new BundleError('BUNDLE_NOT_FINITE', `${where}[${index}]`);
  }
}
