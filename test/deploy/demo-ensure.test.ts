import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ensureDemo, readDemoFigures } from '#deploy/demo/ensure-demo.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { World } from '#deploy/demo/world.ts';
import { loadImpressionSet } from '#training-bridge/impression-set-file.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'gavelin-demo-'));
afterAll(() => {
  rmSync(dataDir, { recursive: true, force: true });
});
const parameters = { ads: 400, users: 600, rows: 3000, seed: 5 };

test('a demo world is made once, whole, by a process of its own, and then reused', async () => {
  const steps: number[] = [];
  const files = await ensureDemo(dataDir, { ...parameters, onProgress: (done) => steps.push(done) });
  expect(steps[0]).toBe(0);
  expect(steps.at(-1)).toBe(3000);
  const missing = [files.catalog, files.users, files.sites, files.impressions].filter((path) => !existsSync(path));
  expect(missing).toEqual([]);
  expect(readFileSync(files.users, 'utf8').trimEnd().split('\n')).toHaveLength(600);
  expect(statSync(files.truth).size).toBe(3000 * 4);
  expect(files.truth.startsWith(files.folder)).toBe(false);
  expect(readDemoFigures(files)['bestAuc']).toBeGreaterThan(0.7);

  const { impressions } = simulateLog(new World(new MarketLayout(parameters)));
  const loaded = await loadImpressionSet(files.impressions);
  expect(loaded.click).toEqual(impressions.click);
  expect(loaded.contextIds).toEqual(impressions.contextIds);
  expect(loaded.schema).toEqual(impressions.schema);

  const madeAt = statSync(files.catalog).mtimeMs;
  const again = await ensureDemo(dataDir, { ...parameters, onProgress: () => expect.unreachable('made again') });
  expect(again).toEqual(files);
  expect(statSync(again.catalog).mtimeMs).toBe(madeAt);
});

test('a world that cannot be made says why and leaves nothing behind', async () => {
  await expect(ensureDemo(dataDir, { ...parameters, ads: -1 })).rejects.toThrow('could not be made');
  expect(readdirSync(join(dataDir, 'demo')).filter((name) => name.includes('making'))).toEqual([]);
});
