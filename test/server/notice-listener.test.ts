import { afterEach, expect, test } from 'vitest';
import type { ListeningHttp } from '#server/http-listener.ts';
import { nodeListener } from '#server/node-listener.ts';
import { noticeRoutes } from '#server/notice-endpoint.ts';
import { uwsListener } from '#server/uws-listener.ts';
import { noonMs, noticeWorld } from './notice-fixtures.ts';

const open: ListeningHttp[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close(0);
});

test.each([
  ['uWebSockets.js', uwsListener],
  ['node:http', nodeListener],
])('a notice without any parameter is 400 over %s, and no bug of ours', async (_, listener) => {
  const errors: unknown[] = [];
  const server = await listener.listen({
    host: '127.0.0.1',
    port: 0,
    routes: noticeRoutes(noticeWorld()),
    now: () => noonMs,
    onError: (error) => errors.push(error),
  });
  open.push(server);
  for (const method of ['GET', 'POST'])
    for (const path of ['/notice/bill', '/notice/click?'])
      expect((await fetch(`http://127.0.0.1:${server.port}${path}`, { method })).status).toBe(400);
  expect(errors).toEqual([]);
});
