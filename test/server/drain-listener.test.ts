import { expect, test } from 'vitest';
import { drainListener } from '#server/drain-listener.ts';
import { healthRoutes } from '#server/health-endpoints.ts';
import { noHeaders } from '#server/http-listener.ts';
import { nodeListener } from '#server/node-listener.ts';
import { uwsListener } from '#server/uws-listener.ts';
import { RawConnection } from '../support/raw-http.ts';

test.each([
  ['uWebSockets.js', uwsListener],
  ['node:http', nodeListener],
])('%s is not ready before it refuses connections', async (_, listener) => {
  let isReady = true;
  const listening = await listener.listen({
    host: '127.0.0.1',
    port: 0,
    routes: [
      ...healthRoutes(() => isReady),
      { path: '/bid', methods: ['GET'], handle: (__, respond) => respond(200, noHeaders, 'bid') },
    ],
    now: () => 0,
    onError: () => {},
  });
  const ask = async (path: string): Promise<number | undefined> => {
    const connection = await RawConnection.open(listening.port);
    connection.send(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
    const answer = await connection.answer();
    connection.destroy();
    return answer?.status;
  };
  expect(await ask('/readyz')).toBe(200);
  const drained = drainListener(listening, 60_000, () => {
    isReady = false;
  });
  expect([await ask('/readyz'), await ask('/bid')]).toEqual([503, 200]);
  await drained;
  await expect(RawConnection.open(listening.port)).rejects.toThrow('ECONNREFUSED');
});

test.each([
  [0, 0],
  [400, 300],
  [5000, 4000],
])('of %d ms the listener has %d for what is owed', async (graceMs, forAnswersMs) => {
  const given: number[] = [];
  const close = (ms: number): Promise<void> => {
    given.push(ms);
    return Promise.resolve();
  };
  await drainListener({ close }, graceMs, () => {});
  expect(given).toEqual([forAnswersMs]);
});
