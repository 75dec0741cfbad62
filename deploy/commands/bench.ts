import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Benches live with the tests, which nothing imports: they run in a process of their own. */
export async function runBench(words: readonly string[]): Promise<number> {
  const script = join(import.meta.dirname, '../../test/bench/main.ts');
  if (!existsSync(script)) throw new Error('This installation has no benches: they come with the source.');
  const child = spawn(process.execPath, [script, ...words], { stdio: 'inherit' });
  return new Promise((settle, fail) => {
    child.once('error', fail);
    child.once('exit', (code) => settle(code ?? 1));
  });
}
