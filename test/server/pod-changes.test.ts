import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newLineItemFile } from '../support/new-line-item.ts';
import type { Pod } from '../support/pod.ts';
import { makeSmallDemo, smallDataDir, startSmallPod } from '../support/small-demo.ts';

async function send(pod: Pod, method: string, path: string, body: unknown): Promise<number> {
  const answer = await pod.admin(path, { method, body: JSON.stringify(body) });
  await answer.text();
  return answer.status;
}

async function lineItem(pod: Pod, id: string): Promise<Record<string, unknown> | undefined> {
  const body = (await (await pod.admin(`/admin/v1/line-items/${id}`)).json()) as {
    line_item?: Record<string, unknown>;
  };
  return body.line_item;
}

const request = {
  id: 'after',
  test: 1,
  tmax: 1000,
  imp: [{ id: '1', banner: { w: 333, h: 77 } }],
  site: { domain: 'changes.example' },
  device: { geo: { country: 'USA' } },
};
const winnerOf = async (pod: Pod): Promise<string | undefined> => {
  const answer = (await (await pod.bid(request)).json()) as { seatbid: { bid: { adid: string }[] }[] };
  return answer.seatbid[0]?.bid[0]?.adid;
};

test('what the admin API changed outlives kill -9, and ends with the catalog file that it changed', async () => {
  const dataDir = smallDataDir();
  // A catalog of its own, to be replaced below.
  const catalog = join(dataDir, 'catalog.json');
  cpSync((await makeSmallDemo()).files.catalog, catalog);
  const options = { dataDir, env: { GAVELIN_CATALOG_FILE: catalog } };
  const first = await startSmallPod(options);
  const { ads } = (await (await first.admin('/admin/v1/ads?limit=1')).json()) as { ads: { line_item_id: string }[] };
  const known = ads[0]!.line_item_id;
  const before = (await lineItem(first, known))!;
  expect(before).toMatchObject({ status: 'active' });
  const budget = Math.floor((before['budget_nanos'] as number) / 2);
  expect(await send(first, 'PATCH', `/admin/v1/line-items/${known}`, { status: 'paused' })).toBe(200);
  expect(await send(first, 'PATCH', `/admin/v1/line-items/${known}`, { budget_nanos: budget })).toBe(200);
  expect(await send(first, 'POST', '/admin/v1/catalog', newLineItemFile)).toBe(200);
  expect(await send(first, 'PATCH', '/admin/v1/line-items/li-new', { bid_nanos: -1 })).toBe(422);
  await first.stop('SIGKILL');

  const second = await startSmallPod(options);
  expect(second.output).toContain('3 changes made earlier are in effect again');
  expect(await lineItem(second, known)).toMatchObject({ status: 'paused', budget_nanos: budget });
  expect(await lineItem(second, 'li-new')).toMatchObject({ bid_nanos: 2_000_000 });
  const { line_items: spends } = (await (await second.admin('/admin/v1/spend')).json()) as {
    line_items: Record<string, string>[];
  };
  expect(spends.find(({ id }) => id === known)).toMatchObject({
    budget_nanos: String(budget),
    available_nanos: String(budget),
    adjustment_nanos: '0',
    pending_cut_nanos: '0',
  });
  await expect.poll(() => winnerOf(second), { timeout: 5000 }).toBe('li-new.cr-new');
  await second.stop();

  cpSync((await makeSmallDemo()).files.catalog, catalog);
  writeFileSync(catalog, ' ', { flag: 'a' });
  const third = await startSmallPod(options);
  expect(third.output).toContain('3 changes made to the one before');
  expect(await lineItem(third, known)).toMatchObject({ status: 'active', budget_nanos: before['budget_nanos'] });
  expect(await lineItem(third, 'li-new')).toBeUndefined();
  await third.stop();
  rmSync(dataDir, { recursive: true, force: true });
});
