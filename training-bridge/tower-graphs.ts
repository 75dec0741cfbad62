import type { CategoricalField } from '#inference/feature-schema.ts';
import { GraphBuilder } from '#inference/onnx-writer.ts';
import type { ParameterShape } from './deep-graph.ts';
import type { GradientGraph, Matrix } from './gradient-graph.ts';

/** A tower takes the embeddings of its fields side by side and gives the vector of a user or an ad. */
export type TowerShape = { readonly input: number; readonly output: number };

/** Width of the bent part of a tower. */
const hiddenWidth = 64;

/** vector = x·direct + relu(x·in + in_bias)·out + bias: a straight way for what simply adds up, and a bent one beside it. */
export function towerParameterShapes(side: string, { input, output }: TowerShape): readonly ParameterShape[] {
  return [
    { name: `${side}_direct`, rows: input, columns: output },
    { name: `${side}_in`, rows: input, columns: hiddenWidth },
    { name: `${side}_in_bias`, rows: 1, columns: hiddenWidth },
    { name: `${side}_out`, rows: hiddenWidth, columns: output },
    { name: `${side}_bias`, rows: 1, columns: output },
  ];
}

export function towerForward(
  graph: GradientGraph,
  side: string,
  input: Matrix,
  parameters: ReadonlyMap<string, Matrix>,
): Matrix {
  const the = (name: string): Matrix => parameters.get(`${side}_${name}`)!;
  const hidden = graph.relu(graph.linear(input, the('in'), the('in_bias')));
  return graph.add(graph.linear(input, the('direct')), graph.linear(hidden, the('out'), the('bias')));
}

/** One field of a tower with its trained table, [size × dimension]. Fields with several ids per entity are summed. */
export type TowerField = {
  readonly field: CategoricalField;
  readonly dimension: number;
  readonly table: Float32Array;
};

/**
 * The same tower for serving: `ids` int32 [N, Σ widths] → `vector` float32 [N, output], tables inside. Where a field holds several ids,
 * 0 is an unused place: its row is 0, and the sum is divided by the root of how many there are, as in training.
 */
export function towerModel(
  side: string,
  fields: readonly TowerField[],
  shape: TowerShape,
  parameters: ReadonlyMap<string, Float32Array>,
): Uint8Array {
  const graph = new GraphBuilder(`${side}-tower`);
  const integers = (name: string, ...values: number[]): string =>
    graph.constant(name, [values.length], BigInt64Array.from(values.map(BigInt)));
  const width = fields.reduce((sum, { field }) => sum + field.width, 0);
  graph.input('ids', 'int32', ['N', width]);
  integers('axis1', 1);
  graph.constant('zero', [], Int32Array.of(0));
  graph.constant('one', [], Float32Array.of(1));
  let column = 0;
  const embedded = fields.map(({ field, dimension, table }, index) => {
    graph.constant(`table${index}`, [field.size, dimension], table);
    const places = integers(`places${index}`, ...Array.from({ length: field.width }, (_, place) => column + place));
    column += field.width;
    const ids = graph.node('Gather', ['ids', places], { axis: 1 });
    const rows = graph.node('Gather', [`table${index}`, ids]);
    const sum = graph.node('ReduceSum', [rows, 'axis1'], { keepdims: 0 });
    if (field.width === 1) return sum;
    const isUsed = graph.node('Cast', [graph.node('Greater', [ids, 'zero'])], { to: 1 });
    const count = graph.node('Max', [graph.node('ReduceSum', [isUsed, 'axis1'], { keepdims: 1 }), 'one']);
    return graph.node('Div', [sum, graph.node('Sqrt', [count])]);
  });
  for (const { name, rows, columns } of towerParameterShapes(side, shape)) {
    const values = parameters.get(name);
    if (values === undefined) throw new RangeError(`parameter ${name} is missing`);
    graph.constant(name, rows === 1 ? [columns] : [rows, columns], values);
  }
  const input = graph.node('Concat', embedded, { axis: 1 });
  const hidden = graph.node('Relu', [graph.node('Gemm', [input, `${side}_in`, `${side}_in_bias`])]);
  const bent = graph.node('Gemm', [hidden, `${side}_out`, `${side}_bias`]);
  graph.node('Gemm', [input, `${side}_direct`, bent], {}, { outputs: ['vector'] });
  graph.output('vector', 'float32', ['N', shape.output]);
  return graph.toBytes();
}
