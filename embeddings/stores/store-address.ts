import type { BigtableAddress } from './bigtable-client.ts';
import type { MemcachedServer } from './memcached-store.ts';
import { redisAddress } from './redis-address.ts';
import type { RedisClusterOptions, RedisOptions } from './redis-options.ts';
import { StoreError } from './store-errors.ts';

export type StoreAddress =
  | { readonly kind: 'memory'; readonly bytesMax?: number }
  /** Without a path: the folder that whoever opens it has in mind. */
  | { readonly kind: 'lmdb'; readonly path?: string; readonly bytesMax?: number }
  | RedisOptions
  | RedisClusterOptions
  | { readonly kind: 'memcached'; readonly servers: readonly MemcachedServer[]; readonly copyCount: number }
  | ({ readonly kind: 'bigtable' } & BigtableAddress);

const mib = 2 ** 20;
const memcachedPort = 11_211;
const serversMax = 256;

/**
 * What a setting says about where a store is:
 *
 *     memory:   memory:?mib=64                                     this thread's memory
 *     local:    local:/var/lib/gavelin/features?mib=4096           a folder of this machine (lmdb)
 *     redis://… rediss://… redis-cluster://… rediss-cluster://…    see redis-address.ts
 *     memcached://host1:11211,host2:11211*2?copies=2               servers on a ring; *2: twice the share of the keys
 *     bigtable://project/instance/table?endpoint=127.0.0.1:8086    endpoint: an emulator; without it Google's
 *
 * Throws STORE_ADDRESS_INVALID, which says what is wrong and never repeats a password.
 */
export function storeAddress(text: string): StoreAddress {
  const scheme = /^[a-z-]+(?=:)/u.exec(text)?.[0];
  const rest = text.slice((scheme?.length ?? 0) + 1);
  switch (scheme) {
    case 'memory':
      return memoryAddress(rest);
    case 'local':
      return localAddress(rest);
    case 'redis':
    case 'rediss':
    case 'redis-cluster':
    case 'rediss-cluster':
      return redisAddress(text);
    case 'memcached':
      return memcachedAddress(afterSlashes(rest));
    case 'bigtable':
      return bigtableAddress(afterSlashes(rest));
    case undefined:
    default:
      throw invalid('it begins with none of memory:, local:, redis://, redis-cluster://, memcached://, bigtable://');
  }
}

function memoryAddress(rest: string): StoreAddress {
  const { place, words } = split(rest, ['mib']);
  if (place !== '') throw invalid('memory: names no place');
  return { kind: 'memory', ...size(words) };
}

function localAddress(rest: string): StoreAddress {
  const { place, words } = split(rest, ['mib']);
  return { kind: 'lmdb', ...(place === '' ? {} : { path: place }), ...size(words) };
}

function memcachedAddress(rest: string): StoreAddress {
  if (rest.includes('@')) throw invalid('Memcached is spoken to without user and password');
  const { place, words } = split(rest, ['copies']);
  const servers = place.split(',').map(memcachedServer);
  const names = new Set(servers.map(({ host, port }) => `${host} ${port}`));
  if (names.size < servers.length) throw invalid('it names a server twice');
  if (servers.length > serversMax) throw invalid(`${servers.length} servers, ${serversMax} are the most`);
  return { kind: 'memcached', servers, copyCount: whole(words.get('copies') ?? '1', 'copies', servers.length) };
}

function memcachedServer(text: string): MemcachedServer {
  const found = /^(?:\[([\da-fA-F:.]+)\]|([\w.-]+))(?::(\d+))?(?:\*(\d+(?:\.\d+)?))?$/u.exec(text);
  if (found === null) throw invalid(`"${text}" is no host:port`);
  const port = found[3] === undefined ? memcachedPort : whole(found[3], 'port', 65_535);
  const weight = found[4] === undefined ? 1 : Number(found[4]);
  if (!(weight >= 0.01 && weight <= 100)) throw invalid(`"${text}": weights go from 0.01 to 100`);
  return { host: found[1] ?? found[2]!, port, weight };
}

function bigtableAddress(rest: string): StoreAddress {
  if (rest.includes('@')) throw invalid('Bigtable is spoken to with the credentials of the machine');
  const { place, words } = split(rest, ['endpoint']);
  const [project, instance, table, ...more] = place.split('/');
  const names = [project, instance, table];
  if (more.length > 0 || names.some((name) => name === undefined || !/^[\w.:-]+$/u.test(name)))
    throw invalid(`"${place}" is no project/instance/table`);
  const endpoint = words.get('endpoint');
  if (endpoint !== null && !/^[\w.-]+:\d{1,5}$/u.test(endpoint))
    throw invalid(`endpoint "${endpoint}" is no host:port`);
  return {
    kind: 'bigtable',
    project: project!,
    instance: instance!,
    table: table!,
    ...(endpoint === null ? {} : { endpoint }),
  };
}

function afterSlashes(rest: string): string {
  if (!rest.startsWith('//')) throw invalid('"//" is missing behind the first word');
  return rest.slice(2);
}

function split(rest: string, allowed: readonly string[]): { place: string; words: URLSearchParams } {
  const [place, query = '', ...more] = rest.split('?');
  if (more.length > 0) throw invalid('it has more than one "?"');
  const words = new URLSearchParams(query);
  for (const word of words.keys())
    if (!allowed.includes(word)) throw invalid(`it knows ${allowed.join(', ')}, not "${word}"`);
  return { place: place!, words };
}

function size(words: URLSearchParams): { bytesMax?: number } {
  const text = words.get('mib');
  return text === null ? {} : { bytesMax: whole(text, 'mib', 2 ** 24) * mib };
}

function whole(text: string, what: string, max: number): number {
  const number = /^\d{1,9}$/u.test(text) ? Number(text) : 0;
  if (number < 1 || number > max) throw invalid(`${what} "${text}": 1 to ${max} are possible`);
  return number;
}

function invalid(why: string): StoreError {
  return new StoreError('STORE_ADDRESS_INVALID', `${why}.`);
}
