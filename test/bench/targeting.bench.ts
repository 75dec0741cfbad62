import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BitmapPool } from '#auction/bitmap-pool.ts';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import { catalogMemory } from '#auction/catalog-shared.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import { type ImpQuery, newTargetingQuery, type TargetingQuery } from '#auction/targeting-query.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { writeCatalog } from '#deploy/demo/market.ts';
import { type Bench, type BenchMode, type BenchProgress, type BenchReport, median } from '../support/bench.ts';

const limit = 2000;
const sizes = { smoke: { ads: [2000], rounds: 50 }, full: { ads: [10_000, 1_000_000], rounds: 4000 } } as const;
/** The first rounds run before the engine has compiled what they call. */
const warmShare = 0.25;

const banner: ImpQuery = {
  banner: { sizes: [{ width: 300, height: 250 }] },
  video: undefined,
  native: undefined,
  isSecure: true,
  blockedAttributes: [],
  isPrivateAuction: false,
};
const stranger: TargetingQuery = {
  ...newTargetingQuery(),
  hour: 12,
  day: 3,
  country: 'USA',
  device: 'phone',
  os: 'ios',
  language: 'en',
  placeKind: 'site',
  place: 'elsewhere.example',
};
/** An ordinary request with everything in it: a profile of eight segments, a known site, a blocked category and domain. */
const known: TargetingQuery = {
  ...stranger,
  place: 'site100.example',
  segments: ['IAB3', 'IAB7', 'seg01', 'seg05', 'seg09', 'seg11', 'seg20', 'seg33'],
  blockedCategories: ['IAB4'],
  blockedDomains: ['blocked.example', 'books9.example'],
};

function marketOf(ads: number): { writer: CatalogWriter; readMs: number; buildMs: number } {
  const folder = mkdtempSync(join(tmpdir(), 'gavelin-targeting-'));
  try {
    const path = join(folder, 'catalog.json');
    const layout = new MarketLayout({ ads, users: 100, rows: 100, seed: 1 });
    const between = (item: number, low: number, high: number): number =>
      low + ((high - low) * ((item * 7919) % 1000)) / 1000;
    writeCatalog(path, layout, {
      roughClickPrior: (item) => between(item, 0.005, 0.04),
      roughConversionPrior: (item) => between(item, 0.01, 0.06),
    });
    const startedAt = performance.now();
    const read = readCatalogFile(path);
    if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems[0]));
    const readAt = performance.now();
    const writer = buildCatalog(read.spec);
    return { writer, readMs: readAt - startedAt, buildMs: performance.now() - readAt };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The least there is to do: AND as many bitmaps as the index does over as many words as it looked at, and list the rows. */
function bareScan(pool: BitmapPool, bases: readonly number[], wordCount: number, out: Uint32Array): number {
  const { words } = pool;
  let count = 0;
  for (let at = 0; at < wordCount; at++) {
    let word = words[at]!;
    for (let index = 0; index < bases.length; index++) word &= words[bases[index]! + at]!;
    while (word !== 0 && count < out.length) {
      const bit = word & -word;
      word ^= bit;
      out[count++] = (at << 5) + 31 - Math.clz32(bit);
    }
  }
  return count;
}

function medianUs(rounds: number, work: () => number): { us: number; result: number } {
  const times: number[] = [];
  let result = 0;
  for (let round = 0; round < rounds; round++) {
    const startedAt = performance.now();
    result = work();
    if (round >= rounds * warmShare) times.push((performance.now() - startedAt) * 1000);
  }
  return { us: Number(median(times).toFixed(2)), result };
}

function measureMarket(ads: number, rounds: number): Record<string, number> {
  const { writer, readMs, buildMs } = marketOf(ads);
  const { catalog } = writer;
  const index = new TargetingIndex(writer.indexShared, catalog);
  const out = new Uint32Array(limit);
  const asked = (query: TargetingQuery) => {
    const begin = medianUs(rounds, () => {
      index.begin(query);
      return 0;
    });
    return { begin: begin.us, select: medianUs(rounds, () => index.select(banner, limit, out)) };
  };
  const plain = asked(stranger);
  const lastRow = out[plain.select.result - 1] ?? 0;
  const full = asked(known);
  const pool = new BitmapPool(writer.indexShared.bitmaps, catalog.texts);
  const bases = (
    [
      ['country', 'USA'],
      ['device', 'phone'],
      ['os', 'ios'],
      ['language', 'en'],
      ['hour', '12'],
      ['day', '3'],
      ['secure', ''],
      ['size', '300x250'],
    ] as const
  ).map(([field, value]) => pool.numberOf(field, value) * pool.wordsPerBitmap);
  const bare = medianUs(rounds, () => bareScan(pool, bases, (lastRow >>> 5) + 1, out));
  const bytes = Object.values(catalogMemory(writer.shared, writer.indexShared)).reduce((sum, each) => sum + each, 0);
  return {
    found: plain.select.result,
    scannedRows: lastRow + 1,
    beginUs: plain.begin,
    selectUs: plain.select.us,
    bareAndUs: bare.us,
    bareFound: bare.result,
    knownUserFound: full.select.result,
    knownUserBeginUs: full.begin,
    knownUserSelectUs: full.select.us,
    bytesPerAd: Math.round(bytes / catalog.adCount),
    readMs: Math.round(readMs),
    buildMs: Math.round(buildMs),
  };
}

async function run(mode: BenchMode, progress: BenchProgress): Promise<BenchReport> {
  const { ads, rounds } = sizes[mode];
  const figures: Record<string, Record<string, number>> = {};
  for (const [index, count] of ads.entries()) {
    progress(index, ads.length, `${count} ads`);
    figures[`ads${count}`] = measureMarket(count, rounds);
    await Promise.resolve();
  }
  progress(ads.length, ads.length, 'done');
  return {
    bench: 'targeting',
    value: figures[`ads${ads[0]}`]!['selectUs']!,
    unit: `us to select up to ${limit} of ${ads[0]} ads`,
    better: 'lower',
    figures,
  };
}

export const bench: Bench = {
  name: 'targeting',
  about: 'Selecting up to 2,000 ads of 10 K and of 1 M, against a bare AND of the same bitmaps over the same rows.',
  run,
};
