import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Bench } from '../support/bench.ts';

const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.bench.ts'))
  .map((file) => file.slice(0, -'.bench.ts'.length));

// Every bench runs here, small, so that none rots; the figures are for people, with `npm run bench -- NAME`.
test.each(names)('bench %s runs and reports', { timeout: 120_000 }, async (name) => {
  const { bench } = (await import(join(import.meta.dirname, `${name}.bench.ts`))) as { bench: Bench };
  expect(bench.name).toBe(name);
  const report = await bench.run('smoke', () => {});
  expect(report.bench).toBe(name);
  expect(report.unit).not.toBe('');
  expect(Object.keys(report.figures).length).toBeGreaterThan(0);
  const skipped = report.figures['skipped'];
  if (skipped !== undefined) console.warn(`bench ${name} skipped: ${JSON.stringify(skipped)}`);
  expect(skipped !== undefined || Number.isFinite(report.value)).toBe(true);
});
