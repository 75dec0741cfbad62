import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { ServerError } from '#server/errors.ts';
import { RatesFile } from '#server/rates-file.ts';

const asOf = '2026-05-01T00:00:00Z';
const asOfMs = Date.parse(asOf);
const folder = mkdtempSync(join(tmpdir(), 'gavelin-rates-'));
const path = join(folder, 'rates.json');
afterEach(() => rmSync(path, { force: true }));

const textOf = (eur: string): string => JSON.stringify({ as_of: asOf, usd_per: { EUR: eur } });

/** The file is replaced, as whoever writes such a file should do it; `size` differs, so the clock of the disk does not matter. */
function write(text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

test('a new file is taken, a broken one is told of once and changes nothing', async () => {
  const errors: unknown[] = [];
  write(textOf('1.1'));
  const file = new RatesFile(path, textOf('1.1'), (error) => errors.push(error));
  const worth = (): number | undefined => {
    const rate = file.rates.rateOf('EUR', asOfMs);
    return rate === undefined ? undefined : rate.numerator / rate.denominator;
  };
  expect(worth()).toBe(1.1);
  await file.check();
  expect(worth()).toBe(1.1);
  write(textOf('1.25'));
  await file.check();
  expect(worth()).toBe(1.25);

  write('{"as_of":');
  await file.check();
  await file.check();
  expect(worth()).toBe(1.25);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toBeInstanceOf(ServerError);
  expect(errors[0]).toMatchObject({ code: 'RATES_INVALID' });

  rmSync(path);
  await file.check();
  await file.check();
  expect(worth()).toBe(1.25);
  expect(errors).toHaveLength(2);

  write(textOf('1.375'));
  await file.check();
  expect(worth()).toBe(1.375);
  expect(errors).toHaveLength(2);
});

test('without a file there is USD, and nothing is looked for', async () => {
  const file = new RatesFile('', '', (error) => {
    throw error;
  });
  await file.check();
  expect(file.rates.rateOf('USD', 0)).toBeDefined();
  expect(file.rates.rateOf('EUR', 0)).toBeUndefined();
});

test('a file with mistakes at the start stops it', () => {
  expect(() => new RatesFile(path, '{}', () => {})).toThrow(ServerError);
});
