import { createServer } from 'node:net';
import { ServerError } from './errors.ts';

/**
 * The port to listen on: the one asked for when nobody holds it, a free one for 0. Asked once per process before its threads
 * listen, because uWebSockets.js shares a port with whoever else shares it, and two pods on one port would each get half of
 * the traffic.
 * @throws {ServerError} LISTEN_FAILED when it cannot be had.
 */
export function freePort(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (cause) => {
      reject(new ServerError('LISTEN_FAILED', { cause, detail: `${host}:${port}` }));
    });
    probe.listen({ host, port, exclusive: true }, () => {
      const address = probe.address();
      const found = typeof address === 'object' && address !== null ? address.port : port;
      probe.close(() => resolve(found));
    });
  });
}
