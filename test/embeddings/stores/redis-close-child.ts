import { setTimeout as pause } from 'node:timers/promises';
import { RedisClusterStore } from '#embeddings/stores/redis-cluster-store.ts';
import { RedisStore } from '#embeddings/stores/redis-store.ts';

/** Uses a store and closes it. If anything is left behind (a socket, a timer), this process does not end, and is told apart by its exit code. */
const [kind, port, stopped] = process.argv.slice(2);
const node = { host: '127.0.0.1', port: Number(port) };
const store =
  kind === 'redis'
    ? new RedisStore({ kind: 'redis', shards: [{ name: 'only', copies: [node] }] })
    : new RedisClusterStore({ kind: 'redis-cluster', seeds: [node] });
await store.ready().catch(() => {});
console.log('open');
if (stopped === 'true') await pause(300);
const reading = store.read(0, 0, [Buffer.from('key')]).catch(() => []);
await store.close();
await reading;
setTimeout(() => process.exit(7), 1000).unref();
