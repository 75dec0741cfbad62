import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DemoFiles, demoFileNames, demoFiles } from './demo-files.ts';
import { demoDefaults, type DemoParameters } from './parameters.ts';

export type EnsureDemoOptions = Partial<DemoParameters> & {
  /** What is being made, with counts of rows: for a line on stderr. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
};

const simulateMsMax = 600_000;
const stderrCharsMax = 4_000;

/**
 * The market and the log of one demo world under `dataDir/demo`, made on the first call and reused by later ones with the same
 * parameters. A child process makes them, so the truth never enters the caller; a half-made folder is never seen, since it is
 * renamed into place when complete. Rejects when the child fails or takes more than ten minutes.
 */
export async function ensureDemo(dataDir: string, options: EnsureDemoOptions = {}): Promise<DemoFiles> {
  const parameters: DemoParameters = {
    ads: options.ads ?? demoDefaults.ads,
    users: options.users ?? demoDefaults.users,
    rows: options.rows ?? demoDefaults.rows,
    seed: options.seed ?? demoDefaults.seed,
  };
  const files = demoFiles(dataDir, parameters);
  if (existsSync(join(files.folder, demoFileNames.complete))) return files;
  const making = `${files.folder}.making-${process.pid}`;
  mkdirSync(making, { recursive: true });
  try {
    const figures = await simulate(making, files, options.onProgress ?? (() => {}));
    writeFileSync(join(making, demoFileNames.complete), figures);
    // Whoever else made the same world meanwhile made the same files.
    if (!existsSync(join(files.folder, demoFileNames.complete))) {
      rmSync(files.folder, { recursive: true, force: true });
      renameSync(making, files.folder);
    }
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return files;
}

/** What the simulator printed when it made this world: click rate, best possible AUC, seconds. */
export function readDemoFigures(files: DemoFiles): Readonly<Record<string, number>> {
  return JSON.parse(readFileSync(join(files.folder, demoFileNames.complete), 'utf8')) as Record<string, number>;
}

function simulate(
  folder: string,
  { parameters, truth }: DemoFiles,
  onProgress: NonNullable<EnsureDemoOptions['onProgress']>,
): Promise<string> {
  const words = Object.entries(parameters).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const script = join(import.meta.dirname, 'simulate-main.ts');
  const child = spawn(
    process.execPath,
    ['--max-old-space-size=4096', script, '--out', folder, '--truth', truth, ...words],
    { stdio: ['ignore', 'pipe', 'pipe'], timeout: simulateMsMax, killSignal: 'SIGKILL' },
  );
  // A caller that ends must not leave a child behind that computes for nobody.
  const stopChild = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', stopChild);
  return new Promise<string>((settle, fail) => {
    let output = '';
    let complaints = '';
    onProgress(0, parameters.rows, 'market and log');
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString().split('\n')) {
        const progress = /^progress (\d+) (\d+)$/u.exec(line);
        if (progress !== null) onProgress(Number(progress[1]), Number(progress[2]), 'market and log');
        else if (line !== '') complaints = `${complaints}${line}\n`.slice(-stderrCharsMax);
      }
    });
    child.once('error', fail);
    child.once('close', (code, signal) => {
      process.off('exit', stopChild);
      if (code === 0) settle(output);
      else fail(new Error(`The demo world could not be made (${code ?? signal}):\n${complaints}`));
    });
  });
}
