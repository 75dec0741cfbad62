import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { clickRateHalfLifeMs, ClickRates, type RatedAd } from '#auction/click-rates.ts';
import { ClickRatesFile } from '#server/click-rates-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'gavelin-rates-'));
afterAll(() => rmSync(folder, { recursive: true }));
const nowMs = Date.UTC(2026, 4, 1);
const ad: RatedAd = { high: 1, low: 2, advertiser: 3, category: 4, prior: 0.02 };
const visit = { site: 9, interest: 1 } as const;

function counted(views: number, clicks: number): ClickRates {
  const rates = new ClickRates(ClickRates.allocate({ singles: 256, pairs: 256 }));
  for (let view = 0; view < views; view++) rates.recordView(ad, visit);
  for (let click = 0; click < clicks; click++) rates.recordClick(ad, visit);
  return rates;
}

test('what was counted is there again after a start, less what it has lost meanwhile', () => {
  const path = join(folder, 'rates');
  const before = counted(4000, 400);
  new ClickRatesFile(path, before).save(nowMs);
  const same = counted(0, 0);
  expect(new ClickRatesFile(path, same).restore(nowMs)).toBe('restored');
  expect(same.adLogit(ad)).toBe(before.adLogit(ad));
  expect(same.pairLogit(ad, 9, -3)).toBe(before.pairLogit(ad, 9, -3));
  const later = counted(0, 0);
  new ClickRatesFile(path, later).restore(nowMs + clickRateHalfLifeMs);
  const half = counted(2000, 200);
  expect(later.adLogit(ad)).toBeCloseTo(half.adLogit(ad), 2);
});

test('a missing, foreign, cut or damaged file is none, and says so', () => {
  const path = join(folder, 'damaged');
  const rates = counted(0, 0);
  const restore = (): string => new ClickRatesFile(path, rates).restore(nowMs);
  expect(restore()).toBe('absent');
  new ClickRatesFile(path, counted(100, 5)).save(nowMs);
  const whole = readFileSync(path);
  for (const bytes of [Buffer.from('something else'), whole.subarray(0, -20), Buffer.alloc(0)]) {
    writeFileSync(path, bytes);
    expect(restore()).toBe('damaged');
  }
  for (const at of [0, 9, 20, whole.length - 1]) {
    const flipped = Buffer.from(whole);
    flipped[at] = flipped[at]! ^ 1;
    writeFileSync(path, flipped);
    expect(restore()).toBe('damaged');
  }
  expect(rates.export().length).toBe(0);
});
