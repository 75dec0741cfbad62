import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { DemoFiles } from './demo-files.ts';

/** A training run that takes longer has hung: the whole of it takes half a minute. */
const trainMsMax = 900_000;
/** The number is raised when bundles made by older code must not be reused. */
const bundleFolder = 'bundles-4';

/**
 * The bundle trained on a demo world's log, made on first use in a process of its own (its memory goes with it) and reused
 * afterwards. Progress goes to stderr as it comes. Returns the bundle's folder.
 */
export async function ensureDemoBundle(dataDir: string, demo: DemoFiles, log: (line: string) => void): Promise<string> {
  const root = join(demo.folder, bundleFolder);
  const made = bundleIn(root);
  if (made !== undefined) return made;
  mkdirSync(root, { recursive: true });
  log('training a model on the demo log');
  const facts = {
    impressions: demo.impressions,
    out: root,
    seed: String(demo.parameters.seed),
    key: join(dataDir, 'signing-key.pem'),
  };
  const words = Object.entries(facts).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(
    process.execPath,
    ['--max-old-space-size=4096', join(import.meta.dirname, '../gavelin.ts'), 'train', ...words],
    { stdio: ['ignore', 'ignore', 'inherit'], timeout: trainMsMax, killSignal: 'SIGKILL' },
  );
  const stopChild = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', stopChild);
  await new Promise<void>((settle, fail) => {
    child.once('error', fail);
    child.once('exit', (code, signal) => {
      if (code === 0) settle();
      else fail(new Error(`The demo's model could not be trained (${code ?? signal}).`));
    });
  });
  process.off('exit', stopChild);
  const bundle = bundleIn(root);
  if (bundle === undefined) throw new Error(`Training ended well but left no bundle in ${root}.`);
  return bundle;
}

/** A bundle appears whole under its id; half-made ones have other names. */
function bundleIn(root: string): string | undefined {
  if (!existsSync(root)) return undefined;
  const id = readdirSync(root)
    .toSorted()
    .find((name) => /^[0-9a-f]{64}$/u.test(name) && existsSync(join(root, name, 'manifest.json')));
  return id === undefined ? undefined : join(root, id);
}
