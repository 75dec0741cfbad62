import { inputWidth } from './head-graph.ts';
import type { HeadDims, HeadWeights } from './head-weights.ts';
import { GraphBuilder } from './onnx-writer.ts';

/** Place of the cross feature that is always 1: it carries the biases and the user's part through one matrix product. */
export const constantCrossFeature = 15;

/** One table of per-ad numbers that the serving graph gathers from: input name and row width in float32. */
export type SplitTable = { readonly name: string; readonly width: number };

export type SplitHead = {
  /** user [R, 64], ad_ids [R, K] int32, cross [R, K, 16] (feature 15 = 1) and one input per table [M, width] → logits [R, K, 2]. */
  readonly serve: Uint8Array;
  /** vector [N, 64] → one output per table but the vectors themselves, [N, width], named like the table. */
  readonly adPart: Uint8Array;
  readonly tables: readonly SplitTable[];
};

/**
 * Splits the head so that a candidate costs three fifths of what it costs in one piece, and equals it but for rounding (1e-6).
 *
 * Both branches start linear in x0 = [u, a, c], so their first layers are sums of a user part (once per request), an ad part
 * (once per ad, kept beside its vector) and a small cross part. The cross branch also *ends* linear, and what lies between is
 * products of x0 with itself. With E = (V1·U1)ᵀ, so that U1ᵀ·V1ᵀ·x0 = E·x0, and h1 = V1ᵀ·x0,
 *
 *   h2     = V2ᵀ·(x0 ⊙ (1 + b1 + E·x0))
 *   wxᵀ·x2 = Σ_d wx_d·x0_d·(1 + b1_d + b2_d) + Σ_d wx_d·x0_d·(E·x0)_d + h2·p2     with p2 = U2·(wx ⊙ x0)
 *
 * The 144-wide expansions are gone, and every product of two dimensions of x0 is taken where it is cheapest: user × user once
 * per request, ad × ad once per ad, both as constants of the sums above; user × ad as a product of the ad's vector with a
 * request's weights (it merges with the head's own dot product) or of h1 with a request's matrix; whatever holds a cross
 * feature as q·c, where q is linear in x0 and only 16 wide, or per candidate. 18.4 K multiplications instead of 45 K.
 * The user's part enters as the last row of a per-request weight, met by the constant feature.
 */
export function splitHead(weights: HeadWeights): SplitHead {
  const { dims } = weights;
  if (dims.heads !== 2 || dims.cross !== constantCrossFeature + 1)
    throw new RangeError('The split is written for 16 cross features and 2 heads.');
  const parts = splitParts(weights);
  return {
    serve: serveGraph(weights, parts),
    adPart: adPartGraph(dims, parts),
    tables: [
      { name: 'ad_vector', width: dims.ad },
      { name: 'ad_mlp', width: dims.hidden1 },
      { name: 'ad_cross', width: parts.cross.columns },
    ],
  };
}

/** Row-major. */
type Matrix = { readonly rows: number; readonly columns: number; readonly values: Float32Array };

/** What is linear in x0 as [D, columns], and what is linear in x0 ⊙ E·x0. */
type SplitParts = {
  /** The MLP's first layer. */
  readonly mlp: Matrix;
  /** (E·x0)_d of the user's and of the ad's dimensions. */
  readonly bendUser: Matrix;
  readonly bendAd: Matrix;
  /** The ad's vector times the user's: [user, heads × ad], the head's own dot product included. */
  readonly dot: Matrix;
  /** Per head p2 and q, then h2 without its products, then h1: what the cross branch needs of every candidate. */
  readonly cross: Matrix;
  /** The columns of `cross` that x0 ⊙ E·x0 adds to: the user's share of q's constant, the ad's of that and of h2. */
  readonly crossOfUserBend: Matrix;
  readonly crossOfAdBend: Matrix;
};

function splitParts(weights: HeadWeights): SplitParts {
  const { dims, u1, u2, v1, v2, b1, b2, wx, g } = weights;
  const { user, ad, cross, rank, heads } = dims;
  const width = inputWidth(weights);
  const firstCross = user + ad;
  const constant = width - 1;
  const outWidth = rank + cross;
  const h2From = heads * outWidth;
  const expansion = new Float64Array(width * width);
  for (let d = 0; d < width; d++) {
    for (let from = 0; from < width; from++) {
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += u1[r * width + d]! * v1[from * rank + r]!;
      expansion[d * width + from] = sum;
    }
  }
  const bend = (d: number, from: number): number => expansion[d * width + from]!;
  const weightOf = (d: number, head: number): number => wx[d * heads + head]!;
  const linearWeight = (d: number, head: number): number => weightOf(d, head) * (1 + b1[d]! + b2[d]!);

  // Column of q for cross feature c: what multiplies c. A pair of cross features must be counted once, any other pair twice.
  const q = (d: number, head: number, c: number): number => {
    const feature = firstCross + c;
    let value = weightOf(feature, head) * bend(feature, d);
    if (d < firstCross) {
      value += weightOf(d, head) * bend(d, feature);
      if (feature === constant) value += linearWeight(d, head);
    } else if (d === constant) {
      value += linearWeight(feature, head);
      if (feature === constant) value += weights.bias[head]!;
    }
    return value;
  };
  const crossColumn = (d: number, column: number): number => {
    if (column < h2From) {
      const head = Math.floor(column / outWidth);
      const place = column % outWidth;
      return place < rank ? u2[place * width + d]! * weightOf(d, head) : q(d, head, place - rank);
    }
    const place = column - h2From;
    return place < rank ? v2[d * rank + place]! * (1 + b1[d]!) : v1[d * rank + place - rank]!;
  };
  const constantOfBend = (d: number, column: number): number =>
    column < h2From && column % outWidth === outWidth - 1 ? weightOf(d, Math.floor(column / outWidth)) : 0;
  const crossColumns = h2From + 2 * rank;
  return {
    mlp: matrix(
      width,
      dims.hidden1,
      (d, column) => weights.w1[d * dims.hidden1 + column]! + (d === constant ? weights.d1[column]! : 0),
    ),
    bendUser: matrix(width, user, (d, column) => bend(column, d)),
    bendAd: matrix(width, ad, (d, column) => bend(user + column, d)),
    dot: matrix(user, heads * ad, (d, column) => {
      const head = Math.floor(column / ad);
      const to = column % ad;
      const other = user + to;
      const own = d === to ? g[d * heads + head]! : 0;
      return own + weightOf(d, head) * bend(d, other) + weightOf(other, head) * bend(other, d);
    }),
    cross: matrix(width, crossColumns, crossColumn),
    crossOfUserBend: matrix(user, crossColumns, constantOfBend),
    crossOfAdBend: matrix(ad, crossColumns, (d, column) => {
      const isH2 = column >= h2From && column < h2From + rank;
      return isH2 ? v2[(user + d) * rank + column - h2From]! : constantOfBend(user + d, column);
    }),
  };
}

function adPartGraph({ user, ad }: HeadDims, parts: SplitParts): Uint8Array {
  const graph = new GraphBuilder('ad-part');
  const ofAd = (name: string, whole: Matrix): string => constantOf(graph, name, rowsOf(whole, user, user + ad));
  graph.input('vector', 'float32', ['N', ad]);
  const bent = graph.node('Mul', [graph.node('MatMul', ['vector', ofAd('bend', parts.bendAd)]), 'vector']);
  graph.node('MatMul', ['vector', ofAd('mlp', parts.mlp)], {}, { outputs: ['ad_mlp'] });
  graph.node(
    'Add',
    [
      graph.node('MatMul', ['vector', ofAd('cross', parts.cross)]),
      graph.node('MatMul', [bent, constantOf(graph, 'cross_bent', parts.crossOfAdBend)]),
    ],
    {},
    { outputs: ['ad_cross'] },
  );
  graph.output('ad_mlp', 'float32', ['N', parts.mlp.columns]);
  graph.output('ad_cross', 'float32', ['N', parts.cross.columns]);
  return graph.toBytes();
}

function serveGraph(weights: HeadWeights, parts: SplitParts): Uint8Array {
  const { dims, u1, v2 } = weights;
  const { user, ad, rank, heads } = dims;
  const width = inputWidth(weights);
  const firstCross = user + ad;
  const outWidth = rank + dims.cross;
  const graph = new GraphBuilder('serve');
  graph.input('user', 'float32', ['R', user]);
  graph.input('ad_ids', 'int32', ['R', 'K']);
  graph.input('cross', 'float32', ['R', 'K', dims.cross]);
  graph.input('ad_vector', 'float32', ['M', ad]);
  graph.input('ad_mlp', 'float32', ['M', parts.mlp.columns]);
  graph.input('ad_cross', 'float32', ['M', parts.cross.columns]);
  integers(graph, 'axis1', 1);
  integers(graph, 'axis2', 2);
  integers(graph, 'axis_last', -1);
  const request = requestNodes(graph, weights, parts);
  const gathered = (table: string, crossWeights: string): string => {
    const ofAd = graph.node('Gather', [table, 'ad_ids']);
    return graph.node('Add', [graph.node('MatMul', ['cross', crossWeights]), ofAd]);
  };

  // MLP. Rows are flattened for the second layer: a Gemm with bias and relu is one pass where MatMul, Add and Relu are three.
  integers(graph, 'flat', -1, dims.hidden1);
  graph.constant('w2', [dims.hidden1, dims.hidden2], weights.w2);
  graph.constant('d2', [dims.hidden2], weights.d2);
  const hidden1 = graph.node('Reshape', [graph.node('Relu', [gathered('ad_mlp', request.mlp)]), 'flat']);
  const hidden2 = graph.node('Relu', [graph.node('Gemm', [hidden1, 'w2', 'd2'])]);

  // h2: its sum so far and the products of h1 with the user's, the ad's and the cross features' dimensions.
  const [outs, h2Base, h1] = split(graph, gathered('ad_cross', request.cross), 2, [
    ['outs', heads * outWidth],
    ['h2_base', rank],
    ['h1', rank],
  ]);
  constantOf(
    graph,
    'u1_cross',
    matrix(rank, dims.cross, (r, c) => u1[r * width + firstCross + c]!),
  );
  graph.constant('v2_ad', [ad, rank], v2.slice(user * rank, firstCross * rank));
  graph.constant('v2_cross', [dims.cross, rank], v2.slice(firstCross * rank));
  const vector = graph.node('Gather', ['ad_vector', 'ad_ids']);
  const bentAd = graph.node('Mul', [graph.node('MatMul', ['cross', request.bend]), vector]);
  const bentCross = graph.node('Mul', [graph.node('MatMul', [h1, 'u1_cross']), 'cross']);
  const h2 = graph.node('Add', [
    graph.node('Add', [graph.node('MatMul', [bentAd, 'v2_ad']), graph.node('MatMul', [bentCross, 'v2_cross'])]),
    graph.node('Add', [graph.node('MatMul', [h1, request.matrix]), h2Base]),
  ]);
  // [h2, c]·[p2, q] per head. Doubling the left side for one plain product is faster than a product that broadcasts it.
  integers(graph, 'per_head', 0, 0, heads, outWidth);
  const products = graph.node('Mul', [graph.node('Concat', [h2, 'cross', h2, 'cross'], { axis: 2 }), outs]);
  const fromCross = graph.node('ReduceSum', [graph.node('Reshape', [products, 'per_head']), 'axis_last'], {
    keepdims: 0,
  });

  // Head by head: a product with one column takes a quarter of the time of one with two, which the runtime computes as 16.
  const fromDot = graph.node('MatMul', [graph.node('Unsqueeze', [vector, 'axis1']), request.dot]);
  const byHead = matrix(heads, dims.hidden2, (head, from) => weights.wm[from * heads + head]!);
  graph.constant('wm', [heads, dims.hidden2, 1], byHead.values);
  const hiddenShape = graph.node(
    'Concat',
    [graph.node('Shape', ['user'], { start: 0, end: 1 }), integers(graph, 'rows_of_request', 1, -1, dims.hidden2)],
    { axis: 0 },
  );
  const fromMlp = graph.node('MatMul', [graph.node('Reshape', [hidden2, hiddenShape]), 'wm']);
  const headRows = graph.node('Squeeze', [graph.node('Add', [fromDot, fromMlp]), 'axis_last']);
  graph.node('Add', [fromCross, graph.node('Transpose', [headRows], { perm: [0, 2, 1] })], {}, { outputs: ['logits'] });
  graph.output('logits', 'float32', ['R', 'K', heads]);
  return graph.toBytes();
}

/** What is worked out once per request. `mlp`, `bend` and `cross` are weights [R, 16, columns] for the cross features. */
type RequestNodes = {
  readonly mlp: string;
  readonly bend: string;
  readonly cross: string;
  /** M(u), [R, rank, rank]: the user's dimensions of h2's products are h1·M(u). */
  readonly matrix: string;
  /** [R, heads, ad, 1]: what the ad's vector is multiplied with. */
  readonly dot: string;
};

function requestNodes(graph: GraphBuilder, { dims, u1, v2 }: HeadWeights, parts: SplitParts): RequestNodes {
  const { user, ad, rank, heads } = dims;
  const width = parts.mlp.rows;
  const linear = beside(parts.mlp, parts.bendAd, parts.cross);
  const ofUser = beside(rowsOf(linear, 0, user), rowsOf(parts.bendUser, 0, user), parts.dot);
  const biases = new Float32Array(ofUser.columns);
  biases.set(rowsOf(linear, width - 1, width).values);
  constantOf(graph, 'of_user', ofUser);
  graph.constant('biases', [biases.length], biases);
  const [userLinear, userBend, userDot] = split(graph, graph.node('Gemm', ['user', 'of_user', 'biases']), 1, [
    ['user_linear', linear.columns],
    ['user_bend', user],
    ['user_dot', parts.dot.columns],
  ]);
  const withoutBend = matrix(user, linear.columns - parts.cross.columns, () => 0);
  constantOf(graph, 'of_user_bend', beside(withoutBend, parts.crossOfUserBend));
  const userRow = graph.node('Gemm', [graph.node('Mul', [userBend, 'user']), 'of_user_bend', userLinear]);

  // The rows of the cross features, the same for all, and under them the user's part with the biases.
  const crossRows = rowsOf(linear, user + ad, width);
  crossRows.values.fill(0, constantCrossFeature * linear.columns);
  constantOf(graph, 'cross_rows', crossRows);
  constantOf(
    graph,
    'last_row',
    matrix(dims.cross, 1, (row) => (row === constantCrossFeature ? 1 : 0)),
  );
  const lastRow = graph.node('Mul', [graph.node('Unsqueeze', [userRow, 'axis1']), 'last_row']);
  const [mlp, bend, cross] = split(graph, graph.node('Add', [lastRow, 'cross_rows']), 2, [
    ['mlp_weights', parts.mlp.columns],
    ['bend_weights', ad],
    ['cross_weights', parts.cross.columns],
  ]);

  constantOf(
    graph,
    'u1_user',
    matrix(rank, user, (r, d) => u1[r * width + d]!),
  );
  graph.constant('v2_user', [user, rank], v2.slice(0, user * rank));
  const scaled = graph.node('Mul', [graph.node('Unsqueeze', ['user', 'axis2']), 'v2_user']);
  integers(graph, 'dot_shape', -1, heads, ad, 1);
  return {
    mlp,
    bend,
    cross,
    matrix: graph.node('MatMul', ['u1_user', scaled]),
    dot: graph.node('Reshape', [userDot, 'dot_shape']),
  };
}

function integers(graph: GraphBuilder, name: string, ...values: number[]): string {
  return graph.constant(name, [values.length], BigInt64Array.from(values.map(BigInt)));
}

/** Three pieces of a value along an axis, named and sized. */
function split(
  graph: GraphBuilder,
  from: string,
  axis: number,
  pieces: readonly [readonly [string, number], readonly [string, number], readonly [string, number]],
): readonly [string, string, string] {
  const [[first, firstSize], [second, secondSize], [third, thirdSize]] = pieces;
  const sizes = integers(graph, `sizes_${first}`, firstSize, secondSize, thirdSize);
  graph.node('Split', [from, sizes], { axis }, { outputs: [first, second, third] });
  return [first, second, third];
}

function matrix(rows: number, columns: number, valueAt: (row: number, column: number) => number): Matrix {
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) values[row * columns + column] = valueAt(row, column);
  }
  return { rows, columns, values };
}

/** A copy of rows `from` to `end`. */
function rowsOf({ columns, values }: Matrix, from: number, end: number): Matrix {
  return { rows: end - from, columns, values: values.slice(from * columns, end * columns) };
}

/** Matrices of as many rows, their columns one after the other. */
function beside(...matrices: readonly Matrix[]): Matrix {
  const columns = matrices.reduce((sum, each) => sum + each.columns, 0);
  const { rows } = matrices[0]!;
  const values = new Float32Array(rows * columns);
  let at = 0;
  for (const each of matrices) {
    for (let row = 0; row < rows; row++) {
      values.set(each.values.subarray(row * each.columns, (row + 1) * each.columns), row * columns + at);
    }
    at += each.columns;
  }
  return { rows, columns, values };
}

function constantOf(graph: GraphBuilder, name: string, { rows, columns, values }: Matrix): string {
  return graph.constant(name, [rows, columns], values);
}
