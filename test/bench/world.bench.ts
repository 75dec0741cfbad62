import { MarketLayout } from '#deploy/demo/layout.ts';
import { demoDefaults } from '#deploy/demo/parameters.ts';
import { areaUnderCurve } from '#deploy/demo/ranking-quality.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { World } from '#deploy/demo/world.ts';
import { type Bench, type BenchMode, type BenchProgress, type BenchReport, median } from '../support/bench.ts';

const sizes = {
  smoke: { ads: 2000, users: 10_000, rows: 40_000, seeds: [1] },
  full: { ads: demoDefaults.ads, users: demoDefaults.users, rows: demoDefaults.rows, seeds: [1, 2, 3] },
} as const;

/** How well the truth ranks its own log: nobody's model can do better. Also how fast worlds and logs are made. */
async function run(mode: BenchMode, progress: BenchProgress): Promise<BenchReport> {
  const { ads, users, rows, seeds } = sizes[mode];
  const aucs: number[] = [];
  const clickRates: number[] = [];
  const conversionRates: number[] = [];
  const rowsPerSecond: number[] = [];
  const worldSeconds: number[] = [];
  for (const [index, seed] of seeds.entries()) {
    progress(index, seeds.length, `seed ${seed}`);
    const startedAt = performance.now();
    const world = new World(new MarketLayout({ ads, users, rows, seed }));
    worldSeconds.push((performance.now() - startedAt) / 1000);
    const simulateAt = performance.now();
    const { impressions, clickProbability } = simulateLog(world);
    rowsPerSecond.push(Math.round((rows * 1000) / (performance.now() - simulateAt)));
    aucs.push(areaUnderCurve(clickProbability, impressions.click));
    const clicks = impressions.click.reduce((sum, each) => sum + each, 0);
    clickRates.push(clicks / rows);
    conversionRates.push(impressions.conversion.reduce((sum, each) => sum + each, 0) / clicks);
  }
  progress(seeds.length, seeds.length, 'done');
  return {
    bench: 'world',
    value: median(aucs),
    unit: 'best possible AUC',
    better: 'higher',
    figures: {
      bestAucBySeed: aucs,
      clickRateBySeed: clickRates,
      conversionRateBySeed: conversionRates,
      simulatedRowsPerSecond: median(rowsPerSecond),
      worldSeconds: median(worldSeconds),
      ads,
      users,
      rows,
    },
  };
}

export const bench: Bench = {
  name: 'world',
  about: 'The demo world: best possible AUC, click rate and rows made per second, over seeds.',
  run,
};
