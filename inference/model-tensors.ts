import type { VectorScale } from '#embeddings/quantisation.ts';
import { headShapes } from './bundle-checks.ts';
import { BundleError } from './bundle-errors.ts';
import { bundleFiles } from './bundle.ts';
import type { CategoricalField, FeatureSchema } from './feature-schema.ts';
import type { HeadDims, HeadWeights } from './head-weights.ts';
import type { LightRankerWeights, RankerHead } from './light-ranker.ts';
import type { Tensor } from './safetensors.ts';
import { categoryCountOf, vectorProfileColumns } from './vector-profile.ts';

/** How weights are named in the bundle's safetensors files. Shapes are checked afterwards, by bundle-checks.ts. */
type Tensors = ReadonlyMap<string, Tensor>;

const list = (values: Float32Array, ...shape: number[]): Tensor => ({ shape, data: values });

function float32(tensors: Tensors, name: string, file: string): Float32Array {
  const data = tensors.get(name)?.data;
  if (data instanceof Float32Array) return data;
  throw new BundleError('BUNDLE_TENSORS_INVALID', `${file}: ${name} is missing or not F32`);
}

/** Named like the fields of `HeadWeights`. */
export function headTensors(head: HeadWeights): Tensors {
  return new Map(
    Object.entries(headShapes(head.dims)).map(([name, shape]) => [
      name,
      list(head[name as keyof typeof head] as Float32Array, ...shape),
    ]),
  );
}

export function headOf(tensors: Tensors, dims: HeadDims): HeadWeights {
  const entries = Object.keys(headShapes(dims)).map((name) => [name, float32(tensors, name, bundleFiles.head.name)]);
  return { dims, ...(Object.fromEntries(entries) as Omit<HeadWeights, 'dims'>) };
}

/** `FIELD`: [size, dims.user]. */
export function contextTensors(schema: FeatureSchema, context: readonly Float32Array[], dimension: number): Tensors {
  return new Map(schema.context.map(({ name, size }, field) => [name, list(context[field]!, size, dimension)]));
}

export function contextOf(tensors: Tensors, schema: FeatureSchema): Float32Array[] {
  return schema.context.map(({ name }) => float32(tensors, name, bundleFiles.context.name));
}

/** `min`, `max` and `mean`: [dims.user] each. */
export function scaleTensors({ dimension, min, max, mean }: VectorScale): Tensors {
  return new Map(Object.entries({ min, max, mean }).map(([name, values]) => [name, list(values, dimension)]));
}

export function scaleOf(tensors: Tensors, dimension: number): VectorScale {
  const { name: file } = bundleFiles.userScale;
  const values = (name: string): Float32Array => float32(tensors, name, file);
  return { dimension, min: values('min'), max: values('max'), mean: values('mean') };
}

/** Lists of a ranker head by their names in the file. */
const rankerLists = [
  ['user', 'user', 'user'],
  ['ad', 'ad', 'ad'],
  ['context', 'context', 'context'],
  ['context_by_category', 'contextByCategory', 'context'],
  ['user_by_category', 'userByCategory', 'user'],
] as const;

const vectorProfileName = 'vector_profile';

/**
 * `OUTCOME/LIST/FIELD` for every array that is not empty, `OUTCOME/context_by_advertiser/FIELD`, and `OUTCOME/scalars`: bias,
 * interest match and site match in float64. `vector_profile`: [dims.user + 1, columns], where there is one.
 */
export function rankerTensors(schema: FeatureSchema, weights: LightRankerWeights): Tensors {
  const { click, conversion, vectorProfile } = weights;
  const tensors = new Map<string, Tensor>();
  for (const [outcome, head] of [
    ['click', click],
    ['conversion', conversion],
  ] as const) {
    for (const [name, key, group] of rankerLists) {
      for (const [field, values] of head[key].entries()) {
        const { name: fieldName, size } = schema[group][field]!;
        if (values.length > 0) tensors.set(`${outcome}/${name}/${fieldName}`, list(values, size, values.length / size));
      }
    }
    for (const [name, values] of Object.entries(head.contextByAdvertiser)) {
      const size = schema.context.find((field) => field.name === name)!.size;
      tensors.set(`${outcome}/context_by_advertiser/${name}`, list(values, size, values.length / size));
    }
    const scalars = Float64Array.of(head.bias, head.interestMatch, head.siteMatch);
    tensors.set(`${outcome}/scalars`, { shape: [scalars.length], data: scalars });
  }
  if (vectorProfile !== undefined) {
    const columns = vectorProfileColumns(categoryCountOf(schema)).count;
    tensors.set(vectorProfileName, list(vectorProfile, vectorProfile.length / columns, columns));
  }
  return tensors;
}

export function rankerOf(tensors: Tensors, schema: FeatureSchema): LightRankerWeights {
  return {
    click: rankerHeadOf(tensors, schema, 'click'),
    conversion: rankerHeadOf(tensors, schema, 'conversion'),
    ...(tensors.has(vectorProfileName)
      ? { vectorProfile: float32(tensors, vectorProfileName, bundleFiles.ranker.name) }
      : {}),
  };
}

function rankerHeadOf(tensors: Tensors, schema: FeatureSchema, outcome: string): RankerHead {
  const { name: file } = bundleFiles.ranker;
  const lists = (name: string, fields: readonly CategoricalField[]): Float32Array[] =>
    fields.map((field) => {
      const full = `${outcome}/${name}/${field.name}`;
      return tensors.has(full) ? float32(tensors, full, file) : new Float32Array(0);
    });
  const crossed = `${outcome}/context_by_advertiser/`;
  const crosses = [...tensors.keys()].filter((name) => name.startsWith(crossed));
  const scalars = tensors.get(`${outcome}/scalars`)?.data;
  if (!(scalars instanceof Float64Array) || scalars.length !== 3)
    throw new BundleError('BUNDLE_TENSORS_INVALID', `${file}: ${outcome}/scalars is missing or not three F64`);
  return {
    bias: scalars[0]!,
    interestMatch: scalars[1]!,
    siteMatch: scalars[2]!,
    user: lists('user', schema.user),
    ad: lists('ad', schema.ad),
    context: lists('context', schema.context),
    contextByCategory: lists('context_by_category', schema.context),
    userByCategory: lists('user_by_category', schema.user),
    contextByAdvertiser: Object.fromEntries(
      crosses.map((name) => [name.slice(crossed.length), float32(tensors, name, file)]),
    ),
  };
}
