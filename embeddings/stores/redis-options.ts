import type { ConnectionOptions } from 'node:tls';
import type { ServerNode } from './server-node.ts';

/** One part of the keys: who is asked first and written to, and who has copies of it. */
export type RedisShard = {
  /** Decides which keys lie here: a shard that moves to another host keeps its name, and with it its keys. */
  readonly name: string;
  /** Primary first. At most `copiesMax`. */
  readonly copies: readonly ServerNode[];
};

export type RedisAccess = {
  readonly username?: string;
  readonly password?: string;
  /** Number of the database; a cluster has only 0. */
  readonly db?: number;
  readonly tls?: ConnectionOptions;
};

export type RedisLimits = {
  /** Until a connection stands, handshake included; also how long `ready` waits. */
  readonly connectMs: number;
  /** A connection on which a call is older than this is cut, and everything under way on it rejected. */
  readonly answerMs: number;
  /** Wait before the first new attempt to connect; doubles with each, up to the most; the half of it is chance. */
  readonly reconnectMsMin: number;
  readonly reconnectMsMax: number;
  /** Commands sent on one connection and not answered yet; beyond it calls are refused. */
  readonly commandsInFlightMax: number;
  /** How often a cluster is asked where its slots are, beside being asked whenever something points to a change. */
  readonly topologyMs: number;
};

export const redisLimits: RedisLimits = {
  connectMs: 2000,
  answerMs: 1000,
  reconnectMsMin: 50,
  reconnectMsMax: 2000,
  commandsInFlightMax: 8192,
  topologyMs: 5000,
};

export const copiesMax = 8;
export const shardsMax = 256;

type Common = {
  readonly access?: RedisAccess;
  readonly limits?: Partial<RedisLimits>;
  /** 0 to 1, for the jitter of new attempts. */
  readonly random?: () => number;
};
export type RedisOptions = Common & { readonly kind: 'redis'; readonly shards: readonly RedisShard[] };
export type RedisClusterOptions = Common & {
  readonly kind: 'redis-cluster';
  /** Nodes that are asked for the others; one that answers is enough. */
  readonly seeds: readonly ServerNode[];
  /** See redis-partitions.ts. Whoever writes and whoever reads must agree on it. */
  readonly partitionCount?: number;
};
