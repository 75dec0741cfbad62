import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { until } from '../support/until.ts';
import { answersLine, freePort, ServerProcess } from './server-process.ts';

const host = '127.0.0.1';
/** Replicas take over about this much and an election after the master fell silent. */
const nodeTimeoutMs = 700;
const slotCount = 16_384;

export type StartRedis = {
  readonly password?: string;
  /** The server that this one copies. */
  readonly replicaOf?: RedisServer;
  /** Further words of the command line, as in redis.conf: `['--maxmemory', '1mb']`. */
  readonly args?: readonly string[];
};

/** One Redis of its own, empty, on a free loopback port, with its files in a temporary folder. `command` is `redisServerPath()`. */
export async function startRedis(command: string, options: StartRedis = {}): Promise<RedisServer> {
  const { password, replicaOf, args = [] } = options;
  const words = [...args];
  if (password !== undefined) words.push('--requirepass', password, '--masterauth', password);
  if (replicaOf !== undefined) words.push('--replicaof', `${host} ${replicaOf.port}`);
  const server = await RedisServer.start(command, words, password);
  if (replicaOf !== undefined) await server.untilItCopies();
  return server;
}

export class RedisServer {
  readonly host = host;
  readonly port: number;
  readonly process: ServerProcess;
  readonly #folder: string;
  readonly #password: string | undefined;

  private constructor(port: number, process: ServerProcess, folder: string, password: string | undefined) {
    this.port = port;
    this.process = process;
    this.#folder = folder;
    this.#password = password;
  }

  static async start(command: string, words: readonly string[], password?: string): Promise<RedisServer> {
    const folder = await mkdtemp(join(tmpdir(), 'gavelin-redis-'));
    const port = await freePort();
    const args = [
      '--port',
      String(port),
      '--bind',
      host,
      '--dir',
      folder,
      '--daemonize',
      'no',
      '--save',
      '',
      '--appendonly',
      'no',
    ];
    args.push('--repl-diskless-sync-delay', '0', '--repl-timeout', '5', '--loglevel', 'warning', ...words);
    const process = await ServerProcess.start(command, args, () => saysPong(port));
    return new RedisServer(port, process, folder, password);
  }

  get name(): string {
    return `${host}:${this.port}`;
  }

  /** One command on a connection of its own; the answer as text and arrays of it. */
  async call(...words: (string | number)[]): Promise<unknown> {
    const redis = new Redis({
      host,
      port: this.port,
      ...(this.#password === undefined ? {} : { password: this.#password }),
      lazyConnect: true,
      retryStrategy: null,
      maxRetriesPerRequest: 0,
      commandTimeout: 5000,
    });
    redis.on('error', () => {
      // The call itself rejects.
    });
    try {
      return await redis.call(String(words[0]), ...words.slice(1));
    } finally {
      redis.disconnect();
    }
  }

  async untilItCopies(): Promise<void> {
    await until(
      async () => String(await this.call('INFO', 'replication')).includes('master_link_status:up'),
      `${this.name} copies its master`,
    );
  }

  /** Until every replica has what was written before. */
  async untilCopied(replicaCount = 1): Promise<void> {
    await until(
      async () => Number(await this.call('WAIT', replicaCount, 100)) >= replicaCount,
      `${this.name} is copied`,
    );
  }

  async end(): Promise<void> {
    this.process.resume();
    await this.process.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A Redis Cluster of three masters with a replica each, all slots given out, of which every node knows. */
export async function startRedisCluster(command: string, masterCount = 3): Promise<RedisCluster> {
  const nodes = await Promise.all(Array.from({ length: 2 * masterCount }, () => startNode(command)));
  const cluster = new RedisCluster(nodes);
  try {
    await cluster.form();
  } catch (error) {
    await cluster.end();
    throw error;
  }
  return cluster;
}

async function startNode(command: string): Promise<RedisServer> {
  const words = [
    '--cluster-enabled',
    'yes',
    '--cluster-config-file',
    'nodes.conf',
    '--cluster-port',
    String(await freePort()),
  ];
  words.push('--cluster-node-timeout', String(nodeTimeoutMs), '--cluster-require-full-coverage', 'no');
  // A replica takes over however long ago it heard of its master: a stopped master must not stop the tests.
  words.push('--cluster-replica-validity-factor', '0', '--cluster-allow-replica-migration', 'no');
  return RedisServer.start(command, words);
}

/** A node as the cluster itself describes it. */
type NodeLine = {
  readonly id: string;
  readonly port: number;
  readonly isMaster: boolean;
  readonly masterId: string;
  readonly slots: string[];
};

export class RedisCluster {
  /** Masters first, then the replica of each in the same order: as they were at the start. */
  readonly nodes: readonly RedisServer[];

  constructor(nodes: readonly RedisServer[]) {
    this.nodes = nodes;
  }

  async form(): Promise<void> {
    const masterCount = this.nodes.length / 2;
    const masters = this.nodes.slice(0, masterCount);
    for (const [index, master] of masters.entries()) {
      const first = Math.floor((index * slotCount) / masterCount);
      const last = Math.floor(((index + 1) * slotCount) / masterCount) - 1;
      await master.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      await master.call('CLUSTER', 'ADDSLOTSRANGE', first, last);
    }
    const [meeting, ...others] = this.nodes;
    for (const other of others) await meeting!.call('CLUSTER', 'MEET', host, other.port, await busPort(other));
    await until(
      async () => (await this.#everyView()).every((view) => view.length === this.nodes.length),
      'all nodes know each other',
    );
    for (const [index, master] of masters.entries()) {
      await this.nodes[masterCount + index]!.call(
        'CLUSTER',
        'REPLICATE',
        (await master.call('CLUSTER', 'MYID')) as string,
      );
    }
    for (const replica of this.nodes.slice(masterCount)) await replica.untilItCopies();
    await until(
      async () =>
        (await this.#everyView()).every(
          (view) =>
            view.filter(({ slots, isMaster }) => isMaster && slots.length > 0).length === masterCount &&
            view.filter(({ isMaster }) => !isMaster).length === masterCount,
        ),
      'all nodes know who copies whom',
    );
    await until(
      async () =>
        (await Promise.all(this.nodes.map((each) => each.call('CLUSTER', 'INFO')))).every((info) =>
          String(info).includes('cluster_state:ok'),
        ),
      'the cluster is well',
    );
  }

  /** Whoever owns the slot in the eyes of the nodes that run; undefined while they disagree. */
  async masterOf(slot: number): Promise<RedisServer | undefined> {
    const views = await this.#everyView();
    const ports = new Set(
      views.map(
        (view) => view.find(({ isMaster, slots }) => isMaster && slots.some((range) => holds(range, slot)))?.port,
      ),
    );
    return ports.size === 1 ? this.nodes.find(({ port }) => ports.has(port)) : undefined;
  }

  /** The replica of a master, as that master sees it. */
  async replicaOf(master: RedisServer): Promise<RedisServer> {
    const view = nodeLines(await master.call('CLUSTER', 'NODES'));
    const own = view.find(({ port }) => port === master.port)!;
    const replica = view.find(({ masterId }) => masterId === own.id);
    return this.nodes.find(({ port }) => port === replica?.port)!;
  }

  /** Until another node than `fallen` owns the slot and all that answer know it. */
  async untilTakenOver(slot: number, fallen: RedisServer): Promise<RedisServer> {
    let heir: RedisServer | undefined;
    await until(async () => {
      heir = await this.masterOf(slot);
      return heir !== undefined && heir !== fallen;
    }, `slot ${slot} has another master than ${fallen.name}`);
    return heir!;
  }

  /** Until every node runs, knows the same masters, and every master has a replica that copies it. */
  async untilWhole(): Promise<void> {
    await until(async () => {
      const infos = await Promise.all(this.nodes.map((each) => each.call('INFO', 'replication').catch(() => '')));
      const replicas = infos.filter((info) => String(info).includes('role:slave'));
      return (
        replicas.length === this.nodes.length / 2 &&
        replicas.every((info) => String(info).includes('master_link_status:up')) &&
        (await this.masterOf(0)) !== undefined
      );
    }, 'the cluster is whole');
  }

  async end(): Promise<void> {
    await Promise.all(this.nodes.map((each) => each.end()));
  }

  /** What each node that answers takes the cluster to be. */
  async #everyView(): Promise<NodeLine[][]> {
    const texts = await Promise.all(this.nodes.filter(({ process }) => process.isRunning).map((each) => viewOf(each)));
    return texts.filter((text) => text !== undefined).map(nodeLines);
  }
}

/** A stopped node says nothing, and is not waited for. */
async function viewOf(node: RedisServer): Promise<string | undefined> {
  if (!(await saysPong(node.port))) return undefined;
  return node.call('CLUSTER', 'NODES').then(String, () => undefined);
}

async function busPort(node: RedisServer): Promise<number> {
  return Number(/@(\d+)/u.exec(String(await node.call('CLUSTER', 'NODES')))![1]);
}

/** Lines of `CLUSTER NODES`: id, host:port@bus, flags, master's id, four numbers, slots. */
function nodeLines(text: unknown): NodeLine[] {
  return String(text)
    .trim()
    .split('\n')
    .map((line) => {
      const [id, address, flags, masterId, , , , , ...slots] = line.split(' ');
      return {
        id: id!,
        port: Number(/:(\d+)@/u.exec(address!)?.[1]),
        isMaster: flags!.includes('master') && !flags!.includes('fail'),
        masterId: masterId!,
        slots,
      };
    });
}

function holds(range: string, slot: number): boolean {
  const [first, last = first] = range.split('-');
  return slot >= Number(first) && slot <= Number(last);
}

/** Whether somebody there answers a PING within a moment, if only that we must say who we are. */
function saysPong(port: number): Promise<boolean> {
  return answersLine(port, 'PING', (text) => text.startsWith('+PONG') || text.startsWith('-NOAUTH'));
}
