import { afterAll, beforeAll, describe, test } from 'vitest';
import { type RedisCluster, startRedisCluster } from '../services/redis.ts';
import { expectServiceThrough, startPodOnStores } from '../support/fault-drill.ts';
import type { Pod } from '../support/pod.ts';
import { redisServerPath } from '../support/services.ts';

const command = redisServerPath();
const drillMsMax = 120_000;

describe.skipIf(command === undefined)('embeddings and windows in a Redis Cluster', () => {
  let cluster: RedisCluster;
  let pod: Pod;

  beforeAll(async () => {
    cluster = await startRedisCluster(command!);
    const address = `redis-cluster://${cluster.nodes.map(({ name }) => name).join(',')}`;
    pod = await startPodOnStores({ GAVELIN_STORE_REALTIME: address, GAVELIN_STORE_EMBEDDINGS: address });
  });

  afterAll(async () => {
    await pod?.stop();
    await cluster?.end();
  });

  test(
    'a master is killed: its replica answers, and takes over',
    async () => {
      const master = cluster.nodes[0]!;
      await expectServiceThrough({
        pod,
        fault: () => master.process.kill(),
        faultMs: 6000,
        mend: async () => {
          await master.process.startAgain();
          await cluster.untilWhole();
        },
        rungs: { full: 0.98 },
      });
    },
    drillMsMax,
  );

  test(
    'a node hangs and wakes: its replica answers meanwhile',
    async () => {
      const node = cluster.nodes[1]!;
      await expectServiceThrough({
        pod,
        fault: async () => node.process.stop(),
        faultMs: 6000,
        mend: async () => {
          node.process.resume();
          await cluster.untilWhole();
        },
        rungs: { full: 0.95 },
      });
    },
    drillMsMax,
  );

  test(
    'all of Redis is killed: users get the average vector until it is back',
    async () => {
      await expectServiceThrough({
        pod,
        fault: async () => {
          await Promise.all(cluster.nodes.map(({ process }) => process.kill()));
        },
        faultMs: 6000,
        mend: async () => {
          await Promise.all(cluster.nodes.map(({ process }) => process.startAgain()));
          await cluster.untilWhole();
        },
        rungs: { 'average-embedding': 0.9, full: 0 },
      });
    },
    drillMsMax,
  );
});
