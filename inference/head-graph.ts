import type { HeadWeights } from './head-weights.ts';
import { type Dimension, GraphBuilder } from './onnx-writer.ts';

/** Width of x0 = [u, a, c]. */
export function inputWidth({ dims }: HeadWeights): number {
  return dims.user + dims.ad + dims.cross;
}

/**
 * The head in one piece, as `head.onnx` of a bundle: user [N, 64], ad [N, 64], cross [N, 16] → logits [N, 2].
 * With `gathered`, rows come from tables instead: user [R, 64] by user_rows [N], ad_vectors [M, 64] by ad_ids [N].
 */
export function referenceHeadGraph(weights: HeadWeights, options: { readonly gathered?: boolean } = {}): Uint8Array {
  const { dims } = weights;
  const width = inputWidth(weights);
  const graph = new GraphBuilder('head');
  const rows: Dimension = 'N';
  let user: string;
  let ad: string;
  if (options.gathered === true) {
    graph.input('user', 'float32', ['R', dims.user]);
    graph.input('user_rows', 'int32', [rows]);
    graph.input('ad_vectors', 'float32', ['M', dims.ad]);
    graph.input('ad_ids', 'int32', [rows]);
    user = graph.node('Gather', ['user', 'user_rows']);
    ad = graph.node('Gather', ['ad_vectors', 'ad_ids']);
  } else {
    user = graph.input('user', 'float32', [rows, dims.user]);
    ad = graph.input('ad', 'float32', [rows, dims.ad]);
  }
  graph.input('cross', 'float32', [rows, dims.cross]);
  graph.constant('v1', [width, dims.rank], weights.v1);
  graph.constant('v2', [width, dims.rank], weights.v2);
  graph.constant('u1', [dims.rank, width], weights.u1);
  graph.constant('u2', [dims.rank, width], weights.u2);
  graph.constant('b1', [width], weights.b1);
  graph.constant('b2', [width], weights.b2);
  graph.constant('w1', [width, dims.hidden1], weights.w1);
  graph.constant('d1', [dims.hidden1], weights.d1);
  graph.constant('w2', [dims.hidden1, dims.hidden2], weights.w2);
  graph.constant('d2', [dims.hidden2], weights.d2);
  graph.constant('wx', [width, dims.heads], weights.wx);
  graph.constant('wm', [dims.hidden2, dims.heads], weights.wm);
  graph.constant('g', [dims.user, dims.heads], weights.g);
  graph.constant('bias', [dims.heads], weights.bias);
  const x0 = graph.node('Concat', [user, ad, 'cross'], { axis: 1 });
  const crossLayer = (x: string, v: string, u: string, b: string): string => {
    const expanded = graph.node('Gemm', [graph.node('MatMul', [x, v]), u, b]);
    return graph.node('Add', [graph.node('Mul', [x0, expanded]), x]);
  };
  const x2 = crossLayer(crossLayer(x0, 'v1', 'u1', 'b1'), 'v2', 'u2', 'b2');
  const hidden1 = graph.node('Relu', [graph.node('Gemm', [x0, 'w1', 'd1'])]);
  const hidden2 = graph.node('Relu', [graph.node('Gemm', [hidden1, 'w2', 'd2'])]);
  const fromCross = graph.node('Gemm', [x2, 'wx', 'bias']);
  const fromMlp = graph.node('Gemm', [hidden2, 'wm', fromCross]);
  graph.node('Gemm', [graph.node('Mul', [user, ad]), 'g', fromMlp], {}, { outputs: ['logits'] });
  graph.output('logits', 'float32', [rows, dims.heads]);
  return graph.toBytes();
}

/** The head of one candidate in float64, plain loops: what the graphs are checked against. */
export function headLogits(
  weights: HeadWeights,
  user: ArrayLike<number>,
  ad: ArrayLike<number>,
  cross: ArrayLike<number>,
): number[] {
  const { dims } = weights;
  const x0 = [...Array.from(user), ...Array.from(ad), ...Array.from(cross)];
  const times = (x: readonly number[], matrix: Float32Array, columns: number, bias?: Float32Array): number[] =>
    Array.from({ length: columns }, (_, column) =>
      x.reduce((sum, value, row) => sum + value * matrix[row * columns + column]!, bias?.[column] ?? 0),
    );
  const crossLayer = (x: readonly number[], v: Float32Array, u: Float32Array, b: Float32Array): number[] => {
    const expanded = times(times(x, v, dims.rank), u, x0.length, b);
    return x.map((value, index) => x0[index]! * expanded[index]! + value);
  };
  const relu = (values: readonly number[]): number[] => values.map((value) => Math.max(0, value));
  const x2 = crossLayer(crossLayer(x0, weights.v1, weights.u1, weights.b1), weights.v2, weights.u2, weights.b2);
  const hidden = relu(
    times(relu(times(x0, weights.w1, dims.hidden1, weights.d1)), weights.w2, dims.hidden2, weights.d2),
  );
  const products = Array.from({ length: dims.user }, (_, index) => user[index]! * ad[index]!);
  const parts = [
    times(x2, weights.wx, dims.heads, weights.bias),
    times(hidden, weights.wm, dims.heads),
    times(products, weights.g, dims.heads),
  ];
  return Array.from({ length: dims.heads }, (_, head) => parts.reduce((sum, part) => sum + part[head]!, 0));
}
