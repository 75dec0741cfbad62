import { afterAll, beforeAll, describe } from 'vitest';
import { RedisStore } from '#embeddings/stores/redis-store.ts';
import { type RedisServer, startRedis } from '../../services/redis.ts';
import { redisServerPath } from '../../support/services.ts';
import { keepsTheAppendingContract } from './appending-store.contract.ts';
import { keepsTheStoreContract } from './store.contract.ts';

const command = redisServerPath();
/** The contract is no race: a server that gets no turn for a while is waited for. */
const limits = { connectMs: 10_000, answerMs: 10_000 };

describe.skipIf(command === undefined)('one Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis(command!);
  });
  afterAll(() => server.end());
  const build = () => new RedisStore({ kind: 'redis', shards: [{ name: 'only', copies: [server] }], limits });

  keepsTheStoreContract('Redis', build);
  keepsTheAppendingContract('Redis', build);
});

describe.skipIf(command === undefined)('two shards with replicas', () => {
  let servers: RedisServer[];
  beforeAll(async () => {
    const primaries = await Promise.all([startRedis(command!), startRedis(command!)]);
    const replicas = await Promise.all(primaries.map((replicaOf) => startRedis(command!, { replicaOf })));
    servers = [...primaries, ...replicas];
  });
  afterAll(() => Promise.all(servers.map((each) => each.end())));
  const build = () =>
    new RedisStore({
      kind: 'redis',
      shards: [0, 1].map((index) => ({ name: `shard ${index}`, copies: [servers[index]!, servers[index + 2]!] })),
      limits,
    });

  keepsTheStoreContract('Redis in two shards with replicas', build);
  keepsTheAppendingContract('Redis in two shards with replicas', build);
});
