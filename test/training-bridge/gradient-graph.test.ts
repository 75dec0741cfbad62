import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { headLogits } from '#inference/head-graph.ts';
import type { HeadWeights } from '#inference/head-weights.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { type DeepShape, parameterShapes, trainingGraph } from '#training-bridge/deep-graph.ts';
import { GradientGraph } from '#training-bridge/gradient-graph.ts';

const shape: DeepShape = {
  dims: { user: 5, ad: 5, cross: 4, rank: 3, hidden1: 7, hidden2: 6, heads: 2 },
  user: { input: 6, output: 5 },
  ad: { input: 4, output: 5 },
  contextRows: 3,
};
const rows = 9;
const inputs: Readonly<Record<string, number>> = {
  user_input: shape.user.input,
  ad_input: shape.ad.input,
  context_sum: shape.dims.user,
  context_hot: shape.contextRows,
  cross: shape.dims.cross,
  labels: 2,
  weights: 2,
};

type Values = Record<string, { data: Float64Array; dims: [number, number] }>;

function randomValues(seed: number): Values {
  const random = seededRandom(seed);
  const values: Values = {};
  const fill = (name: string, dims: [number, number], draw: () => number): void => {
    values[name] = { data: Float64Array.from({ length: dims[0] * dims[1] }, draw), dims };
  };
  for (const [name, columns] of Object.entries(inputs)) {
    if (name === 'labels') fill(name, [rows, columns], () => (random() < 0.4 ? 1 : 0));
    // A third of the weights is 0: rows that a head must not see.
    else if (name === 'weights') fill(name, [rows, columns], () => (random() < 0.33 ? 0 : 0.2 + random()));
    else fill(name, [rows, columns], () => 2 * random() - 1);
  }
  fill('context_rows', [shape.contextRows, shape.dims.user], () => 2 * random() - 1);
  for (const { name, rows: height, columns } of parameterShapes(shape))
    fill(name, [height, columns], () => (2 * random() - 1) * 0.7);
  return values;
}

async function runner(): Promise<(values: Values) => Promise<Record<string, Float64Array>>> {
  const session = await ort.InferenceSession.create(trainingGraph(shape, 'float64'), { logSeverityLevel: 3 });
  return async (values) => {
    const feeds = Object.entries(values).map(([name, { data, dims }]) => [
      name,
      new ort.Tensor('float64', data.slice(), dims),
    ]);
    const results = await session.run(Object.fromEntries(feeds) as Record<string, ort.Tensor>);
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float64Array]));
  };
}

test('every gradient of the training graph agrees with finite differences', async () => {
  const run = await runner();
  const values = randomValues(11);
  const analytic = await run(values);
  const lossAt = async (): Promise<number> => {
    const { loss } = await run(values);
    return loss![0]! + loss![1]!;
  };
  const h = 1e-5;
  let worst = 0;
  let checked = 0;
  let moved = 0;
  const others = ['context_rows', 'user_input', 'ad_input', 'context_sum'];
  for (const name of [...parameterShapes(shape).map((each) => each.name), ...others]) {
    const { data } = values[name]!;
    const gradient = analytic[`d_${name}`]!;
    expect(gradient).toHaveLength(data.length);
    // A dozen places of each matrix, spread over it.
    for (let at = 0; at < data.length; at += Math.max(1, Math.floor(data.length / 12))) {
      const value = data[at]!;
      data[at] = value + h;
      const above = await lossAt();
      data[at] = value - h;
      const below = await lossAt();
      data[at] = value;
      const numeric = (above - below) / (2 * h);
      worst = Math.max(worst, Math.abs(numeric - gradient[at]!) / Math.max(1, Math.abs(numeric)));
      if (Math.abs(numeric) > 1e-6) moved++;
      checked++;
    }
  }
  expect(worst).toBeLessThan(1e-6);
  // A graph whose gradients were all 0 would agree with a loss that nothing moves.
  expect(moved / checked).toBeGreaterThan(0.8);
});

test('a row of weight 0 teaches nothing', async () => {
  const run = await runner();
  const values = randomValues(12);
  values['weights']!.data.fill(0, 0, 2);
  const before = await run(values);
  for (const name of ['user_input', 'ad_input', 'context_sum'] as const)
    for (let column = 0; column < inputs[name]!; column++) values[name]!.data[column] = 3;
  values['labels']!.data.set([1, 1]);
  const after = await run(values);
  expect(after['loss']).toEqual(before['loss']);
  expect(after['d_w1']).toEqual(before['d_w1']);
  expect(after['logits']![0]).not.toBe(before['logits']![0]);
});

test('the head on the tape is the head that is served', async () => {
  const run = await runner();
  const values = randomValues(13);
  values['context_rows']!.data.fill(0);
  // An identity for a tower: what goes in comes out, so the vectors are known.
  for (const side of ['user', 'ad'] as const) {
    for (const name of [`${side}_in`, `${side}_in_bias`, `${side}_out`, `${side}_bias`]) values[name]!.data.fill(0);
    const direct = values[`${side}_direct`]!;
    direct.data.fill(0);
    for (let d = 0; d < Math.min(...direct.dims); d++) direct.data[d * direct.dims[1] + d] = 1;
  }
  const { logits } = await run(values);
  const parts = parameterShapes(shape).map(({ name }) => [name, values[name]!.data as unknown as Float32Array]);
  const weights = { ...Object.fromEntries(parts), dims: shape.dims } as HeadWeights;
  const row = (name: string, at: number): number[] => [
    ...values[name]!.data.subarray(at * inputs[name]!, (at + 1) * inputs[name]!),
  ];
  for (let at = 0; at < rows; at++) {
    const context = row('context_sum', at);
    const user = context.map((value, d) => value + row('user_input', at)[d]!);
    const ad = Array.from({ length: shape.dims.ad }, (_, d) => row('ad_input', at)[d] ?? 0);
    const expected = headLogits(weights, user, ad, row('cross', at));
    expect(logits![2 * at]!).toBeCloseTo(expected[0]!, 9);
    expect(logits![2 * at + 1]!).toBeCloseTo(expected[1]!, 9);
  }
});

test('a gradient of something that the loss does not depend on is a mistake, not 0', () => {
  const graph = new GradientGraph('idle');
  const x = graph.input('x', 2, { needsGradient: true });
  const idle = graph.parameter('idle', 2, 2);
  const labels = graph.input('labels', 2, { needsGradient: false });
  graph.logisticLoss('loss', x, labels, labels);
  expect(() => graph.differentiate([x, idle])).toThrow('idle');
});
