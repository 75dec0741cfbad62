import * as ort from 'onnxruntime-node';
import { inputWidth, referenceHeadGraph } from '#inference/head-graph.ts';
import type { HeadWeights } from '#inference/head-weights.ts';
import { servedDims } from '#inference/head-weights.ts';
import { GraphBuilder } from '#inference/onnx-writer.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { crossRows, scoringFixture } from '../inference/scoring-fixture.ts';
import { type Bench, cpuSeconds, median } from '../support/bench.ts';
import { normals, randomHead } from '../support/random-head.ts';
import { rounded } from '../support/server-bench.ts';

const options = { intraOpNumThreads: 1, interOpNumThreads: 1, enableCpuMemArena: false, logSeverityLevel: 3 } as const;
const batches = [200, 800, 1600] as const;
const candidateCount = 200;
const adCount = 10_000;

/**
 * The head in one piece with int8 weights (a scale per column) in its six large products; activations are quantised on the fly,
 * the output layer stays float32: what onnxruntime's own dynamic quantisation makes of it.
 */
function quantisedHeadGraph(weights: HeadWeights): Uint8Array {
  const { dims } = weights;
  const width = inputWidth(weights);
  const graph = new GraphBuilder('quantised-head');
  graph.input('user', 'float32', ['N', dims.user]);
  graph.input('ad', 'float32', ['N', dims.ad]);
  graph.input('cross', 'float32', ['N', dims.cross]);
  const product = (x: string, name: string, matrix: Float32Array, columns: number, bias?: Float32Array): string => {
    const rows = matrix.length / columns;
    const scales = new Float32Array(columns);
    for (const [index, value] of matrix.entries())
      scales[index % columns] = Math.max(scales[index % columns]!, Math.abs(value) / 127);
    const integers = Int8Array.from(matrix, (value, index) => Math.round(value / scales[index % columns]!));
    const inputs = [
      x,
      graph.constant(name, [rows, columns], integers),
      graph.constant(`${name}_scale`, [columns], scales),
      graph.constant(`${name}_zero`, [columns], new Int8Array(columns)),
    ];
    if (bias !== undefined) inputs.push(graph.constant(`${name}_bias`, [columns], bias));
    return graph.node('DynamicQuantizeMatMul', inputs, {}, { domain: 'com.microsoft' });
  };
  const { rank, hidden1, hidden2, heads } = dims;
  const x0 = graph.node('Concat', ['user', 'ad', 'cross'], { axis: 1 });
  const crossLayer = (x: string, layer: 1 | 2): string => {
    const [v, u, b] = layer === 1 ? [weights.v1, weights.u1, weights.b1] : [weights.v2, weights.u2, weights.b2];
    const expanded = product(product(x, `v${layer}`, v, rank), `u${layer}`, u, width, b);
    return graph.node('Add', [graph.node('Mul', [x0, expanded]), x]);
  };
  const x2 = crossLayer(crossLayer(x0, 1), 2);
  const hidden = graph.node('Relu', [product(x0, 'w1', weights.w1, hidden1, weights.d1)]);
  const last = graph.node('Relu', [product(hidden, 'w2', weights.w2, hidden2, weights.d2)]);
  graph.constant('wx', [width, heads], weights.wx);
  graph.constant('wm', [hidden2, heads], weights.wm);
  graph.constant('g', [dims.user, heads], weights.g);
  graph.constant('bias', [heads], weights.bias);
  const fromMlp = graph.node('Gemm', [last, 'wm', graph.node('Gemm', [x2, 'wx', 'bias'])]);
  graph.node('Gemm', [graph.node('Mul', ['user', 'ad']), 'g', fromMlp], {}, { outputs: ['logits'] });
  graph.output('logits', 'float32', ['N', heads]);
  return graph.toBytes();
}

const probability = (logit: number): number => 1 / (1 + Math.exp(-logit));

export const bench: Bench = {
  name: 'quantised-head',
  about:
    'CPU of the head in float32 ÷ with int8 weights, both in one piece, beside the split one; and how far its probabilities move',
  async run(mode, progress) {
    const weights = randomHead(3);
    const exact = await ort.InferenceSession.create(referenceHeadGraph(weights), options);
    const quantised = await ort.InferenceSession.create(quantisedHeadGraph(weights), options);
    const { model } = await scoringFixture(3, 0, adCount);
    const split = await ort.InferenceSession.create(new Uint8Array(model.graph), options);
    const tables = Object.fromEntries(
      model.tables.map(({ name, width, rows, data }) => [
        name,
        new ort.Tensor('float32', new Float32Array(data), [rows, width]),
      ]),
    );
    const random = seededRandom(4);
    const rounds = mode === 'full' ? 15 : 2;
    const runs = mode === 'full' ? 60 : 2;
    const figures: Record<string, number> = {};
    const ratios: Record<number, number> = {};
    let worst = 0;
    let sum = 0;
    let count = 0;
    for (const [step, rows] of batches.entries()) {
      const feeds = {
        user: new ort.Tensor('float32', normals(rows * servedDims.user, 0.5, random), [rows, servedDims.user]),
        ad: new ort.Tensor('float32', normals(rows * servedDims.ad, 0.5, random), [rows, servedDims.ad]),
        cross: new ort.Tensor('float32', crossRows(rows, random), [rows, servedDims.cross]),
      };
      const requestCount = rows / candidateCount;
      const splitFeeds = {
        ...tables,
        user: new ort.Tensor('float32', normals(requestCount * 64, 0.5, random), [requestCount, servedDims.user]),
        ad_ids: new ort.Tensor(
          'int32',
          Int32Array.from({ length: rows }, () => Math.floor(random() * adCount)),
          [requestCount, candidateCount],
        ),
        cross: new ort.Tensor('float32', crossRows(rows, random), [requestCount, candidateCount, servedDims.cross]),
      };
      const costs: Record<'exact' | 'quantised' | 'split', number[]> = { exact: [], quantised: [], split: [] };
      const cost = async (
        session: ort.InferenceSession,
        input: ort.InferenceSession.FeedsType = feeds,
      ): Promise<number> => {
        const before = cpuSeconds();
        for (let run = 0; run < runs; run++) await session.run(input);
        return ((cpuSeconds() - before) / runs / rows) * 1e6;
      };
      const [a, b] = [(await exact.run(feeds))['logits']!.data, (await quantised.run(feeds))['logits']!.data];
      for (const [index, value] of (a as Float32Array).entries()) {
        const moved = Math.abs(probability(value) - probability((b as Float32Array)[index]!));
        worst = Math.max(worst, moved);
        sum += moved;
        count++;
      }
      // Turn by turn, so that whatever else the machine does falls on both.
      for (let round = 0; round < rounds; round++) {
        costs.exact.push(await cost(exact));
        costs.quantised.push(await cost(quantised));
        costs.split.push(await cost(split, splitFeeds));
      }
      ratios[rows] = median(costs.exact) / median(costs.quantised);
      figures[`float32MicrosPerRow_${rows}`] = rounded(median(costs.exact));
      figures[`int8MicrosPerRow_${rows}`] = rounded(median(costs.quantised));
      figures[`splitFloat32MicrosPerRow_${rows}`] = rounded(median(costs.split));
      figures[`ratio_${rows}`] = rounded(ratios[rows]);
      progress(step + 1, batches.length, `${rows} rows`);
    }
    return {
      bench: 'quantised-head',
      value: rounded(ratios[800]!),
      unit: 'float32 ÷ int8, CPU per row, 800 rows',
      better: 'higher',
      figures: { ...figures, probabilityMovedMax: rounded(worst), probabilityMovedMean: rounded(sum / count) },
    };
  },
};
