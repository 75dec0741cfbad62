import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { settings } from '#server/config.ts';

const root = resolve(import.meta.dirname, '../..');

/** Codes are the keys of the exported `…Faults` tables of a floor, or of a folder with a README of its own, in whichever files they stand. */
async function faultCodes(floor: string): Promise<string[]> {
  const files = readdirSync(join(root, floor))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(root, floor, name))
    .filter((path) => /^export const \w+Faults\b/mu.test(readFileSync(path, 'utf8')));
  const modules = await Promise.all(files.map(async (path) => (await import(path)) as Record<string, unknown>));
  return modules
    .flatMap((module) => Object.entries(module))
    .filter(([name, value]) => name.endsWith('Faults') && typeof value === 'object')
    .flatMap(([, value]) => Object.keys(value as object));
}

for (const floor of [
  'embeddings',
  'embeddings/stores',
  'auction',
  'inference',
  'training-bridge',
  'server',
  'deploy',
]) {
  test(`${floor}/README.md describes every fault code`, async () => {
    const readme = readFileSync(join(root, floor, 'README.md'), 'utf8');
    const missing = (await faultCodes(floor)).filter((code) => !readme.includes(`\`${code}\``));
    expect(missing).toEqual([]);
  });
}

test('server/README.md describes every setting with its default', () => {
  const readme = readFileSync(join(root, 'server/README.md'), 'utf8');
  const missing = Object.values(settings)
    .filter(({ env, default: fallback }) => {
      const row = readme.split('\n').find((line) => line.startsWith(`| \`${env}\``));
      return row === undefined || !row.includes(String(fallback));
    })
    .map(({ env }) => env);
  expect(missing).toEqual([]);
});
