import { appendCommand, commandBytes, MgetFrame, setCommand } from './redis-commands.ts';
import { notValues, RedisCall, RedisConnection, sweepMs } from './redis-connection.ts';
import { copiesMax, type RedisLimits, type RedisOptions, redisLimits, shardsMax } from './redis-options.ts';
import { ShardBuckets } from './redis-partitions.ts';
import { checkAppend, checkEntries, checkKeys } from './store-limits.ts';
import { type AppendingStore, type ReadValues, type StoreEntry } from './store.ts';
import { StoreError } from './store-errors.ts';

/** Commands that `write` and `remove` send in one piece before they wait for the answers. */
const batchCountMax = 256;

/** One Redis server, or several named ones that share the keys; each may have replicas, which answer reads. */
export class RedisStore implements AppendingStore {
  readonly kind = 'redis';
  readonly shardCount: number;
  readonly #shards: readonly Shard[];
  readonly #buckets: ShardBuckets;
  readonly #sweeper: NodeJS.Timeout;
  #closed = false;

  /** Connects at once and goes on trying; `ready` tells how that went. */
  constructor(options: RedisOptions) {
    const { shards, access = {}, random = Math.random } = options;
    checkShards(options);
    const limits: RedisLimits = { ...redisLimits, ...options.limits };
    this.shardCount = shards.length;
    this.#buckets = new ShardBuckets(shards.map(({ name }) => name));
    this.#shards = shards.map(
      ({ copies }) =>
        new Shard(copies.map((node) => new RedisConnection(node, { access, limits, random, inCluster: false }))),
    );
    this.#sweeper = setInterval(() => {
      for (const shard of this.#shards) shard.sweep();
    }, sweepMs).unref();
  }

  shardOf(key: Buffer): number {
    return this.shardCount === 1 ? 0 : this.#buckets.shardOf(key);
  }

  copyCount(shard: number): number {
    return this.#shards[shard]!.copies.length;
  }

  copyName(shard: number, copy: number): string {
    return this.#shards[shard]!.copies[copy]!.name;
  }

  read(shard: number, copy: number, keys: readonly Buffer[]): Promise<ReadValues> {
    const connection = this.#shards[shard]!.copies[copy]!;
    const obstacle = connection.obstacle(1);
    if (obstacle !== undefined) return Promise.reject(obstacle);
    const count = keys.length;
    if (count === 0) return Promise.resolve([]);
    let keyBytes = 0;
    for (let index = 0; index < count; index++) keyBytes += keys[index]!.length;
    const frame = new MgetFrame(1, count, keyBytes);
    frame.command(count);
    for (let index = 0; index < count; index++) frame.key(keys[index]!);
    return new Promise((resolve, reject) => {
      connection.queue(new ReadCall(connection, count, resolve, reject));
      connection.flush(frame.finished());
    });
  }

  async write(entries: readonly StoreEntry[]): Promise<void> {
    checkEntries(entries);
    await this.#eachShard(
      entries,
      ({ key }) => key,
      ({ key, value, ttlMs }) => setCommand(key, value, ttlMs),
    );
  }

  async remove(keys: readonly Buffer[]): Promise<void> {
    checkKeys(keys);
    await this.#eachShard(
      keys,
      (key) => key,
      (key) => commandBytes('UNLINK', key),
    );
  }

  async append(key: Buffer, record: Buffer, countMax: number, ttlMs: number): Promise<void> {
    checkAppend(key, record, countMax);
    const shard = this.#shards[this.shardOf(key)]!;
    const first = await shard.tell(appendCommand('EVALSHA', key, record, countMax, ttlMs));
    if (first?.message.startsWith('NOSCRIPT') !== true) return shard.check(first);
    shard.check(await shard.tell(appendCommand('EVAL', key, record, countMax, ttlMs)));
  }

  async ready(): Promise<void> {
    await Promise.all(this.#shards.flatMap(({ copies }) => copies.map((each) => each.ready())));
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      clearInterval(this.#sweeper);
      for (const { copies } of this.#shards) for (const each of copies) each.close();
    }
    return Promise.resolve();
  }

  async #eachShard<Item>(
    items: readonly Item[],
    keyOf: (item: Item) => Buffer,
    commandOf: (item: Item) => Buffer,
  ): Promise<void> {
    if (this.#closed) throw new StoreError('STORE_CLOSED');
    const byShard = Map.groupBy(items, (item) => this.shardOf(keyOf(item)));
    await Promise.all(
      [...byShard].map(async ([number, mine]) => {
        const shard = this.#shards[number]!;
        for (let start = 0; start < mine.length; start += batchCountMax) {
          const replies = await shard.copies[0]!.ask(...mine.slice(start, start + batchCountMax).map(commandOf));
          for (const reply of replies) shard.check(reply instanceof Error ? reply : undefined);
        }
      }),
    );
  }
}

/** The copies of one part of the keys, the primary always first. */
class Shard {
  /** Kept in order in place: what is read here in one turn of the event loop belongs together. */
  readonly copies: RedisConnection[];
  #looking = false;

  constructor(copies: RedisConnection[]) {
    this.copies = copies;
    if (copies.length > 1) for (const each of copies) each.changed = () => this.#findPrimary();
  }

  sweep(): void {
    for (const each of this.copies) each.sweep();
  }

  /** The error that the primary gave, if any. */
  async tell(command: Buffer): Promise<Error | undefined> {
    const [reply] = await this.copies[0]!.ask(command);
    return reply instanceof Error ? reply : undefined;
  }

  check(error: Error | undefined): void {
    if (error === undefined) return;
    // A primary that has become a replica.
    if (error.message.startsWith('READONLY')) this.#findPrimary();
    throw this.copies[0]!.faultOf(error);
  }

  /** Redis does not tell its clients that it was promoted: whoever is there is asked. The first stays the first as long as it is a primary. */
  #findPrimary(): void {
    if (this.#looking) return;
    this.#looking = true;
    void Promise.all(this.copies.map(isPrimary)).then((primaries) => {
      this.#looking = false;
      const primary = primaries.indexOf(true);
      if (primary > 0) this.copies.unshift(...this.copies.splice(primary, 1));
    });
  }
}

/** A server that cannot be asked, or will not say, is none. */
async function isPrimary(connection: RedisConnection): Promise<boolean> {
  if (!connection.isUp) return false;
  const [role] = await connection.ask(commandBytes('ROLE')).catch(() => [undefined]);
  return Array.isArray(role) && String(role[0]) === 'master';
}

class ReadCall extends RedisCall {
  readonly #count: number;
  readonly #resolve: (values: ReadValues) => void;
  readonly #reject: (error: StoreError) => void;

  constructor(
    connection: RedisConnection,
    count: number,
    resolve: (values: ReadValues) => void,
    reject: (error: StoreError) => void,
  ) {
    super(connection);
    this.#count = count;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  take(reply: unknown): void {
    if (!Array.isArray(reply) || reply.length !== this.#count) return this.#reject(notValues(this.connection.name));
    // The array was made for this reply and nobody else has it.
    const values = reply as (Buffer | undefined | null)[];
    for (let index = 0; index < values.length; index++) {
      const value = values[index];
      if (value instanceof Uint8Array) continue;
      if (value !== null) return this.#reject(notValues(this.connection.name));
      values[index] = undefined;
    }
    this.#resolve(values as (Buffer | undefined)[]);
  }

  fail(error: Error): void {
    this.#reject(this.connection.faultOf(error));
  }
}

function checkShards({ shards }: RedisOptions): void {
  if (shards.length === 0 || shards.length > shardsMax) {
    throw new StoreError('STORE_ADDRESS_INVALID', `There are ${shards.length} shards: 1 to ${shardsMax} are possible.`);
  }
  for (const { name, copies } of shards) {
    if (copies.length === 0 || copies.length > copiesMax) {
      throw new StoreError(
        'STORE_ADDRESS_INVALID',
        `Shard ${name} has ${copies.length} servers: 1 to ${copiesMax} are possible.`,
      );
    }
    if (shards.filter((each) => each.name === name).length > 1) {
      throw new StoreError('STORE_ADDRESS_INVALID', `Two shards are called ${name}.`);
    }
  }
}
