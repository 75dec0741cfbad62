import {
  copiesMax,
  type RedisAccess,
  type RedisClusterOptions,
  type RedisOptions,
  shardsMax,
} from './redis-options.ts';
import { nodeName, type ServerNode } from './server-node.ts';
import { defaultPartitionCount, partitionCountMax } from './redis-partitions.ts';
import { StoreError } from './store-errors.ts';

const defaultPort = 6379;
const schemes = ['redis', 'rediss', 'redis-cluster', 'rediss-cluster'] as const;
type Scheme = (typeof schemes)[number];

/**
 * What a setting says about where a Redis is:
 *
 *     redis://user:password@host:6379/2                                one server, database 2
 *     redis://one=host1,two=host2:6380?replicas=copy1|copy2,copy3      two named shards and the replicas of each
 *     redis-cluster://host1:7000,host2:7000?partitions=64              some nodes of a cluster
 *
 * `rediss` and `rediss-cluster`: over TLS. User and password are percent-encoded. A shard without a name is called by its address.
 * Throws STORE_ADDRESS_INVALID; the message never holds what stands before the last `@`.
 */
export function redisAddress(text: string): RedisOptions | RedisClusterOptions {
  const [scheme, rest] = splitScheme(text);
  const at = rest.lastIndexOf('@');
  const [place, query = '', ...moreQueries] = rest.slice(at + 1).split('?');
  const [hosts, path = '', ...morePaths] = place!.split('/');
  if (moreQueries.length > 0 || morePaths.length > 0) throw invalid('it has more than one / or ? behind the hosts');
  const access: RedisAccess = {
    ...(at < 0 ? {} : credentials(rest.slice(0, at))),
    ...(scheme.startsWith('rediss') ? { tls: {} } : {}),
    ...(path === '' ? {} : { db: database(path, scheme) }),
  };
  const words = new URLSearchParams(query);
  const allowed = scheme.endsWith('cluster') ? 'partitions' : 'replicas';
  for (const word of words.keys()) if (word !== allowed) throw invalid(`it knows ${allowed}, not "${word}"`);
  if (hosts === '') throw invalid('it names no host');
  if (scheme.endsWith('cluster')) {
    const seeds = hosts!.split(',').map(node);
    return { kind: 'redis-cluster', seeds, access, partitionCount: partitionCount(words.get('partitions')) };
  }
  return { kind: 'redis', shards: shards(hosts!, words.get('replicas')), access };
}

function splitScheme(text: string): [Scheme, string] {
  const end = text.indexOf('://');
  const scheme = schemes.find((each) => each === text.slice(0, Math.max(0, end)));
  if (scheme === undefined) throw invalid(`it does not begin with ${schemes.map((each) => `${each}://`).join(', ')}`);
  return [scheme, text.slice(end + 3)];
}

function credentials(text: string): RedisAccess {
  const colon = text.indexOf(':');
  const [username, password] = colon < 0 ? [text, ''] : [text.slice(0, colon), text.slice(colon + 1)];
  try {
    return {
      ...(username === '' ? {} : { username: decodeURIComponent(username) }),
      ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    };
  } catch {
    // The reason would show it.
    throw invalid('user or password is not percent-encoded');
  }
}

function database(path: string, scheme: Scheme): number {
  if (!/^\d{1,5}$/u.test(path)) throw invalid(`"${path}" is no number of a database`);
  if (scheme.endsWith('cluster') && Number(path) !== 0) throw invalid('a cluster has database 0 only');
  return Number(path);
}

function partitionCount(text: string | null): number {
  const count = text === null ? defaultPartitionCount : Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= partitionCountMax) return count;
  throw invalid(`"${text}" partitions: 1 to ${partitionCountMax} are possible`);
}

function shards(hosts: string, replicas: string | null): RedisOptions['shards'] {
  const primaries = hosts.split(',').map((each) => {
    const equals = each.indexOf('=');
    const primary = node(each.slice(equals + 1));
    if (equals === 0) throw invalid(`the shard at ${nodeName(primary)} has an empty name`);
    return { name: equals < 0 ? nodeName(primary) : each.slice(0, equals), primary };
  });
  const copies = replicas === null || replicas === '' ? [] : replicas.split(',');
  if (copies.length > primaries.length) throw invalid(`replicas of ${copies.length} shards for ${primaries.length}`);
  if (primaries.length > shardsMax) throw invalid(`${primaries.length} shards, ${shardsMax} are the most`);
  const names = new Set(primaries.map(({ name }) => name));
  if (names.size < primaries.length) throw invalid('two shards have the same name');
  return primaries.map(({ name, primary }, index) => {
    const own = (copies[index] ?? '')
      .split('|')
      .filter((each) => each !== '')
      .map(node);
    if (own.length >= copiesMax) throw invalid(`${own.length} replicas of one shard, ${copiesMax - 1} are the most`);
    return { name, copies: [primary, ...own] };
  });
}

function node(text: string): ServerNode {
  const found = /^(?:\[([\da-fA-F:.]+)\]|([\w.-]+))(?::(\d+))?$/u.exec(text);
  if (found === null) throw invalid(`"${text}" is no host:port`);
  const port = found[3] === undefined ? defaultPort : Number(found[3]);
  if (port < 1 || port > 65_535) throw invalid(`"${text}": ports go from 1 to 65535`);
  return { host: found[1] ?? found[2]!, port };
}

function invalid(why: string): StoreError {
  return new StoreError('STORE_ADDRESS_INVALID', `${why}.`);
}
