import { parentPort, workerData } from 'node:worker_threads';
import { Catalog } from '#auction/catalog.ts';
import type { CatalogShared, IndexShared } from '#auction/catalog-shared.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import { newTargetingQuery } from '#auction/targeting-query.ts';

const {
  shared,
  index: indexShared,
  stop,
} = workerData as {
  shared: CatalogShared;
  index: IndexShared;
  stop: SharedArrayBuffer;
};
const catalog = new Catalog(shared);
const index = new TargetingIndex(indexShared, catalog);
const stopped = new Int32Array(stop);
const imp = {
  banner: { sizes: [{ width: 300, height: 250 }] },
  video: undefined,
  native: undefined,
  isSecure: false,
  blockedAttributes: [],
  isPrivateAuction: false,
};
/** Whom no state of the line item ever wanted: a mix of two states would show it to them. */
const strangers = [
  { country: 'USA', segments: ['seg1'] },
  { country: 'DEU', segments: [] },
];
const wanted = [
  { country: 'USA', segments: [] },
  { country: 'DEU', segments: ['seg1'] },
];
const out = new Uint32Array(64);
let torn = 0;
let met = 0;
let badCards = 0;
parentPort?.postMessage('ready');
while (Atomics.load(stopped, 0) === 0) {
  Atomics.add(stopped, 1, 1);
  for (const who of strangers) {
    index.begin({ ...newTargetingQuery(), ...who });
    torn += index.select(imp, 64, out);
  }
  for (const who of wanted) {
    index.begin({ ...newTargetingQuery(), ...who });
    const count = index.select(imp, 64, out);
    met += count;
    for (let place = 0; place < count; place++) {
      const { creativeId, imageUrl, landingUrl } = catalog.card(out[place]!);
      const [, owner] = /^https:\/\/cdn\.(\w+)\.example\/\w+\.jpg$/u.exec(imageUrl) ?? [];
      if (owner === undefined || landingUrl !== `https://www.${owner}.example/offers/${creativeId}`) badCards++;
    }
  }
}
parentPort?.postMessage({ torn, met, badCards });
