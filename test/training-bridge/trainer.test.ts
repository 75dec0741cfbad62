import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { World } from '#deploy/demo/world.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { calibratorProblem } from '#inference/calibration.ts';
import type { TrainedModel } from '#inference/trained-model.ts';
import { ExportedScorer } from '#training-bridge/exported-scorer.ts';
import { saveImpressionSet } from '#training-bridge/impression-set-file.ts';
import type { ImpressionSet } from '#training-bridge/impression-set.ts';
import { trainCommand } from '#training-bridge/train-command.ts';
import { trainModel } from '#training-bridge/trainer.ts';
import { quantisedQuality } from '../support/quantised-scores.ts';

const folder = mkdtempSync(join(tmpdir(), 'gavelin-trainer-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

let set: ImpressionSet;
let model: TrainedModel;
const steps: [number, number, string][] = [];
beforeAll(async () => {
  set = simulateLog(new World(new MarketLayout({ ads: 600, users: 3000, rows: 40_000, seed: 3 }))).impressions;
  model = await trainModel(set, { seed: 5, onProgress: (...step) => steps.push(step) });
});

test('learns to rank clicks that it has never seen, with both rankers', () => {
  const { metrics } = model;
  // 800 clicks teach little: the best possible is about 0.84, guessing 0.5.
  expect(metrics['light_click_auc']).toBeGreaterThan(0.68);
  expect(metrics['click_auc']).toBeGreaterThan(0.68);
  expect(metrics['click_rig']).toBeGreaterThan(0);
  expect(metrics['click_ratio_low']).toBeLessThan(1.1);
  expect(metrics['click_ratio_high']).toBeGreaterThan(0.9);
  expect(model.window).toEqual({ fromMs: set.timeMs[0], toMs: set.timeMs[31_999], rows: 32_000 });
});

test('the exported towers and head say what the trainer saw in the exam, users with few segments included', async () => {
  const { exact } = await quantisedQuality(model, set, 36_000);
  expect(exact.auc).toBeCloseTo(model.metrics['click_auc']!, 5);
  expect(exact.logLoss).toBeCloseTo(model.metrics['click_log_loss']!, 5);
});

test('counts every row once, in order', () => {
  const training = steps.filter(([, , what]) => what === 'training').map(([done]) => done);
  expect(training.at(-1)).toBe(32_000);
  expect(training.toSorted((left, right) => left - right)).toEqual(training);
  expect(steps.at(-1)).toEqual([4000, 4000, 'scoring']);
});

test('the same seed gives the same model to the last bit, another seed another', async () => {
  expect(await trainModel(set, { seed: 5 })).toEqual(model);
  expect((await trainModel(set, { seed: 6 })).head.w1).not.toEqual(model.head.w1);
});

test('what happens after the training window changes no weight; what happens in the exam changes no calibrator', async () => {
  const spoilt = { ...set, click: set.click.slice(), conversion: set.conversion.slice() };
  for (let row = 36_000; row < 40_000; row++) {
    spoilt.click[row] = row % 2;
    spoilt.conversion[row] = 0;
  }
  const other = await trainModel(spoilt, { seed: 5 });
  expect({ ...other, golden: [], metrics: {} }).toEqual({ ...model, golden: [], metrics: {} });
  expect(other.metrics['click_auc']).not.toBe(model.metrics['click_auc']);
  for (let row = 32_000; row < 36_000; row++) {
    spoilt.click[row] = row % 2;
    spoilt.conversion[row] = 0;
  }
  const third = await trainModel(spoilt, { seed: 5 });
  expect(third.head).toEqual(model.head);
  expect(third.ranker).toEqual(model.ranker);
  expect(third.calibration).not.toEqual(model.calibration);
});

test('every calibrator is valid, and full and reduced mean the same', () => {
  for (const head of Object.values(model.calibration.heads)) {
    for (const calibrator of Object.values(head)) expect(calibratorProblem(calibrator)).toBeUndefined();
    expect(head.reduced).toEqual(head.full);
    expect(head['light-ranker']).not.toEqual(head.full);
  }
});

test('rungs that answer after a failure have calibrators of their own, and user vectors a scale', () => {
  const { click, conversion } = model.calibration.heads;
  expect(Object.keys(click)).toEqual([
    'full',
    'reduced',
    'light-ranker',
    'average-embedding',
    'default-features',
    'cached-prediction',
    'smoothed-rate',
    'vector-only',
  ]);
  expect(Object.keys(conversion).slice(3)).toEqual(['average-embedding', 'default-features', 'vector-only']);
  expect(new Set(Object.values(click).map((each) => JSON.stringify(each))).size).toBe(7);
  const { dimension, min, max, mean } = model.userScale!;
  expect(dimension).toBe(model.head.dims.user);
  for (let place = 0; place < dimension; place++) {
    expect(min[place]).toBeLessThanOrEqual(mean[place]! + 1e-5);
    expect(mean[place]).toBeLessThanOrEqual(max[place]! + 1e-5);
  }
});

test('vectors say of their users some of what the light ranker knows by their ids', async () => {
  const { vectorProfile: _, ...ranker } = model.ranker;
  const scorer = await ExportedScorer.open(set, model, ranker);
  try {
    const asked = { contextRow: 0, ad: 1 };
    const byIds: number[] = [];
    const byVector: number[] = [];
    const whole = scorer.withRanker(model.ranker);
    for (let user = 0; user < 1000; user++) {
      byIds.push(scorer.light({ ...asked, user }, 'ids').click);
      byVector.push(whole.light({ ...asked, user }, 'vector').click);
    }
    const unknown = scorer.light({ ...asked, user: 0 }, 'nothing').click;
    const missed = (said: readonly number[]): number =>
      byIds.reduce((sum, logit, user) => sum + (logit - said[user]!) ** 2, 0);
    expect(missed(byVector) / missed(byIds.map(() => unknown))).toBeLessThan(0.7);
  } finally {
    await scorer.close();
  }
});

test('too few rows or clicks are refused, with what is missing', async () => {
  const none = { ...set, click: new Uint8Array(set.rowCount), conversion: new Uint8Array(set.rowCount) };
  await expect(trainModel(none, { seed: 1 })).rejects.toMatchObject({
    code: 'TRAINING_TOO_SMALL',
    message: expect.stringContaining('"train" has 0 clicks') as string,
  });
});

test('can be stopped between two batches', async () => {
  const stop = new AbortController();
  const run = trainModel(set, { seed: 1, signal: stop.signal, onProgress: () => stop.abort() });
  await expect(run).rejects.toMatchObject({ code: 'TRAINING_STOPPED' });
});

/** Runs `gavelin train` and returns what it said. */
async function command(...words: string[]): Promise<{ status: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const status = await trainCommand(words, {
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    now: () => 0,
  });
  return { status, ...said };
}

test('the command writes a signed bundle that reads back whole', async () => {
  const impressions = join(folder, 'impressions.bin');
  const out = join(folder, 'bundles');
  await saveImpressionSet(impressions, set);
  const { status, out: text } = await command('--impressions', impressions, '--out', out, '--seed', '5', '--json');
  expect(status).toBe(0);
  const figures = JSON.parse(text) as Record<string, number | string>;
  expect(figures['click_auc']).toBe(model.metrics['click_auc']);
  const bundle = await readBundle(join(out, String(figures['bundle'])), 'any');
  expect(bundle.golden).toEqual(model.golden);
});

test('the command explains itself, and says what is wrong with its words', async () => {
  expect(await command('--help')).toMatchObject({
    status: 0,
    err: '',
    out: expect.stringContaining('--out DIR') as string,
  });
  expect(await command('--out', folder)).toMatchObject({
    status: 2,
    out: '',
    err: expect.stringMatching(/^--impressions/u) as string,
  });
  expect((await command('--impressions', 'x', '--out', folder, '--seed', 'many')).status).toBe(2);
  expect((await command('--rows', '5')).status).toBe(2);
  const missing = await command('--impressions', join(folder, 'none'), '--out', folder);
  expect(missing).toMatchObject({ status: 1, err: expect.stringContaining('IMPRESSIONS_UNREADABLE') as string });
});
