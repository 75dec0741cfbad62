import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import { bannerEntry, catalogText, lineItemEntry } from '../support/catalog-entries.ts';

/** Changes at least, and rounds of the reader at least: both take part, whatever else the machine is doing. */
const changeCountMin = 300;
const readCountMin = 1000;
const changeCountMax = 20_000;

function appliedRows(writer: CatalogWriter, change: object): readonly number[] {
  const result = writer.apply(change);
  if (result.kind === 'problems') throw new Error(JSON.stringify(result.problems));
  return result.addedRows;
}

test('nobody who reads while a line item changes sees half of the change', async () => {
  const ids = Array.from({ length: 30 }, (_, index) => `crea${index}`);
  const creativesOf = (owner: string) =>
    ids.map((id) =>
      bannerEntry(id, {
        domain: `${owner}.example`,
        image_url: `https://cdn.${owner}.example/${id}.jpg`,
        landing_url: `https://www.${owner}.example/offers/${id}`,
      }),
    );
  // Either people in the USA without seg1, or those in Germany with it.
  const states = [
    { countries: ['USA'], segments_none: ['seg1'] },
    { countries: ['DEU'], segments_any: ['seg1'] },
  ];
  const read = readCatalogText(
    catalogText({ line_items: [lineItemEntry('li1', ids, { targeting: states[0] })], creatives: creativesOf('adv1') }),
  );
  if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
  const writer = buildCatalog(read.spec, { share: 0, rows: 200, textBytes: 32_000_000 });
  const stop = new SharedArrayBuffer(8);
  const flags = new Int32Array(stop);
  const worker = new Worker(new URL('./targeting-race-worker.ts', import.meta.url), {
    workerData: { shared: writer.shared, index: writer.indexShared, stop },
  });
  await once(worker, 'message');
  const isEnough = (changes: number): boolean => changes >= changeCountMin && Atomics.load(flags, 1) >= readCountMin;
  for (let round = 1; round <= changeCountMax && !isEnough(round); round++) {
    expect(writer.patchLineItem('li1', { targeting: states[round % 2] }).kind).toBe('applied');
    if (round % 50 === 0) appliedRows(writer, { creatives: creativesOf(`adv${round % 1000}`) });
    if (round % 10 === 5) {
      // Rows come and go: what is not published, or withdrawn, must not show half of anything either.
      const change = { line_items: [lineItemEntry('li2', ids.slice(0, 5), { targeting: states[round % 2] })] };
      writer.publish(appliedRows(writer, change));
      appliedRows(writer, { remove_line_items: ['li2'] });
    }
    // Ten seconds a round: rows are used again while the reader goes on.
    writer.reclaim(round * 10_000);
    if (round % 7 === 0) await sleep(1);
  }
  const answer = once(worker, 'message');
  Atomics.store(flags, 0, 1);
  const [counts] = (await answer) as [{ torn: number; met: number; badCards: number }];
  await worker.terminate();
  expect(counts).toMatchObject({ torn: 0, badCards: 0 });
  // It did look while things changed, and did find ads.
  expect(counts.met).toBeGreaterThan(0);
  expect(Atomics.load(flags, 1)).toBeGreaterThanOrEqual(readCountMin);
});
