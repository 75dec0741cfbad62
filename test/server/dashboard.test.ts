import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../support/pod.ts';
import { chromiumPath } from '../support/services.ts';
import { startSmallPod } from '../support/small-demo.ts';

const executablePath = chromiumPath();

describe.skipIf(executablePath === undefined)('the dashboard in a real browser', () => {
  let pod: Pod;
  let browser: Browser;
  let page: Page;
  const errors: string[] = [];

  beforeAll(async () => {
    pod = await startSmallPod({ traffic: 60 });
    browser = await chromium.launch({
      executablePath: executablePath!,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
    page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    await page.goto(`http://127.0.0.1:${pod.adminPort}/#token=${pod.adminToken}`);
  });

  afterAll(async () => {
    await browser.close();
    await pod.stop();
  });

  test('comes alive: requests, latency and auctions move by themselves', async () => {
    await page.getByText('live', { exact: true }).waitFor();
    await page.locator('#auctions tbody tr').nth(4).waitFor();
    const requests = page.locator('.tile', { hasText: 'requests/s' }).locator('b');
    await expect.poll(async () => Number(await requests.textContent()), { timeout: 15_000 }).toBeGreaterThan(20);
    // As text: it runs in the page, whose types are not ours.
    const drawn = await page.evaluate(`(() => {
      const canvas = document.querySelector('#chart-rate canvas');
      return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value !== 0);
    })()`);
    expect(drawn).toBe(true);
  });

  test('shows calibrated against observed clicks, revenue, rung and stages', async () => {
    for (const label of ['revenue', 'margin', 'views', 'predicted ÷ observed clicks', 'load']) {
      await page.locator('.tile', { hasText: label }).waitFor();
    }
    await expect.poll(async () => page.locator('#stages tbody tr').count()).toBeGreaterThanOrEqual(8);
    await page.locator('#chart-rung .u-legend', { hasText: 'light-ranker' }).waitFor();
  });

  test('explains an auction at a click', async () => {
    await page.locator('#auctions button').first().click();
    await expect.poll(async () => page.locator('#explain').textContent()).toMatch(/candidates/u);
  });

  test('the address bar no longer holds the token, and nothing went wrong in the console', async () => {
    expect(page.url()).not.toContain('token');
    expect(errors).toEqual([]);
  });

  test('without the token it says what is missing and shows no data', async () => {
    const stranger = await browser.newPage();
    await stranger.goto(`http://127.0.0.1:${pod.adminPort}/`);
    await stranger.getByText('needs the link with the token').waitFor();
    expect(await stranger.locator('#auctions tbody tr').count()).toBe(0);
    await stranger.close();
  });
});
