import { afterEach, expect, test } from 'vitest';
import { type AdminPorts, startAdminServer } from '#server/admin-server.ts';
import { RawConnection } from '../support/raw-http.ts';

const closes: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closes.splice(0)) await close();
});

test("a target that is no address is the sender's mistake, and no bug of ours", async () => {
  const errors: unknown[] = [];
  const server = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    token: 'a-token',
    // None of these requests gets as far as a port.
    ports: {} as AdminPorts,
    onError: (error) => errors.push(error),
  });
  closes.push(() => server.close());
  for (const target of ['//', '///', '//[', 'http://', '//user:pass@:99999/admin/v1/status']) {
    const connection = await RawConnection.open(server.port);
    connection.send(`GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`);
    const answer = await connection.answer();
    expect({ target, status: answer?.status }).toEqual({ target, status: 400 });
    connection.destroy();
  }
  // An absolute address is one that a proxy sends.
  const proxied = await RawConnection.open(server.port);
  proxied.send('GET http://admin/healthz HTTP/1.1\r\nHost: h\r\n\r\n');
  expect((await proxied.answer())?.status).toBe(200);
  proxied.destroy();
  expect(errors).toEqual([]);
});
