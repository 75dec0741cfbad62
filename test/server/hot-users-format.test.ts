import { afterAll, expect, test } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import type { Pod } from '../support/pod.ts';
import { makeSmallDemo, startSmallPod } from '../support/small-demo.ts';

const pods: Pod[] = [];
afterAll(async () => {
  for (const pod of pods) await pod.stop();
});

type Answer = { readonly rung: string; readonly predictions: readonly { readonly p_click: number }[] };

/** 24 users of the demo and somebody unknown, 40 ads each, asked one after another: probabilities of a click. */
async function clicksOf(pod: Pod, adIds: readonly string[]): Promise<number[]> {
  const clicks: number[] = [];
  for (const id of [...Array.from({ length: 24 }, (_, user) => `u${String(user * 801).padStart(6, '0')}`), 'nobody']) {
    const request = { id, user: { id }, context: { country: 'USA', device: 'phone', size: '300x250' }, ad_ids: adIds };
    let answer: Answer | undefined;
    // A machine that others use may be late now and then: only full answers are compared.
    for (let attempt = 0; attempt < 10 && answer?.rung !== 'full'; attempt++)
      answer = (await (await pod.post('/v1/predict', request)).json()) as Answer;
    expect(answer?.rung).toBe('full');
    clicks.push(...answer!.predictions.map(({ p_click }) => p_click));
  }
  return clicks;
}

test('a server with users as int8 predicts what one with float32 does, as nearly as a byte tells', async () => {
  const { files } = await makeSmallDemo();
  const read = readCatalogFile(files.catalog);
  if (read.kind !== 'catalog') throw new Error('the demo catalog has problems');
  const { catalog } = buildCatalog(read.spec);
  const adIds = Array.from({ length: 40 }, (_, index) => catalog.adId(index * 70));
  const byFormat: Record<string, number[]> = {};
  for (const format of ['float32', 'int8']) {
    const pod = await startSmallPod({ env: { GAVELIN_HOT_USERS_FORMAT: format, GAVELIN_ML_BUDGET_MS: '100' } });
    pods.push(pod);
    byFormat[format] = await clicksOf(pod, adIds);
    await pod.stop();
  }
  const [exact, int8] = [byFormat['float32']!, byFormat['int8']!];
  const moved = exact.map((click, index) => Math.abs(click - int8[index]!));
  // One by one within 0.8 % of itself (measured), together within 0.03 %.
  expect(Math.max(...moved.map((each, index) => each / exact[index]!))).toBeLessThan(0.02);
  const sum = (values: readonly number[]): number => values.reduce((total, each) => total + each, 0);
  expect(Math.abs(sum(int8) / sum(exact) - 1)).toBeLessThan(0.002);
  // It was int8 indeed.
  expect(moved.filter((each) => each > 0).length).toBeGreaterThan(moved.length / 2);
});
