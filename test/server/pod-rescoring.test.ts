import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import { AdTower } from '#inference/ad-tower.ts';
import { AdWordIds } from '#inference/ad-word-ids.ts';
import type { Bundle } from '#inference/bundle.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { headLogits } from '#inference/head-graph.ts';
import { readEventLog } from '#training-bridge/event-log-reader.ts';
import { type AuctionDraft, auctionLimits } from '#training-bridge/event-records.ts';
import { makeSmallDemo, smallDataDir, startSmallPod } from '../support/small-demo.ts';

type LoggedRow = {
  readonly adRow: number;
  readonly imp: number;
  readonly user: number[];
  readonly cross: number[];
  readonly logit: number;
};

/** u of one imp from the record alone: the logged one, less its context rows, plus the imp's. */
function userOf(draft: AuctionDraft, imp: number, { schema, context, head }: Bundle): number[] {
  const { user: dimension } = head.dims;
  const places = schema.context.flatMap(({ width }, field) =>
    Array.from({ length: width }, () => ({ rows: context[field]!, skipsZero: width > 1 })),
  );
  const vector = [...draft.userVector];
  const add = (ids: Uint32Array, sign: number): void => {
    for (const [place, { rows, skipsZero }] of places.entries()) {
      const id = ids[place]!;
      if (id === 0 && skipsZero) continue;
      for (let at = 0; at < dimension; at++) vector[at] = vector[at]! + sign * rows[id * dimension + at]!;
    }
  };
  add(draft.contextIdsOf(draft.userVectorImp), -1);
  add(draft.contextIdsOf(imp), 1);
  return vector;
}

/** Feature rows of full-rung auctions, as the log holds them. */
async function loggedRows(logFolder: string, bundle: Bundle, countMax: number): Promise<LoggedRow[]> {
  const rows: LoggedRow[] = [];
  const { crossDimension } = auctionLimits;
  await readEventLog(logFolder, {
    auction: (draft) => {
      if (draft.rung !== 0 || draft.userVectorCount === 0) return undefined;
      for (let row = 0; row < draft.featureRowCount; row++) {
        const candidate = draft.featureCandidate[row]!;
        rows.push({
          adRow: draft.candidateAdRow[candidate]!,
          imp: draft.candidateImp[candidate]!,
          user: userOf(draft, draft.candidateImp[candidate]!, bundle),
          cross: [...draft.featureCross.subarray(row * crossDimension, (row + 1) * crossDimension)],
          logit: draft.candidateClickLogit[candidate]!,
        });
      }
      return rows.length >= countMax ? 'STOP' : undefined;
    },
  });
  return rows;
}

test('logged features scored again in double precision give the logged score to 1e-5', async () => {
  const dataDir = smallDataDir();
  const pod = await startSmallPod({ dataDir, traffic: 80 });
  await vi.waitUntil(async () => ((await pod.metrics()).get('gavelin_auctions_total') ?? 0) > 200, {
    timeout: 30_000,
    interval: 200,
  });
  // Nobody sells the first imp's size: what the log holds of the user is then the second's.
  const sizes = [
    [333, 77],
    [300, 250],
    [728, 90],
  ] as const;
  for (let index = 0; index < 20; index++) {
    await pod.bid({
      id: `several-${index}`,
      tmax: 1000,
      imp: sizes.map(([w, h], imp) => ({ id: String(imp), banner: { w, h } })),
      site: { domain: 'several.example' },
      device: { geo: { country: 'USA' } },
      user: { id: `u00000${index % 10}` },
    });
  }
  await pod.stop();

  const { files, bundle: directory } = await makeSmallDemo();
  const bundle = await readBundle(directory, 'any');
  const rows = await loggedRows(join(dataDir, 'event-log'), bundle, 2000);
  expect(rows.filter(({ imp }) => imp === 0).length).toBeGreaterThan(200);
  expect(rows.filter(({ imp }) => imp === 2).length).toBeGreaterThan(10);
  const read = readCatalogFile(files.catalog);
  if (read.kind !== 'catalog') throw new Error('the demo catalog has problems');
  const { catalog } = buildCatalog(read.spec);
  const tower = await AdTower.open(bundle);
  const words = new AdWordIds(bundle.schema);
  const ids = new Int32Array(rows.length * tower.idsPerRow);
  for (const [index, { adRow }] of rows.entries()) words.idsInto(catalog.adWords(adRow), ids, index * tower.idsPerRow);
  const vectors = (await tower.tablesOf(ids, rows.length))['ad_vector']!;
  await tower.close();
  const { ad } = bundle.head.dims;
  for (const [index, { user, cross, logit }] of rows.entries()) {
    const [click] = headLogits(bundle.head, user, vectors.subarray(index * ad, (index + 1) * ad), cross);
    expect(Math.abs(click! - logit)).toBeLessThan(1e-5 * Math.max(1, Math.abs(logit)));
  }
  rmSync(dataDir, { recursive: true, force: true });
});
