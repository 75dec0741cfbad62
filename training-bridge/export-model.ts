import { referenceHeadGraph } from '#inference/head-graph.ts';
import type { HeadWeights } from '#inference/head-weights.ts';
import { floats, Graph, Tower } from '#inference/tower.ts';
import type { GoldenRow, TrainedModel } from '#inference/trained-model.ts';
import { type HeadParameterName, headParameterNames } from './deep-graph.ts';
import type { DeepTrainer, Side } from './deep-trainer.ts';
import { crossPlace, type LightRankerTrainer } from './fit-light-ranker.ts';
import type { ImpressionSet } from './impression-set.ts';
import { towerModel } from './tower-graphs.ts';
import type { RowRange } from './training-rows.ts';

/** Enough rows to find a wrong part of a bundle, few enough that reading one costs nothing. */
const goldenCount = 16;

/** The dense parts of a finished trainer as a bundle holds them. */
export function exportedParts(deep: DeepTrainer): Pick<TrainedModel, 'head' | 'userTower' | 'adTower' | 'context'> {
  const values = new Map([...deep.parameters].map(([name, parameter]) => [name, parameter.values]));
  const tower = (name: 'user' | 'ad', { fields, embeddings }: Side): Uint8Array =>
    towerModel(
      name,
      fields.map((field, index) => ({
        field,
        dimension: embeddings[index]!.dimension,
        table: embeddings[index]!.table,
      })),
      deep.shape[name],
      values,
    );
  const parts = Object.fromEntries(headParameterNames.map((name) => [name, values.get(name)!.slice()])) as Record<
    HeadParameterName,
    Float32Array
  >;
  const head: HeadWeights = { dims: deep.shape.dims, ...parts };
  return {
    head,
    userTower: tower('user', deep.user),
    adTower: tower('ad', deep.ad),
    context: deep.context.map(({ table }) => table.slice()),
  };
}

type Parts = ReturnType<typeof exportedParts>;

/** Rows spread over a range with the logits of the *exported* graphs: what everybody who reads the bundle must get too. */
export async function goldenRows(
  set: ImpressionSet,
  range: RowRange,
  parts: Parts,
  deep: DeepTrainer,
  light: LightRankerTrainer,
): Promise<GoldenRow[]> {
  const rows = Array.from({ length: goldenCount }, (_, index) =>
    Math.floor(range.from + ((index + 0.5) * (range.to - range.from)) / goldenCount),
  );
  const contextWidth = set.contextIds.length / set.rowCount;
  const idsOf = ({ rows: ids, width }: Side, entity: number): number[] => [
    ...ids.subarray(entity * width, (entity + 1) * width),
  ];
  const cross = new Float32Array(goldenCount * crossPlace.width);
  for (const [index, row] of rows.entries()) light.crossInto(cross, index * crossPlace.width, row);
  const inputs = rows.map((row, index) => ({
    userIds: idsOf(deep.user, set.userIndex[row]!),
    adIds: idsOf(deep.ad, set.adIndex[row]!),
    contextIds: [...set.contextIds.subarray(row * contextWidth, (row + 1) * contextWidth)],
    cross: [...cross.subarray(index * crossPlace.width, (index + 1) * crossPlace.width)],
  }));
  const { dims } = parts.head;
  const vectors = async (bytes: Uint8Array, name: string, ids: number[][], width: number): Promise<Float32Array> => {
    const tower = await Tower.open(bytes, name, ids[0]!.length, width);
    const result = (await tower.vectors(Int32Array.from(ids.flat()), goldenCount)).slice();
    await tower.close();
    return result;
  };
  const user = await vectors(
    parts.userTower,
    'user-tower.onnx',
    inputs.map(({ userIds }) => userIds),
    dims.user,
  );
  const ad = await vectors(
    parts.adTower,
    'ad-tower.onnx',
    inputs.map(({ adIds }) => adIds),
    dims.ad,
  );
  for (const [index, { contextIds }] of inputs.entries())
    addContext(user.subarray(index * dims.user, (index + 1) * dims.user), contextIds, set, parts.context);
  const head = await Graph.open(referenceHeadGraph(parts.head), 'head.onnx');
  const { logits } = await head.run(
    {
      user: floats(user, goldenCount, dims.user),
      ad: floats(ad, goldenCount, dims.ad),
      cross: floats(cross, goldenCount, dims.cross),
    },
    { logits: goldenCount * dims.heads },
  );
  await head.close();
  return inputs.map((input, index) => ({
    ...input,
    logits: [logits[index * dims.heads]!, logits[index * dims.heads + 1]!],
  }));
}

/** u = vector + Σ rows of the context ids, in place. */
export function addContext(
  vector: Float32Array,
  ids: ArrayLike<number>,
  { schema }: ImpressionSet,
  context: readonly Float32Array[],
): void {
  let place = 0;
  for (const [field, { width }] of schema.context.entries()) {
    for (let each = 0; each < width; each++, place++) {
      const id = ids[place]!;
      if (id === 0 && width > 1) continue;
      for (let d = 0; d < vector.length; d++) vector[d] = vector[d]! + context[field]![id * vector.length + d]!;
    }
  }
}
