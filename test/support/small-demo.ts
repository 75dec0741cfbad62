import { existsSync, mkdirSync, mkdtempSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ensureDemoBundle } from '#deploy/demo/demo-bundle.ts';
import type { DemoFiles } from '#deploy/demo/demo-files.ts';
import { ensureDemo } from '#deploy/demo/ensure-demo.ts';
import { type DemoParameters, parametersKey } from '#deploy/demo/parameters.ts';
import { Pod, type PodOptions } from './pod.ts';

const root = resolve(import.meta.dirname, '../..');

/** 3,000 ads and 20,000 users trained on 60,000 rows: ready in seconds, with the same code paths as the whole demo. */
export const smallDemoParameters: DemoParameters = { ads: 3000, users: 20_000, rows: 60_000, seed: 1 };
export const smallDemoEnv: Readonly<Record<string, string>> = {
  GAVELIN_DEMO_ADS: String(smallDemoParameters.ads),
  GAVELIN_DEMO_USERS: String(smallDemoParameters.users),
  GAVELIN_DEMO_ROWS: String(smallDemoParameters.rows),
  GAVELIN_DEMO_SEED: String(smallDemoParameters.seed),
};

/** Where the market and the model of the suite lie: made once per checkout by the suite's global set-up, then only read. */
export const smallDemoFolder = join(root, '.cache/small-demo');

export async function makeSmallDemo(): Promise<{ files: DemoFiles; bundle: string }> {
  mkdirSync(join(smallDemoFolder, 'cache'), { recursive: true });
  const files = await ensureDemo(smallDemoFolder, smallDemoParameters);
  return { files, bundle: await ensureDemoBundle(smallDemoFolder, files, () => {}) };
}

/** A data folder of its own that shares the small demo: its event log, keys and token belong to one pod. */
export function smallDataDir(): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'gavelin-small-'));
  mkdirSync(join(dataDir, 'demo'));
  const key = parametersKey(smallDemoParameters);
  symlinkSync(join(smallDemoFolder, 'demo', key), join(dataDir, 'demo', key));
  // The bundle is signed with the key beside it.
  for (const name of ['signing-key.pem', 'cache']) {
    if (existsSync(join(smallDemoFolder, name))) symlinkSync(join(smallDemoFolder, name), join(dataDir, name));
  }
  return dataDir;
}

/** A whole server on the small demo. Without `dataDir` it gets one of its own, which goes with it. */
export function startSmallPod(options: PodOptions = {}): Promise<Pod> {
  const dataDir = options.dataDir ?? smallDataDir();
  return Pod.start({
    ...options,
    dataDir,
    ownsDataDir: options.dataDir === undefined,
    env: { ...smallDemoEnv, ...options.env },
  });
}
