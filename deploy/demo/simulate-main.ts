import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { saveImpressionSet } from '#training-bridge/impression-set-file.ts';
import { demoFileNames } from './demo-files.ts';
import { MarketLayout } from './layout.ts';
import { writeCatalog, writeSites, writeUsers } from './market.ts';
import { demoDefaults, numberArgument } from './parameters.ts';
import { areaUnderCurve } from './ranking-quality.ts';
import { simulateLog } from './simulate.ts';
import { World } from './world.ts';

/**
 * A process of its own, so that no server ever holds the truth:
 * `node deploy/demo/simulate-main.ts --out FOLDER [--ads N] [--users N] [--rows N] [--seed N] [--truth FILE]`.
 * Writes the market and the log into FOLDER, the true probability of each row (float32) into FILE. Progress on stderr, one
 * JSON line with the figures on stdout.
 */
async function main(words: readonly string[]): Promise<void> {
  const outAt = words.indexOf('--out');
  const folder = outAt < 0 ? undefined : words[outAt + 1];
  if (folder === undefined) throw new Error('--out FOLDER is required');
  const truthAt = words.indexOf('--truth');
  const startedAt = performance.now();
  const parameters = {
    ads: numberArgument(words, 'ads', demoDefaults.ads),
    users: numberArgument(words, 'users', demoDefaults.users),
    rows: numberArgument(words, 'rows', demoDefaults.rows),
    seed: numberArgument(words, 'seed', demoDefaults.seed),
  };
  mkdirSync(folder, { recursive: true });
  const layout = new MarketLayout(parameters);
  const world = new World(layout);
  writeCatalog(join(folder, demoFileNames.catalog), layout, world);
  writeUsers(join(folder, demoFileNames.users), layout);
  writeSites(join(folder, demoFileNames.sites), layout);
  const marketSeconds = (performance.now() - startedAt) / 1000;
  const { impressions, clickProbability } = simulateLog(world, (done, total) => {
    process.stderr.write(`progress ${done} ${total}\n`);
  });
  const simulatedAt = performance.now();
  await saveImpressionSet(join(folder, demoFileNames.impressions), impressions);
  const truthPath = truthAt < 0 ? undefined : words[truthAt + 1];
  if (truthPath !== undefined) {
    mkdirSync(dirname(truthPath), { recursive: true });
    writeFileSync(truthPath, clickProbability);
  }
  const clicks = impressions.click.reduce((sum, each) => sum + each, 0);
  const figures = {
    ...parameters,
    lineItems: layout.lineItemCount,
    clickRate: clicks / parameters.rows,
    bestAuc: areaUnderCurve(clickProbability, impressions.click),
    marketSeconds,
    simulateSeconds: (simulatedAt - startedAt) / 1000 - marketSeconds,
    saveSeconds: (performance.now() - simulatedAt) / 1000,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

await main(process.argv.slice(2));
