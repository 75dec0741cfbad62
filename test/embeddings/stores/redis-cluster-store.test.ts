import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RedisClusterStore } from '#embeddings/stores/redis-cluster-store.ts';
import { defaultPartitionCount, entityHash, partitionsOf } from '#embeddings/stores/redis-partitions.ts';
import { RedisStore } from '#embeddings/stores/redis-store.ts';
import type { StoreError } from '#embeddings/stores/store-errors.ts';
import { type RedisCluster, type RedisServer, startRedisCluster } from '../../services/redis.ts';
import { redisServerPath } from '../../support/services.ts';
import { keepsTheAppendingContract } from './appending-store.contract.ts';
import { until } from '../../support/until.ts';
import { expectFault, expectSame, keepsTheStoreContract, ownKey, valuesOf } from './store.contract.ts';

const command = redisServerPath();
/** The contract is no race: a server that gets no turn for a while is waited for. */
const patient = { connectMs: 10_000, answerMs: 10_000 };

describe.skipIf(command === undefined)('Redis Cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster(command!);
  });
  afterAll(() => cluster.end());
  const build = () =>
    new RedisClusterStore({ kind: 'redis-cluster', seeds: cluster.nodes.slice(0, 2), limits: patient });

  keepsTheStoreContract('Redis Cluster', build);
  keepsTheAppendingContract('Redis Cluster', build);

  describe('when nodes fall, hang and change', { timeout: 90_000 }, () => {
    const limits = { connectMs: 1500, answerMs: 800, reconnectMsMax: 200 };
    const open = async () => {
      const store = new RedisClusterStore({ kind: 'redis-cluster', seeds: cluster.nodes.slice(0, 3), limits });
      await store.ready();
      return store;
    };
    beforeEach(() => cluster.untilWhole());

    test('kill -9 of a master: nothing hangs, others go on, and its replica gives back what was written', async () => {
      const store = await open();
      const keys = Array.from({ length: 300 }, (_, index) => ownKey(`survives ${index}`));
      await store.write(keys.map((key) => ({ key, value: key })));
      const fallen = (await cluster.masterOf(slotOf(keys[0]!)))!;
      await fallen.untilCopied();
      const shard = store.shardOf(keys[0]!);
      expect(store.copyName(shard, 0)).toBe(fallen.name);
      const others = keys.filter((key) => store.shardOf(key) !== shard);
      fallen.process.stop();
      const underWay = Promise.allSettled(Array.from({ length: 30 }, () => store.read(shard, 0, [keys[0]!])));
      await fallen.process.kill();
      expect([...new Set((await underWay).map(codeOf))]).toEqual(['STORE_UNREACHABLE']);
      // The replica answers reads before it is made a master.
      expectSame(await store.read(shard, 1, [keys[0]!]), [keys[0]]);
      expectSame(await valuesOf(store, others), others);
      await until(
        () =>
          valuesOf(store, keys).then(
            (values) => values.every((value, index) => value?.equals(keys[index]!)),
            () => false,
          ),
        'all of it is read again',
      );
      const key = keys[0]!;
      await until(
        () =>
          store.write([{ key, value: key }]).then(
            () => true,
            () => false,
          ),
        'all of it can be written again',
      );
      await fallen.process.startAgain();
      await cluster.untilWhole();
      await until(() => store.copyCount(store.shardOf(key)) === 2, 'the fallen one is known as a replica');
      await store.close();
    });

    test('SIGSTOP of a master: its reads end within the limit, others go on, and all is well after SIGCONT', async () => {
      const store = await open();
      const keys = Array.from({ length: 60 }, (_, index) => ownKey(`stopped ${index}`));
      await store.write(keys.map((key) => ({ key, value: key })));
      const stopped = (await cluster.masterOf(slotOf(keys[0]!)))!;
      await stopped.untilCopied();
      const shard = store.shardOf(keys[0]!);
      const others = keys.filter((key) => store.shardOf(key) !== shard);
      stopped.process.stop();
      const hanging = Promise.allSettled([
        store.read(shard, 0, [keys[0]!]),
        store.write([{ key: keys[0]!, value: keys[0]! }]),
      ]);
      expectSame(await valuesOf(store, others), others);
      expect((await hanging).map(codeOf)).toEqual(['STORE_TIMEOUT', 'STORE_TIMEOUT']);
      await until(
        () =>
          valuesOf(store, keys).then(
            () => true,
            () => false,
          ),
        'another node answers in its place',
      );
      stopped.process.resume();
      await cluster.untilWhole();
      await until(
        () =>
          valuesOf(store, keys).then(
            () => true,
            () => false,
          ),
        'all is read',
      );
      expectSame(await valuesOf(store, keys), keys);
      await store.close();
    });

    test('while a slot moves and after it has, everything is found and written where it is', async () => {
      const store = await open();
      // 30 keys of one partition: half of them will be here and half there.
      const keys: Buffer[] = [];
      const slot = slotOf(ownKey('moves'));
      for (let number = 0; keys.length < 30; number++)
        if (slotOf(ownKey(`moves ${number}`)) === slot) keys.push(ownKey(`moves ${number}`));
      const absent = keys.splice(20);
      const from = (await cluster.masterOf(slot))!;
      // A slot is only given away empty, and tests before this one may have left keys in it.
      await from.call('FLUSHALL');
      await store.write(keys.map((key) => ({ key, value: key })));
      const to =
        (await cluster.masterOf((slot + 8192) % 16_384)) === from
          ? (await cluster.masterOf((slot + 5462) % 16_384))!
          : (await cluster.masterOf((slot + 8192) % 16_384))!;
      const [fromId, toId] = [await idOf(from), await idOf(to)];
      await to.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId);
      await from.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId);
      const move = async (moved: readonly Buffer[]) => {
        for (const key of moved)
          await from.call('MIGRATE', to.host, to.port, `${tagOf(key)}${key.toString()}`, 0, 5000);
      };
      await move(keys.slice(0, 10));
      const all = [...keys, ...absent];
      expectSame(await valuesOf(store, all), [...keys, ...absent.map(() => undefined)]);
      expectSame(await valuesOf(store, keys.slice(0, 10)), keys.slice(0, 10));
      expectSame(
        await valuesOf(store, absent),
        absent.map(() => undefined),
      );
      // Written, appended to and removed in both halves.
      const fresh = Buffer.from('written while it moved');
      await store.write([keys[0]!, keys[15]!, absent[0]!].map((key) => ({ key, value: fresh })));
      await store.append(absent[1]!, Buffer.from('ab'), 3, 600_000);
      await store.append(absent[1]!, Buffer.from('cd'), 3, 600_000);
      await store.remove([keys[1]!, keys[16]!]);
      const asked = [keys[0]!, keys[15]!, absent[0]!, absent[1]!, keys[1]!, keys[16]!];
      const expected = [fresh, fresh, fresh, Buffer.from('abcd'), undefined, undefined];
      expectSame(await valuesOf(store, asked), expected);
      await move(keys.slice(10));
      for (const node of [to, from]) await node.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId);
      // The first answer is MOVED; that the slot has a new owner is known a moment later.
      expectSame(await valuesOf(store, asked), expected);
      await store.write([{ key: keys[2]!, value: fresh }]);
      expectSame(await valuesOf(store, [keys[2]!]), [fresh]);
      await until(() => store.copyName(store.shardOf(keys[0]!), 0) === to.name, 'the new owner is known');
      expectSame(await valuesOf(store, asked), expected);
      await store.close();
    });

    test('who takes one of its nodes for a Redis of its own is told', async () => {
      const shards = [{ name: 'only', copies: [cluster.nodes[0]!] }];
      const store = new RedisStore({ kind: 'redis', shards, limits });
      await store.ready();
      await expectFault(
        () => store.read(0, 0, [Buffer.from('these'), Buffer.from('are'), Buffer.from('apart')]),
        'STORE_ADDRESS_INVALID',
      );
      await store.close();
    });

    test('a read asks a node once per partition, and all of that in one write', async () => {
      const store = await open();
      const keys = Array.from({ length: 400 }, (_, index) => ownKey(`counted ${index}`));
      const mine = keys.filter((key) => store.shardOf(key) === 0);
      const node = cluster.nodes.find(({ name }) => name === store.copyName(0, 0))!;
      const before = await countsOf(node);
      expectSame(
        await store.read(0, 0, mine),
        mine.map(() => undefined),
      );
      const after = await countsOf(node);
      const partitionCount = new Set(mine.map(slotOf)).size;
      expect(partitionCount).toBeGreaterThan(15);
      expect(after.mgets - before.mgets).toBe(partitionCount);
      // Ours, the handshake and questions of the counting call, and what the node hears from its replica and other clients meanwhile.
      expect(after.reads - before.reads).toBeLessThan(partitionCount);
      await store.close();
    });
  });
});

/** How often MGET was called, and how often bytes were read from clients. */
async function countsOf(node: RedisServer): Promise<{ mgets: number; reads: number }> {
  const [commands, stats] = [String(await node.call('INFO', 'commandstats')), String(await node.call('INFO', 'stats'))];
  return {
    mgets: Number(/cmdstat_mget:calls=(\d+)/u.exec(commands)?.[1] ?? 0),
    reads: Number(/total_reads_processed:(\d+)/u.exec(stats)?.[1] ?? 0),
  };
}

const partitions = partitionsOf(defaultPartitionCount);

function slotOf(key: Buffer): number {
  return partitions[entityHash(key) % partitions.length]!.slot;
}

function tagOf(key: Buffer): string {
  return partitions[entityHash(key) % partitions.length]!.tag.toString();
}

async function idOf(node: RedisServer): Promise<string> {
  return (await node.call('CLUSTER', 'MYID')) as string;
}

function codeOf(outcome: PromiseSettledResult<unknown>): string {
  return outcome.status === 'rejected' ? (outcome.reason as StoreError).code : 'answered';
}
