import { AdColumnFiller, allocateAdColumns } from './ad-columns.ts';
import { AdTower, vectorTable } from './ad-tower.ts';
import { BundleError } from './bundle-errors.ts';
import { type BundleContent, bundleFiles } from './bundle.ts';
import { CrossFeatures, crossWidth } from './cross-features.ts';
import { type CategoricalField, crossFeatureNames } from './feature-schema.ts';
import { placeCount } from './field-places.ts';
import { LightRanker } from './light-ranker.ts';
import { Graph, floats, integers } from './tower.ts';
import type { GoldenRow } from './trained-model.ts';
import { openUserTower } from './user-tower.ts';

/** A few dozen rows find what is wrong; every one costs a table row per model in service. */
export const goldenCountMax = 256;
/** Recorded against computed: the trainer's machine may sum in another order. Relative beyond 1. */
const recordedTolerance = 1e-4;
/** The split graph against the head in one piece, on the same machine. */
const splitTolerance = 1e-5;

const file = bundleFiles.golden.name;
const viewsColumn = crossFeatureNames.indexOf('line_item_views_log');

/** One JSON object per line: {"user","ad","context","cross","logits"}. */
export function goldenText(rows: readonly GoldenRow[]): string {
  return rows
    .map(({ userIds, adIds, contextIds, cross, logits }) =>
      JSON.stringify({ user: userIds, ad: adIds, context: contextIds, cross, logits }),
    )
    .join('\n')
    .concat('\n');
}

export function readGolden(text: string): GoldenRow[] {
  const lines = text.split('\n');
  if (lines.pop() !== '') throw new BundleError('BUNDLE_GOLDEN_INVALID', `${file}: the last line does not end`);
  if (lines.length > goldenCountMax)
    throw new BundleError('BUNDLE_GOLDEN_INVALID', `${file}: more than ${goldenCountMax} rows`);
  return lines.map((line, index) => {
    let row: Partial<Record<'user' | 'ad' | 'context' | 'cross' | 'logits', number[]>> | null;
    try {
      row = JSON.parse(line);
    } catch (cause) {
      throw new BundleError('BUNDLE_GOLDEN_INVALID', `${file}:${index + 1}: not JSON`, { cause });
    }
    const list = (name: 'user' | 'ad' | 'context' | 'cross' | 'logits'): number[] => {
      const values: unknown = row?.[name];
      if (Array.isArray(values) && values.every((value) => typeof value === 'number')) return values;
      throw new BundleError('BUNDLE_GOLDEN_INVALID', `${file}:${index + 1}: ${name} must be a list of numbers`);
    };
    const [click = 0, conversion = 0] = list('logits');
    return {
      userIds: list('user'),
      adIds: list('ad'),
      contextIds: list('context'),
      cross: list('cross'),
      logits: list('logits').length === 2 ? [click, conversion] : [Number.NaN, Number.NaN],
    };
  });
}

/** Ids in range, lists as long as the schema says, numbers finite. */
export function checkGoldenShape({ schema, golden }: BundleContent): void {
  if (golden.length === 0 || golden.length > goldenCountMax)
    throw new BundleError('BUNDLE_GOLDEN_INVALID', `${file}: 1 to ${goldenCountMax} rows are needed`);
  for (const [index, row] of golden.entries()) {
    const where = `${file}:${index + 1}`;
    checkIds(schema.user, row.userIds, `${where}: user`);
    checkIds(schema.ad, row.adIds, `${where}: ad`);
    checkIds(schema.context, row.contextIds, `${where}: context`);
    if (row.cross.length !== crossWidth)
      throw new BundleError('BUNDLE_GOLDEN_INVALID', `${where}: cross must hold ${crossWidth} numbers`);
    if (!row.cross.every(Number.isFinite)) throw new BundleError('BUNDLE_NOT_FINITE', `${where}: cross`);
    if (!row.logits.every(Number.isFinite)) throw new BundleError('BUNDLE_NOT_FINITE', `${where}: logits`);
  }
}

function checkIds(fields: readonly CategoricalField[], ids: readonly number[], where: string): void {
  if (ids.length !== placeCount(fields))
    throw new BundleError('BUNDLE_GOLDEN_INVALID', `${where} must hold ${placeCount(fields)} ids`);
  let place = 0;
  for (const { name, size, width } of fields) {
    for (let index = 0; index < width; index++, place++) {
      const id = ids[place]!;
      if (!Number.isInteger(id) || id < 0 || id >= size)
        throw new BundleError('BUNDLE_GOLDEN_INVALID', `${where}[${place}]: ${id} is not an id of ${name}`);
    }
  }
}

/** What the golden rows look like to the serving graph: request vectors, per-ad tables, cross features. */
export type GoldenInputs = {
  readonly count: number;
  readonly user: Float32Array;
  readonly cross: Float32Array;
  readonly tables: Readonly<Record<string, Float32Array>>;
};

/** Runs both towers on the golden rows; with `openTower`, on an ad tower that is open already. */
export async function goldenInputs(content: BundleContent, openTower?: AdTower): Promise<GoldenInputs> {
  const { golden, head, context, schema } = content;
  const count = golden.length;
  const userTower = await openUserTower(content);
  const adTower = openTower ?? (await AdTower.open(content));
  try {
    const user = await userTower.vectors(Int32Array.from(golden.flatMap(({ userIds }) => userIds)), count);
    for (const [row, { contextIds }] of golden.entries()) {
      const vector = user.subarray(row * head.dims.user, (row + 1) * head.dims.user);
      addContext(vector, contextIds, schema.context, context);
    }
    return {
      count,
      user,
      cross: Float32Array.from(golden.flatMap(({ cross }) => cross)),
      tables: await adTower.tablesOf(Int32Array.from(golden.flatMap(({ adIds }) => adIds)), count),
    };
  } finally {
    await userTower.close();
    if (openTower === undefined) await adTower.close();
  }
}

/** Adds the rows of the context ids to a vector; in a field wider than one, 0 is an empty place. */
function addContext(
  vector: Float32Array,
  ids: readonly number[],
  fields: readonly CategoricalField[],
  context: readonly Float32Array[],
): void {
  let place = 0;
  for (const [field, { width }] of fields.entries()) {
    for (let index = 0; index < width; index++, place++) {
      const id = ids[place]!;
      if (id === 0 && width > 1) continue;
      for (let d = 0; d < vector.length; d++) vector[d] = vector[d]! + context[field]![id * vector.length + d]!;
    }
  }
}

/**
 * Scores every golden row with the head in one piece (must equal the recorded logits) and with the split graph (must equal the
 * head in one piece), and computes its cross features anew: a bundle whose parts do not belong together is found here.
 */
export async function checkGolden(content: BundleContent): Promise<void> {
  const inputs = await goldenInputs(content);
  const { count, user, cross, tables } = inputs;
  const { dims } = content.head;
  checkCross(content);
  const whole = await runGraph(content.headGraph, bundleFiles.headGraph.name, count * dims.heads, {
    user: floats(user, count, dims.user),
    ad: floats(tables[vectorTable]!, count, dims.ad),
    cross: floats(cross, count, dims.cross),
  });
  const recorded = content.golden.flatMap(({ logits }) => logits);
  compare(whole, recorded, recordedTolerance, `${bundleFiles.headGraph.name} against the recorded logits`);
  const split = await runGraph(content.serveGraph, bundleFiles.serveGraph.name, count * dims.heads, {
    user: floats(user, count, dims.user),
    ad_ids: integers(
      Int32Array.from({ length: count }, (_, row) => row),
      count,
      1,
    ),
    cross: floats(cross, count, 1, dims.cross),
    ...Object.fromEntries(content.tables.map(({ name, width }) => [name, floats(tables[name]!, count, width)])),
  });
  compare(split, whole, splitTolerance, `${bundleFiles.serveGraph.name} against ${bundleFiles.headGraph.name}`);
}

async function runGraph(
  bytes: Uint8Array,
  name: string,
  length: number,
  inputs: Parameters<Graph['run']>[0],
): Promise<Float32Array> {
  const graph = await Graph.open(bytes, name);
  try {
    return (await graph.run(inputs, { logits: length })).logits;
  } finally {
    await graph.close();
  }
}

function compare(got: Float32Array, expected: ArrayLike<number>, tolerance: number, what: string): void {
  for (const [index, value] of got.entries()) {
    const where = `${file}:${Math.floor(index / 2) + 1}: logits[${index % 2}], ${what}`;
    if (!Number.isFinite(value)) throw new BundleError('BUNDLE_NOT_FINITE', where);
    if (differs(value, expected[index]!, tolerance))
      throw new BundleError('BUNDLE_GOLDEN_MISMATCH', `${where}: ${value} is not ${expected[index]}`);
  }
}

function differs(value: number, expected: number, tolerance: number): boolean {
  return !(Math.abs(value - expected) <= tolerance * Math.max(1, Math.abs(expected)));
}

/** All cross features but the views, which the ids do not tell. */
function checkCross({ schema, ranker: weights, golden }: BundleContent): void {
  const columns = allocateAdColumns(golden.length);
  const filler = new AdColumnFiller(schema, weights);
  const features = new CrossFeatures(schema, new LightRanker(schema, weights, columns));
  const cross = new Float32Array(crossWidth);
  const identityWidth = placeCount(schema.user.slice(0, 1));
  for (const [row, { userIds, adIds, contextIds, cross: recorded }] of golden.entries()) {
    filler.fill(columns, row, adIds, 0);
    features.oneInto(cross, 0, row, Uint32Array.from(contextIds), 0, Uint32Array.from(userIds), identityWidth, 0);
    for (const [column, value] of cross.entries()) {
      if (column !== viewsColumn && differs(value, recorded[column]!, recordedTolerance))
        throw new BundleError(
          'BUNDLE_GOLDEN_MISMATCH',
          `${file}:${row + 1}: cross[${column}] (${crossFeatureNames[column]}): ${value} is not ${recorded[column]}`,
        );
    }
  }
}
