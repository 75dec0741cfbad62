import { afterAll, beforeAll, describe } from 'vitest';
import { RedisClusterStore } from '#embeddings/stores/redis-cluster-store.ts';
import { type RedisCluster, startRedisCluster } from '../../services/redis.ts';
import { redisServerPath } from '../../support/services.ts';
import { keepsTheAppendingContract } from './appending-store.contract.ts';
import { keepsTheStoreContract } from './store.contract.ts';

const command = redisServerPath();

describe.skipIf(command === undefined)('Redis Cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster(command!);
  });
  afterAll(() => cluster.end());
  const build = () => new RedisClusterStore({ kind: 'redis-cluster', seeds: cluster.nodes.slice(0, 2) });

  keepsTheStoreContract('Redis Cluster', build);
  keepsTheAppendingContract('Redis Cluster', build);
});
