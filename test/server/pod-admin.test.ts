import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newLineItemFile } from '../support/new-line-item.ts';
import type { Pod } from '../support/pod.ts';
import { makeSmallDemo, startSmallPod } from '../support/small-demo.ts';

let pod: Pod;
beforeAll(async () => {
  pod = await startSmallPod({ traffic: 30 });
});
afterAll(async () => {
  await pod.stop();
});

async function send(
  method: string,
  path: string,
  body: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await pod.admin(path, {
    method,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

const get = async (path: string): Promise<Record<string, unknown>> =>
  (await pod.admin(path)).json() as Promise<Record<string, unknown>>;

/** A size that nobody else sells: what wins there is ours. */
const bidFor = (id: string): unknown => ({
  id,
  test: 1,
  tmax: 1000,
  imp: [{ id: '1', banner: { w: 333, h: 77 } }],
  site: { domain: 'admin.example' },
  device: { geo: { country: 'USA' } },
});

describe('the catalog changes while serving', () => {
  test('a new ad sells within a second, is repriced, paused and removed', async () => {
    expect((await pod.bid(bidFor('before'))).status).toBe(200);
    expect(((await (await pod.bid(bidFor('before'))).json()) as { seatbid: unknown[] }).seatbid).toEqual([]);
    const added = await send('POST', '/admin/v1/catalog', newLineItemFile);
    expect(added).toMatchObject({ status: 200, body: { added_ads: 1 } });
    const sold = async (): Promise<{ adid: string; price: number } | undefined> => {
      const answer = (await (await pod.bid(bidFor('after'))).json()) as {
        seatbid: { bid: { adid: string; price: number }[] }[];
      };
      return answer.seatbid[0]?.bid[0];
    };
    await expect.poll(sold, { timeout: 5000 }).toMatchObject({ adid: 'li-new.cr-new', price: 2 });
    expect(await send('PATCH', '/admin/v1/line-items/li-new', { bid_nanos: 3_000_000 })).toMatchObject({ status: 200 });
    await expect.poll(sold, { timeout: 5000 }).toMatchObject({ price: 3 });
    expect(await send('PATCH', '/admin/v1/line-items/li-new', { status: 'paused' })).toMatchObject({
      body: { line_item: { id: 'li-new', status: 'paused' } },
    });
    await expect.poll(sold, { timeout: 5000 }).toBeUndefined();
    expect(await send('POST', '/admin/v1/catalog', { remove_line_items: ['li-new'] })).toMatchObject({ status: 200 });
    expect((await pod.admin('/admin/v1/line-items/li-new')).status).toBe(404);
  });

  test('a change with mistakes is refused whole, with every mistake by path', async () => {
    const versionBefore = (await get('/admin/v1/catalog'))['version'];
    const broken = structuredClone(newLineItemFile);
    broken.line_items[0]!.bid_nanos = -1;
    broken.line_items[0]!.creative_ids = ['cr-nowhere'];
    const { status, body } = await send('POST', '/admin/v1/catalog', broken);
    expect(status).toBe(422);
    const paths = (body['problems'] as { path: string }[]).map(({ path }) => path);
    expect(paths).toContain('line_items[0].bid_nanos');
    expect(paths.some((path) => path.startsWith('line_items[0].creative_ids'))).toBe(true);
    expect((await get('/admin/v1/catalog'))['version']).toBe(versionBefore);
    expect((await send('POST', '/admin/v1/catalog', 'not json')).status).toBe(400);
    expect((await send('PATCH', '/admin/v1/line-items/nobody', { status: 'paused' })).status).toBe(404);
  });
});

describe('the model changes while serving', () => {
  test('a bundle with one changed byte is refused with the reason, and the one in service stays', async () => {
    const { bundle } = await makeSmallDemo();
    const before = ((await get('/admin/v1/status'))['model'] as { id: string }).id;
    const broken = join(pod.dataDir, basename(bundle));
    cpSync(bundle, broken, { recursive: true });
    const bytes = readFileSync(join(broken, 'head.onnx'));
    bytes[1000] = bytes[1000]! ^ 1;
    writeFileSync(join(broken, 'head.onnx'), bytes);
    const { status, body } = await send('POST', '/admin/v1/bundles/activate', { directory: broken });
    expect(status).toBe(422);
    expect((body['error'] as { message: string }).message).toContain('head.onnx');
    expect(((await get('/admin/v1/status'))['model'] as { id: string }).id).toBe(before);
  });

  test('a good bundle takes over in the other slot under traffic without a lost request', async () => {
    const { bundle } = await makeSmallDemo();
    const before = (await get('/admin/v1/status'))['model'] as { slot: number };
    const { status } = await send('POST', '/admin/v1/bundles/activate', { directory: bundle });
    expect(status).toBe(200);
    const after = (await get('/admin/v1/status'))['model'] as { slot: number };
    expect(after.slot).toBe(1 - before.slot);
    const metrics = await pod.metrics();
    expect(metrics.get('gavelin_scoring_failed_total')).toBe(0);
    await expect
      .poll(async () => ((await get('/admin/v1/overview'))['auctions'] as { rung: string }[])[0]?.rung)
      .toBe('full');
  });
});

describe('the admin port keeps its door', () => {
  test('no token, a wrong token and an unknown page', async () => {
    const base = `http://127.0.0.1:${pod.adminPort}`;
    for (const path of ['/admin/v1/spend', '/admin/v1/status', '/admin/v1/ads']) {
      expect((await fetch(base + path)).status).toBe(401);
      expect((await fetch(base + path, { headers: { authorization: 'Bearer wrong' } })).status).toBe(401);
    }
    expect((await pod.admin('/admin/v1/nothing')).status).toBe(404);
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
    expect((await fetch(`${base}/metrics`)).status).toBe(200);
  });

  test('ads are listed a page at a time', async () => {
    const first = (await get('/admin/v1/ads?limit=5')) as { ad_ids: string[]; next: number };
    const second = (await get(`/admin/v1/ads?limit=5&after=${first.next}`)) as { ad_ids: string[] };
    expect(first.ad_ids).toHaveLength(5);
    expect(new Set([...first.ad_ids, ...second.ad_ids]).size).toBe(10);
  });

  test('an auction is explained, and one that never was is not', async () => {
    const answer = await pod.bid(
      {
        id: 'why',
        tmax: 1000,
        imp: [{ id: '1', banner: { w: 300, h: 250 } }],
        site: { domain: 'why.example' },
        device: { geo: { country: 'USA' } },
      },
      { 'x-gavelin-debug': '1' },
    );
    const { seatbid } = (await answer.json()) as {
      seatbid: { bid: { adid: string; ext: { gavelin: { auction_id: string } } }[] }[];
    };
    const { adid, ext } = seatbid[0]!.bid[0]!;
    const explained = (await get(`/admin/v1/explain/${ext.gavelin.auction_id}`)) as { text: string };
    expect(explained.text).toContain(adid);
    expect((await pod.admin('/admin/v1/explain/0000000000000000')).status).toBe(404);
    expect((await pod.admin('/admin/v1/explain/nonsense')).status).toBe(400);
  });
});
