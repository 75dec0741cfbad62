import { type HeadDims, servedDims } from '#inference/head-weights.ts';
import { GradientGraph, type GraphPrecision, type Matrix } from './gradient-graph.ts';
import { type TowerShape, towerForward, towerParameterShapes } from './tower-graphs.ts';

/** Widths of what the graph is fed with: the gathered embeddings of each side. */
export type DeepShape = {
  readonly dims: HeadDims;
  readonly user: TowerShape;
  readonly ad: TowerShape;
  /** Rows of all small context fields together, at least 1. */
  readonly contextRows: number;
};
export type ParameterShape = { readonly name: string; readonly rows: number; readonly columns: number };

export const headParameterNames = [
  'v1',
  'v2',
  'u1',
  'u2',
  'b1',
  'b2',
  'w1',
  'd1',
  'w2',
  'd2',
  'wx',
  'wm',
  'g',
  'bias',
] as const;
export type HeadParameterName = (typeof headParameterNames)[number];

/** Every dense parameter in the order in which the graph takes them; head parameters have the names of `HeadWeights`. */
export function parameterShapes({ dims, user, ad }: DeepShape): readonly ParameterShape[] {
  const width = dims.user + dims.ad + dims.cross;
  const head: Readonly<Record<HeadParameterName, readonly [number, number]>> = {
    v1: [width, dims.rank],
    v2: [width, dims.rank],
    u1: [dims.rank, width],
    u2: [dims.rank, width],
    b1: [1, width],
    b2: [1, width],
    w1: [width, dims.hidden1],
    d1: [1, dims.hidden1],
    w2: [dims.hidden1, dims.hidden2],
    d2: [1, dims.hidden2],
    wx: [width, dims.heads],
    wm: [dims.hidden2, dims.heads],
    g: [dims.user, dims.heads],
    bias: [1, dims.heads],
  };
  return [
    ...towerParameterShapes('user', user),
    ...towerParameterShapes('ad', ad),
    ...headParameterNames.map((name) => ({ name, rows: head[name][0], columns: head[name][1] })),
  ];
}

/**
 * One training step as one graph. Inputs per row: `user_input`, `ad_input` (gathered embeddings side by side), `context_sum` [64]
 * (gathered rows of large context fields, added to the user vector), `context_hot` (1 for every id of a small context field: a matrix
 * product with `context_rows` is quicker than gathering 64 numbers for each), `cross` [16], `labels` and `weights` [heads]; and every
 * parameter. Outputs: `loss` per head, `logits`, and the gradients of parameters, context rows and gathered inputs.
 */
export function trainingGraph(shape: DeepShape, precision: GraphPrecision = 'float32'): Uint8Array {
  const { dims } = shape;
  const graph = new GradientGraph('training', precision);
  const userInput = graph.input('user_input', shape.user.input, { needsGradient: true });
  const adInput = graph.input('ad_input', shape.ad.input, { needsGradient: true });
  const contextSum = graph.input('context_sum', dims.user, { needsGradient: true });
  const contextHot = graph.input('context_hot', shape.contextRows, { needsGradient: false });
  const contextRows = graph.parameter('context_rows', shape.contextRows, dims.user);
  const cross = graph.input('cross', dims.cross, { needsGradient: false });
  const labels = graph.input('labels', dims.heads, { needsGradient: false });
  const weights = graph.input('weights', dims.heads, { needsGradient: false });
  const parameters = new Map(
    parameterShapes(shape).map(({ name, rows, columns }) => [name, graph.parameter(name, rows, columns)]),
  );
  const context = graph.add(graph.linear(contextHot, contextRows), contextSum);
  const user = graph.add(towerForward(graph, 'user', userInput, parameters), context);
  const ad = towerForward(graph, 'ad', adInput, parameters);
  const logits = headForward(graph, user, ad, cross, parameters);
  graph.output('logits', logits);
  graph.logisticLoss('loss', logits, labels, weights);
  return graph.differentiate([...parameters.values(), contextRows, userInput, adInput, contextSum]);
}

/** The formula of inference/head-weights.ts, on the tape. A test holds that it equals `headLogits`. */
function headForward(
  graph: GradientGraph,
  user: Matrix,
  ad: Matrix,
  cross: Matrix,
  parameters: ReadonlyMap<string, Matrix>,
): Matrix {
  const the = (name: HeadParameterName): Matrix => parameters.get(name)!;
  const x0 = graph.concat([user, ad, cross]);
  const crossLayer = (x: Matrix, v: HeadParameterName, u: HeadParameterName, b: HeadParameterName): Matrix =>
    graph.add(graph.multiply(x0, graph.linear(graph.linear(x, the(v)), the(u), the(b))), x);
  const x2 = crossLayer(crossLayer(x0, 'v1', 'u1', 'b1'), 'v2', 'u2', 'b2');
  const hidden1 = graph.relu(graph.linear(x0, the('w1'), the('d1')));
  const hidden2 = graph.relu(graph.linear(hidden1, the('w2'), the('d2')));
  const fromDot = graph.linear(graph.multiply(user, ad), the('g'), the('bias'));
  return graph.add(graph.add(graph.linear(x2, the('wx')), graph.linear(hidden2, the('wm'))), fromDot);
}

/** Sizes of the model that Gavelin serves for a schema whose fields have these embedding widths. */
export function servedShape(userInput: number, adInput: number, contextRows: number): DeepShape {
  return {
    dims: servedDims,
    user: { input: userInput, output: servedDims.user },
    ad: { input: adInput, output: servedDims.ad },
    contextRows,
  };
}
