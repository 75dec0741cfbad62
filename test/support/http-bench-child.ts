import { noHeaders } from '#server/http-listener.ts';
import { nodeListener } from '#server/node-listener.ts';
import { uwsListener } from '#server/uws-listener.ts';
import { cpuSeconds } from './bench.ts';

/** One listener that reads a body and answers a bid's worth of bytes: nothing but HTTP. Tells its port, then its CPU when asked. */
const answer = 'x'.repeat(1400);
const listener = process.argv[2] === 'node' ? nodeListener : uwsListener;
const { port } = await listener.listen({
  host: '127.0.0.1',
  port: 0,
  routes: [
    {
      path: '/',
      methods: ['POST'],
      handle: (request, respond) => respond(200, noHeaders, request.body.length > 0 ? answer : ''),
    },
  ],
  now: () => performance.now(),
  onError: (error) => {
    throw error;
  },
});
process.on('message', () => process.send?.({ cpu: cpuSeconds() }));
process.send?.({ port });
