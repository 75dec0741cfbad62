import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Bench } from '../support/bench.ts';
import { rounded } from '../support/server-bench.ts';

const run = promisify(execFile);
const sizes = { smoke: [3000], full: [10_000, 100_000, 1_000_000] } as const;

type MemoryReading = {
  readonly ads: number;
  readonly capacity: number;
  readonly catalog: Readonly<Record<string, number>>;
  readonly model: Readonly<Record<string, number>>;
  readonly rssBytes: number;
  readonly rssGrowthBytes: number;
  readonly catalogSeconds: number;
  readonly modelSeconds: number;
};

async function measure(ads: number): Promise<MemoryReading> {
  const child = join(import.meta.dirname, '../support/memory-child.ts');
  const words = ['--expose-gc', '--max-old-space-size=8192', child, String(ads)];
  const { stdout } = await run(process.execPath, words, { timeout: 900_000, maxBuffer: 1 << 20 });
  return JSON.parse(stdout) as MemoryReading;
}

const sum = (parts: Readonly<Record<string, number>>): number =>
  Object.values(parts).reduce((total, bytes) => total + bytes, 0);

export const bench: Bench = {
  name: 'memory',
  about: 'bytes per ad that the server holds, by part (catalog, index, vectors, projections), and resident memory',
  async run(mode, progress) {
    const figures: Record<string, number | Record<string, number>> = {};
    let worst = 0;
    for (const [step, ads] of sizes[mode].entries()) {
      progress(step, sizes[mode].length, `${ads} ads`);
      const reading = await measure(ads);
      // Per row that can hold an ad: headroom for later ads is a setting, not a cost of an ad.
      const perAd = (bytes: number): number => rounded(bytes / reading.capacity);
      const parts = { ...reading.catalog, ...reading.model };
      const total = perAd(sum(reading.catalog) + sum(reading.model));
      worst = Math.max(worst, total);
      figures[`bytesPerAd_${ads}`] = {
        total,
        ...Object.fromEntries(Object.entries(parts).map(([name, bytes]) => [name, perAd(bytes)])),
      };
      figures[`rssMiB_${ads}`] = Math.round(reading.rssBytes / 2 ** 20);
      figures[`rssGrowthPerAd_${ads}`] = rounded(reading.rssGrowthBytes / reading.ads);
      figures[`catalogSeconds_${ads}`] = rounded(reading.catalogSeconds);
      figures[`modelSeconds_${ads}`] = rounded(reading.modelSeconds);
    }
    progress(sizes[mode].length, sizes[mode].length, 'done');
    return { bench: 'memory', value: worst, unit: 'bytes per ad row, the worst size', better: 'lower', figures };
  },
};
