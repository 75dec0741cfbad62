import { type Command, Redis } from 'ioredis';
import { commandBytes } from './redis-commands.ts';
import type { RedisAccess, RedisLimits } from './redis-options.ts';
import { nodeName, type ServerNode, reconnectWaitMs } from './server-node.ts';
import { StoreError } from './store-errors.ts';

/** How often connections are looked at; `answerMs` and `connectMs` are kept to within this. */
export const sweepMs = 100;

/**
 * What waits for one reply. It has the shape that ioredis's queue needs and nothing beside: a Command of its own makes a promise, five
 * closures and a buffer for every argument, which for 200 keys was half the cost of a call.
 */
export abstract class RedisCall {
  readonly connection: RedisConnection;
  // No name that ioredis treats specially.
  readonly name = 'mget';
  readonly args: readonly string[] = [];
  readonly promise = undefined;
  isTraced = true;

  constructor(connection: RedisConnection) {
    this.connection = connection;
  }

  abstract take(reply: unknown): void;
  /** As ioredis has it; `connection.faultOf` tells what it means. */
  abstract fail(error: Error): void;

  resolve(reply: unknown): void {
    this.connection.answeredCount++;
    this.take(reply);
  }

  reject(error: Error): void {
    this.connection.answeredCount++;
    this.fail(error);
  }

  setReplyContext(): void {}

  toWritable(): string {
    return '';
  }
}

/** ioredis hands the bytes of queued calls to this; they are written in one piece by `flush`. */
const nowhere = { write: () => true };

type Waiter = { readonly resolve: () => void; readonly reject: (error: StoreError) => void };

export type ConnectionSettings = {
  readonly access: RedisAccess;
  readonly limits: RedisLimits;
  readonly random: () => number;
  /** Sends READONLY first: a replica then answers reads instead of redirecting them; on a primary it means nothing. */
  readonly inCluster: boolean;
};

/** One connection to one server, which comes back by itself. While it does not stand, calls fail at once. */
export class RedisConnection {
  readonly node: ServerNode;
  readonly name: string;
  answeredCount = 0;
  /** Called when the connection stands, and each time that it falls or that an attempt fails. */
  changed: () => void = () => {};
  readonly #redis: Redis;
  readonly #limits: RedisLimits;
  readonly #inCluster: boolean;
  readonly #waiters = new Set<Waiter>();
  #sentCount = 0;
  /** `#sentCount` at the last sweeps: what was sent then has to be answered a whole round later. */
  readonly #sentAtSweep: number[];
  #sweepIndex = 0;
  #sweepsWithoutStanding = 0;
  #trouble: StoreError | undefined;
  #overdue = false;
  #closed = false;

  constructor(node: ServerNode, { access, limits, random, inCluster }: ConnectionSettings) {
    this.node = node;
    this.name = nodeName(node);
    this.#limits = limits;
    this.#inCluster = inCluster;
    this.#sentAtSweep = Array.from({ length: Math.max(1, Math.ceil(limits.answerMs / sweepMs)) }, () => 0);
    this.#redis = new Redis({
      host: node.host,
      port: node.port,
      ...access,
      connectionName: 'gavelin',
      disableClientInfo: true,
      readOnly: inCluster,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      maxRetriesPerRequest: 0,
      connectTimeout: limits.connectMs,
      // A connection that we let go is destroyed; ioredis's timer for a server that does not say goodbye must not outlive it.
      disconnectTimeout: 1,
      retryStrategy: (attempt) => reconnectWaitMs(attempt, limits, random),
    });
    this.#redis.on('error', (error: Error) => this.#failed(error));
    this.#redis.on('ready', () => this.#stands());
    this.#redis.on('close', () => this.#fell());
  }

  get isUp(): boolean {
    return this.#redis.status === 'ready' && this.#redis.stream.writable;
  }

  /** Commands sent and not answered yet. */
  get inFlightCount(): number {
    return this.#sentCount - this.answeredCount;
  }

  /** Why so many more commands cannot be sent now; undefined: they can. */
  obstacle(commandCount: number): StoreError | undefined {
    if (this.isUp) {
      if (this.#sentCount - this.answeredCount + commandCount <= this.#limits.commandsInFlightMax) return undefined;
      return new StoreError('STORE_BUSY', `${this.name}: ${this.#limits.commandsInFlightMax} commands are under way.`);
    }
    if (this.#closed) return new StoreError('STORE_CLOSED', this.name);
    return this.#trouble ?? new StoreError('STORE_UNREACHABLE', `${this.name} is not connected yet.`);
  }

  /** Queues what waits for the next reply, after `obstacle` found none; `flush` in the same turn sends the commands of all queued calls. */
  queue(call: RedisCall): void {
    this.#sentCount++;
    this.#redis.sendCommand(call as unknown as Command, nowhere as unknown as Redis['stream']);
  }

  flush(bytes: Buffer): void {
    this.#redis.stream.write(bytes);
  }

  /** Sends commands in one write. Resolves with as many replies; an error that the server gave for one stands in its place. */
  ask(...commands: readonly Buffer[]): Promise<unknown[]> {
    if (commands.length === 0) return Promise.resolve([]);
    const obstacle = this.obstacle(commands.length);
    if (obstacle !== undefined) return Promise.reject(obstacle);
    return new Promise((resolve, reject) => {
      const batch: Batch = { replies: [], count: commands.length, resolve, reject };
      for (let index = 0; index < commands.length; index++) this.queue(new BatchCall(this, batch));
      this.flush(commands.length === 1 ? commands[0]! : Buffer.concat(commands));
    });
  }

  /** Resolves once the server answers; else the error says why not. */
  async ready(): Promise<void> {
    await this.standing();
    const [reply] = await this.ask(commandBytes('PING'));
    if (reply instanceof Error) throw this.faultOf(reply);
  }

  /** Resolves once the connection stands; else, at the latest after `connectMs`, the error says why not. */
  standing(): Promise<void> {
    if (this.#closed) return Promise.reject(new StoreError('STORE_CLOSED', this.name));
    if (this.isUp) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        reject(
          this.#trouble ??
            new StoreError('STORE_UNREACHABLE', `${this.name} is not there after ${this.#limits.connectMs} ms.`),
        );
      }, this.#limits.connectMs);
      const waiter: Waiter = {
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiters.add(waiter);
    });
  }

  /** To be called every `sweepMs`: cuts the connection when a call on it is overdue, or when it takes too long to stand. */
  sweep(): void {
    if (this.#redis.status === 'ready') {
      this.#sweepsWithoutStanding = 0;
      // Sweeps are counted, not milliseconds: when this process itself stood still, answers are read before the next sweep.
      const index = this.#sweepIndex;
      this.#sweepIndex = (index + 1) % this.#sentAtSweep.length;
      const overdue = this.answeredCount < this.#sentAtSweep[index]!;
      this.#sentAtSweep[index] = this.#sentCount;
      if (overdue) this.#cut(`${this.name} did not answer for ${this.#limits.answerMs} ms.`);
      return;
    }
    if (this.#redis.status !== 'connect' && this.#redis.status !== 'connecting') this.#sweepsWithoutStanding = 0;
    else if (++this.#sweepsWithoutStanding * sweepMs > this.#limits.connectMs) {
      this.#sweepsWithoutStanding = 0;
      this.#cut(`${this.name} takes connections and says nothing.`);
    }
  }

  /** Everything under way is rejected; nothing is pending when it returns, but for the socket's own end. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const error = new StoreError('STORE_CLOSED', this.name);
    this.#redis.disconnect();
    // There is none before the first attempt.
    const stream: Redis['stream'] | undefined = this.#redis.stream;
    stream?.destroy();
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters.clear();
  }

  /** What an error of ioredis or of the server means to a caller. */
  faultOf(error: Error): StoreError {
    if (error instanceof StoreError) return error;
    if (this.#closed) return new StoreError('STORE_CLOSED', this.name);
    if (error.name === 'ReplyError') {
      if (!this.#inCluster && clusterTalk.some((each) => error.message.startsWith(each))) {
        return new StoreError(
          'STORE_ADDRESS_INVALID',
          `${this.name} is a node of a cluster: redis-cluster:// is the way to it.`,
        );
      }
      return replyFault(this.name, error);
    }
    if (this.#overdue) return this.#trouble ?? new StoreError('STORE_TIMEOUT', this.name);
    if (this.#trouble !== undefined) return this.#trouble;
    return connectionFault(this.name, error);
  }

  #stands(): void {
    if (!this.isUp) return;
    this.#trouble = undefined;
    this.#overdue = false;
    this.#sweepIndex = 0;
    this.#sentAtSweep.fill(0);
    for (const waiter of this.#waiters) waiter.resolve();
    this.#waiters.clear();
    this.changed();
  }

  #failed(error: Error): void {
    // What follows a cut is its consequence.
    if (this.#overdue) return;
    this.#trouble = error.name === 'ReplyError' ? replyFault(this.name, error) : connectionFault(this.name, error);
    // ioredis goes on in database 0 when it cannot have ours, and with whatever comes next when answers do not fit the calls.
    if (this.#trouble.code !== 'STORE_UNREACHABLE') this.#drop();
    for (const waiter of this.#waiters) waiter.reject(this.#trouble);
    this.#waiters.clear();
  }

  #fell(): void {
    if (this.#closed) return;
    this.#overdue = false;
    this.#trouble ??= new StoreError('STORE_UNREACHABLE', `${this.name} closed the connection.`);
    for (const waiter of this.#waiters) waiter.reject(this.#trouble);
    this.#waiters.clear();
    this.changed();
  }

  #cut(why: string): void {
    this.#overdue = true;
    this.#trouble = new StoreError('STORE_TIMEOUT', why);
    this.#drop();
  }

  /** Lets go of the socket; ioredis rejects what is under way on it and comes back. */
  #drop(): void {
    const stream: Redis['stream'] | undefined = this.#redis.stream;
    if (stream?.destroyed) return;
    this.#redis.disconnect(true);
    stream?.destroy();
  }
}

type Batch = {
  readonly replies: unknown[];
  readonly count: number;
  readonly resolve: (replies: unknown[]) => void;
  readonly reject: (error: StoreError) => void;
};

class BatchCall extends RedisCall {
  readonly #batch: Batch;

  constructor(connection: RedisConnection, batch: Batch) {
    super(connection);
    this.#batch = batch;
  }

  take(reply: unknown): void {
    const { replies, count, resolve } = this.#batch;
    if (replies.push(reply) === count) resolve(replies);
  }

  fail(error: Error): void {
    if (error.name === 'ReplyError') this.take(error);
    else this.#batch.reject(this.connection.faultOf(error));
  }
}

/** To a read came an answer that is none: somebody else's, or nonsense. */
export function notValues(name: string): StoreError {
  return new StoreError('STORE_FAULTY', `${name} answered a read with something else.`);
}

const refusals = [
  'WRONGPASS',
  'NOAUTH',
  'NOPERM',
  'ERR invalid password',
  'ERR Client sent AUTH',
  'ERR AUTH',
  'DENIED',
];
const wrongPlaces = [
  'ERR DB index is out of range',
  'ERR invalid DB index',
  'ERR SELECT is not allowed',
  'ERR This instance has cluster support disabled',
];
/** What a node of a cluster says to who takes it for a Redis of its own. */
const clusterTalk = ['MOVED', 'CROSSSLOT'];

/** A server that does not know a command repeats what came with it: passwords with AUTH, users' keys with a read. */
const argumentsFollow = ', with args';

/** What the server itself said, up to where it repeats arguments: the rest names commands and slots. */
function replyFault(name: string, { message }: Error): StoreError {
  const end = message.indexOf(argumentsFollow);
  const said = `${name} says: ${end < 0 ? message : message.slice(0, end)}`;
  if (refusals.some((each) => message.startsWith(each))) return new StoreError('STORE_REFUSED', said);
  if (wrongPlaces.some((each) => message.startsWith(each))) return new StoreError('STORE_ADDRESS_INVALID', said);
  return new StoreError('STORE_FAULTY', said);
}

/** Errors of the system (ECONNREFUSED, ENOTFOUND) mean that nobody is there; others that somebody is who speaks something else. */
function connectionFault(name: string, error: Error & { readonly code?: unknown }): StoreError {
  const code = typeof error.code === 'string' && /^E[A-Z]+$/u.test(error.code) ? error.code : undefined;
  if (code !== undefined || error.message === 'Connection is closed.' || error.name === 'MaxRetriesPerRequestError') {
    return new StoreError('STORE_UNREACHABLE', `${name}: ${code ?? 'the connection was lost'}.`, { cause: error });
  }
  return new StoreError('STORE_FAULTY', `${name}: ${error.message}`, { cause: error });
}
