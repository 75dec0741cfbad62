import { expect, test } from 'vitest';
import { healthRoutes } from '#server/health-endpoints.ts';
import { nodeListener } from '#server/node-listener.ts';

test('healthz says that the process runs, readyz whether it answers bids now', async () => {
  let isReady = false;
  const server = await nodeListener.listen({
    host: '127.0.0.1',
    port: 0,
    routes: healthRoutes(() => isReady),
    now: () => performance.now(),
    onError: () => {},
  });
  const status = async (path: string, method = 'GET'): Promise<number> =>
    (await fetch(`http://127.0.0.1:${server.port}${path}`, { method })).status;
  expect([await status('/healthz'), await status('/readyz')]).toEqual([200, 503]);
  isReady = true;
  expect([await status('/readyz'), await status('/readyz', 'HEAD'), await status('/readyz', 'POST')]).toEqual([
    200, 200, 405,
  ]);
  await server.close(0);
});
