import { Worker } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import type { CalibratedRung } from '#inference/calibration.ts';
import { crossWidth } from '#inference/cross-features.ts';
import type { CategoricalField } from '#inference/feature-schema.ts';
import { placeCount } from '#inference/field-places.ts';
import { headLogits } from '#inference/head-graph.ts';
import { servedDims } from '#inference/head-weights.ts';
import { LoadedModel } from '#inference/loaded-model.ts';
import { buildModelShared, modelMemory, type ModelShared } from '#inference/model-tables.ts';
import { Tower } from '#inference/tower.ts';
import { userVectors } from '#inference/user-tower.ts';
import { ViewLookup } from '#inference/view-lookup.ts';
import { smallAdWords, smallBundle } from '../support/small-model.ts';

const adCount = 60;
const adCapacity = 80;
const bundle = await smallBundle(21, { adCount });
/** Rows are given out backwards, so that a row is never by chance the number of its ad. */
const adOfRow = (row: number): number => adCount - 1 - row;
const tables = await buildModelShared(bundle, 1, (row) => smallAdWords(adOfRow(row)), adCount, adCapacity);
const adLineItem = Uint32Array.from({ length: adCapacity }, (_, row) => (row < adCount ? adOfRow(row) >> 2 : 99));
const model = new LoadedModel(tables.shared, adLineItem);

const vocabularyId = (field: CategoricalField, word: string): number => (field.vocabulary?.indexOf(word) ?? -1) + 1;
const contextWords: Readonly<Record<string, string>> = {
  site: 'app.one',
  site_category: 'IAB3',
  surface: 'app',
  hour: '13',
  day: '2',
  device: 'phone',
  os: 'ios',
  country: 'DEU',
  size: 'video',
  language: 'de',
};
// Longer than the fields, as a serving thread's buffers are.
const contextIds = new Uint32Array(16);
contextIds.set(bundle.schema.context.map((field) => vocabularyId(field, contextWords[field.name]!)));
const userIds = Uint32Array.of(2, 1, 3, 6, 0, 0, 0, 0, 0, 0, 0, 0);
const facts = {
  contextIds,
  viewCount: 2,
  viewLineItems: Uint32Array.of(3, 14, 5),
  views: Uint32Array.of(2, 700, 9),
};

/** The rows of a table of the serving graph. */
function tableRow(shared: ModelShared, name: string, row: number): number[] {
  const { width, data } = shared.tables.find((table) => table.name === name)!;
  return [...new Float32Array(data, row * width * 4, width)];
}

/** A batch of another size may sum in another order. */
function expectClose(got: ArrayLike<number>, expected: ArrayLike<number>): void {
  const differences = Array.from(got, (value, index) => Math.abs(value - expected[index]!));
  expect(got.length).toBe(expected.length);
  expect(Math.max(...differences)).toBeLessThan(1e-5);
}

async function servedLogits(user: Float32Array, rows: readonly number[], cross: Float32Array): Promise<Float32Array> {
  const { graph, tables: shared } = tables.scoringModel;
  const session = await ort.InferenceSession.create(graph.slice(), { logSeverityLevel: 3, intraOpNumThreads: 1 });
  const { logits } = await session.run({
    user: new ort.Tensor('float32', user, [1, servedDims.user]),
    ad_ids: new ort.Tensor('int32', Int32Array.from(rows), [1, rows.length]),
    cross: new ort.Tensor('float32', cross, [1, rows.length, servedDims.cross]),
    ...Object.fromEntries(
      shared.map(({ name, width, rows: count, data }) => [
        name,
        new ort.Tensor('float32', new Float32Array(data), [count, width]),
      ]),
    ),
  });
  await session.release();
  return logits!.data as Float32Array;
}

describe('a loaded model', () => {
  test('scores a request as the formula does, from words to logits', async () => {
    const ids = Int32Array.of(5, 2, 1, 3, 6, 0, 0, 0, 0, 0, 0);
    const stored = await userVectors(bundle, ids, 1);
    const user = new Float32Array(servedDims.user);
    model.requestVectorInto(user, stored, contextIds);
    const rows = [0, 7, 59, 13];
    model.ranker.prepare(contextIds, userIds);
    const cross = new Float32Array(rows.length * crossWidth);
    model.crossInto(cross, Uint32Array.of(9, 9, ...rows), 2, rows.length, facts);
    const logits = await servedLogits(user, rows, cross);

    const adTower = await Tower.open(bundle.adTower, 'ad-tower.onnx', placeCount(bundle.schema.ad), servedDims.ad);
    for (const [index, row] of rows.entries()) {
      const words = smallAdWords(adOfRow(row));
      const adIds = Int32Array.from(bundle.schema.ad, (field, at) => vocabularyId(field, words[at]!));
      const expected = headLogits(
        bundle.head,
        user,
        await adTower.vectors(adIds, 1),
        cross.subarray(index * crossWidth, (index + 1) * crossWidth),
      );
      expect(logits[index * 2]).toBeCloseTo(expected[0]!, 4);
      expect(logits[index * 2 + 1]).toBeCloseTo(expected[1]!, 4);
      const views = adOfRow(row) >> 2 === 3 ? 2 : adOfRow(row) >> 2 === 14 ? 255 : 0;
      expect(cross[index * crossWidth + 4]).toBe(Math.fround(Math.log1p(views)));
    }
    // Row 0 is ad 60 of line item 15 (number 14): seen 700 times, counted as 255.
    expect(cross[4]).toBe(Math.fround(Math.log(256)));
    await adTower.close();
  });

  test('adds the context rows to the user vector, unknown words included', () => {
    const user = Float32Array.from({ length: servedDims.user }, (_, d) => d / 10);
    const target = new Float32Array(servedDims.user + 8).fill(7);
    const ids = contextIds.slice();
    ids[0] = 0;
    // An id beyond the vocabulary counts as unknown.
    ids[1] = 100_000;
    model.requestVectorInto(target, user, ids);
    for (let d = 0; d < servedDims.user; d++) {
      const expected = bundle.schema.context.reduce(
        (sum, _, field) => sum + bundle.context[field]![(field < 2 ? 0 : ids[field]!) * servedDims.user + d]!,
        user[d]!,
      );
      expect(target[d]).toBeCloseTo(expected, 5);
    }
    expect(target[servedDims.user]).toBe(7);
  });

  test('keeps its golden rows behind the ads, with the answers that the graph gives', async () => {
    const { golden } = tables.scoringModel;
    expect(golden).toMatchObject({ count: bundle.golden.length, firstRow: adCapacity });
    for (let row = 0; row < golden.count; row++) {
      const logits = await servedLogits(
        golden.user.subarray(row * 64, (row + 1) * 64),
        [golden.firstRow + row],
        golden.cross.subarray(row * 16, (row + 1) * 16),
      );
      expect(logits[0]).toBeCloseTo(golden.logits[row * 2]!, 4);
      expect(logits[1]).toBeCloseTo(golden.logits[row * 2 + 1]!, 4);
    }
  });

  test('calibrates per rung, and switches calibrators as a whole', () => {
    const other = new LoadedModel(tables.shared, adLineItem);
    expect(other.calibratorId).toBe(bundle.calibration.id);
    const clicksQ30 = (rung: CalibratedRung, ...logits: number[]): number[] => {
      const target = new Uint32Array(logits.length + 2).fill(7);
      other.clicksQ30Into(rung, Float32Array.of(0, ...logits, 0), 1, logits.length, target);
      expect([target[0], target.at(-1)]).toEqual([7, 7]);
      return [...target.subarray(1, -1)];
    };
    expect(clicksQ30('full', -4, Number.NaN)).toEqual([Math.round(0.02 * 2 ** 30), 0]);
    expect(clicksQ30('smoothed-rate', Number.NaN)).toEqual([0]);
    const flat = (probability: number) => ({ logits: [0], probabilities: [probability] });
    const rungs = { full: flat(0.1), reduced: flat(0.2), 'light-ranker': flat(0.3) };
    other.useCalibration({ id: 'next', heads: { click: rungs, conversion: { ...rungs, full: flat(0.4) } } });
    expect(other.calibratorId).toBe('next');
    const rungsAsked = ['full', 'reduced', 'full', 'light-ranker', 'default-features', 'cached-prediction'] as const;
    const asked = rungsAsked.flatMap((rung) => clicksQ30(rung, 1));
    expect(asked.map((value) => (value / 2 ** 30).toFixed(3))).toEqual([
      '0.100',
      '0.200',
      '0.100',
      '0.300',
      '0.300',
      '0.100',
    ]);
    expect(other.conversionQ30('full', 1)).toBe(Math.round(0.4 * 2 ** 30));
    expect(model.calibratorId).toBe(bundle.calibration.id);
  });

  test('crosses to other threads with its memory, not with copies', async () => {
    const worker = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads');
       const { columns, context, ranker, tables, graph } = workerData;
       const views = [...Object.values(columns), ...context, ...ranker.click.context, ...ranker.click.contextByCategory, graph];
       parentPort.postMessage(
         views.every((view) => view.buffer instanceof SharedArrayBuffer) &&
           tables.every(({ data }) => data instanceof SharedArrayBuffer));`,
      { eval: true, workerData: tables.shared },
    );
    const isShared = await new Promise((settle, fail) => {
      worker.once('message', settle);
      worker.once('error', fail);
    });
    expect(isShared).toBe(true);
    await worker.terminate();
    expect(JSON.stringify(tables.shared.schema)).not.toContain('"u1"');
    expect(tables.shared.schema.ad.find(({ name }) => name === 'category')?.vocabulary).toBeDefined();
  });

  test('counts the bytes of its parts', () => {
    const memory = modelMemory(tables.shared);
    expect(memory['ad_vector']).toBe((adCapacity + bundle.golden.length) * 64 * 4);
    expect(memory['light_ranker_columns']).toBe(adCapacity * 16);
    expect(Object.values(memory).every((bytes) => bytes > 0)).toBe(true);
  });
});

describe('ads that come later', () => {
  test('are scored like ads that were there at the start, and strangers by what is known of them', async () => {
    const half = await buildModelShared(bundle, 0, smallAdWords, 30, adCapacity);
    expect(tableRow(half.shared, 'ad_vector', 30).every((value) => value === 0)).toBe(true);
    const stranger = ['new-ad', 'new-line-item', 'adv2', 'IAB2', 'native'];
    const strangest = ['new-ad-2', 'new-line-item', 'new-advertiser', 'IAB99', 'banner:1x1'];
    const wordsOf = (row: number): readonly string[] =>
      row === 70 ? stranger : row === 71 ? strangest : smallAdWords(row);
    await half.addAds([71, 45, 70], wordsOf);
    const whole = await buildModelShared(bundle, 0, wordsOf, 72, adCapacity);
    for (const row of [45, 70, 71]) {
      for (const { name } of half.shared.tables)
        expectClose(tableRow(half.shared, name, row), tableRow(whole.shared, name, row));
      for (const name of ['lightClick', 'lightConversion', 'category', 'advertiser', 'size'] as const)
        expect(half.shared.columns[name][row]).toBe(whole.shared.columns[name][row]);
    }
    expect(tableRow(half.shared, 'ad_vector', 46).every((value) => value === 0)).toBe(true);
    expect(half.shared.columns.category[70]).toBe(2);
    expect(half.shared.columns.category[71]).toBe(0);
    const served = new LoadedModel(half.shared, adLineItem);
    served.ranker.prepare(contextIds, userIds);
    const logits = new Float32Array(2);
    served.ranker.score(Uint32Array.of(70, 71), 2, logits);
    expect(logits.every((logit) => Number.isFinite(logit) && Math.abs(logit) < 20)).toBe(true);
    expect(logits[0]).not.toBe(logits[1]);
  });

  test('do not go beyond the rows that were set aside', async () => {
    await expect(tables.addAds([adCapacity], smallAdWords)).rejects.toThrow(RangeError);
    await expect(buildModelShared(bundle, 0, smallAdWords, 11, 10)).rejects.toThrow(RangeError);
  });
});

test('user vectors come in the order of the callers, whatever the batches', async () => {
  const count = 2500;
  const ids = Int32Array.from({ length: count * 11 }, (_, place) => (place % 11 === 0 ? (place / 11) % 41 : place % 3));
  const seen: number[] = [];
  const vectors = await userVectors(bundle, ids, count, (done) => seen.push(done));
  expect(seen).toEqual([2048, 2500]);
  for (const user of [0, 2047, 2048, 2499]) {
    const alone = await userVectors(bundle, ids.slice(user * 11, (user + 1) * 11), 1);
    expectClose(vectors.subarray(user * 64, (user + 1) * 64), alone);
  }
  await expect(userVectors(bundle, ids, count + 1)).rejects.toThrow(RangeError);
});

test('views are looked up per request, and forgotten after it', () => {
  const lookup = new ViewLookup();
  const lineItems = Uint32Array.from({ length: 200 }, (_, index) => (index * 7919) % 100_000);
  const views = Uint32Array.from({ length: 200 }, (_, index) => index + 1);
  lookup.fill(128, lineItems, views);
  for (let index = 0; index < 128; index++) expect(lookup.viewsOf(lineItems[index]!)).toBe(index + 1);
  expect(lookup.viewsOf(99_999)).toBe(0);
  lookup.fill(1, lineItems, views);
  expect(lookup.viewsOf(lineItems[0]!)).toBe(1);
  expect(lookup.viewsOf(lineItems[1]!)).toBe(0);
  // More than fit: the rest is left out, and nothing runs forever.
  lookup.fill(200, lineItems, views);
  expect(lookup.viewsOf(lineItems[199]!)).toBe(0);
  lookup.fill(0, lineItems, views);
  expect(lookup.viewsOf(lineItems[0]!)).toBe(0);
});
