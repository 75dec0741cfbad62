import { appendCommand, commandBytes, MgetFrame, setCommand } from './redis-commands.ts';
import { notValues, RedisCall, type RedisConnection } from './redis-connection.ts';
import { RedisClusterNodes } from './redis-cluster-nodes.ts';
import { type RedisClusterOptions, redisLimits } from './redis-options.ts';
import { defaultPartitionCount, entityHash, type Partition, partitionsOf } from './redis-partitions.ts';
import { StoreError } from './store-errors.ts';
import { checkAppend, checkEntries, checkKeys } from './store-limits.ts';
import type { AppendingStore, ReadValues, StoreEntry } from './store.ts';

/** Commands that `write` and `remove` send in one piece before they wait for the answers. */
const batchCountMax = 256;

/**
 * A Redis Cluster. A key is stored behind the hash tag of its partition (redis-partitions.ts): one MGET reads all keys of a partition,
 * and those of all partitions of a node go out in one write. A shard is a master; its replicas answer reads as copies 1 and up.
 */
export class RedisClusterStore implements AppendingStore {
  readonly kind = 'redis-cluster';
  readonly #nodes: RedisClusterNodes;
  readonly #partitions: readonly Partition[];
  /** By partition, the shard that has it; 0 where nobody has. */
  readonly #shards: Uint16Array;
  /** Keys of each partition in the read that is being made. */
  readonly #counts: Uint16Array;
  readonly #touched: Uint16Array;

  constructor(options: RedisClusterOptions) {
    const { seeds, access = {}, random = Math.random, partitionCount = defaultPartitionCount } = options;
    if (seeds.length === 0) throw new StoreError('STORE_ADDRESS_INVALID', 'A cluster needs the address of a node.');
    this.#partitions = partitionsOf(partitionCount);
    this.#shards = new Uint16Array(partitionCount);
    this.#counts = new Uint16Array(partitionCount);
    this.#touched = new Uint16Array(partitionCount);
    this.#nodes = new RedisClusterNodes(seeds, {
      access,
      limits: { ...redisLimits, ...options.limits },
      random,
      inCluster: true,
    });
    this.#nodes.changed = () => {
      for (const [partition, { slot }] of this.#partitions.entries())
        this.#shards[partition] = Math.max(0, this.#nodes.owners[slot]!);
    };
  }

  get shardCount(): number {
    return this.#nodes.shards.length;
  }

  shardOf(key: Buffer): number {
    return this.#shards[entityHash(key) % this.#shards.length]!;
  }

  copyCount(shard: number): number {
    return this.#nodes.shards[shard]!.copies.length;
  }

  copyName(shard: number, copy: number): string {
    return this.#nodes.shards[shard]!.copies[copy]!.name;
  }

  read(shard: number, copy: number, keys: readonly Buffer[]): Promise<ReadValues> {
    const connection = this.#nodes.shards[shard]!.copies[copy]!;
    const obstacle = connection.obstacle(Math.min(keys.length, this.#counts.length));
    if (obstacle !== undefined) return Promise.reject(obstacle);
    if (keys.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      this.#send(connection, new NodeRead(keys, resolve, reject));
    });
  }

  async write(entries: readonly StoreEntry[]): Promise<void> {
    checkEntries(entries);
    await this.#eachNode(
      entries,
      ({ key }) => key,
      (tagged, { value, ttlMs }) => setCommand(tagged, value, ttlMs),
    );
  }

  async remove(keys: readonly Buffer[]): Promise<void> {
    checkKeys(keys);
    await this.#eachNode(
      keys,
      (key) => key,
      (tagged) => commandBytes('UNLINK', tagged),
    );
  }

  async append(key: Buffer, record: Buffer, countMax: number, ttlMs: number): Promise<void> {
    checkAppend(key, record, countMax);
    const { tag, slot } = this.#partitionOf(key);
    const tagged = Buffer.concat([tag, key]);
    const owner = this.#nodes.ownerOf(slot);
    const first = await this.#finally(appendCommand('EVALSHA', tagged, record, countMax, ttlMs), owner);
    if (!(first instanceof Error)) return;
    if (!first.message.startsWith('NOSCRIPT')) throw owner.faultOf(first);
    const second = await this.#finally(appendCommand('EVAL', tagged, record, countMax, ttlMs), owner);
    if (second instanceof Error) throw owner.faultOf(second);
  }

  ready(): Promise<void> {
    return this.#nodes.ready();
  }

  close(): Promise<void> {
    this.#nodes.close();
    return Promise.resolve();
  }

  /** Keys of each partition together (a counting sort), one MGET for each, all in one write. */
  #send(connection: RedisConnection, read: NodeRead): void {
    const { keys, order } = read;
    const counts = this.#counts;
    const touched = this.#touched;
    const { length } = keys;
    const partitionAt = new Uint16Array(length);
    let groupCount = 0;
    let bytes = 0;
    for (let place = 0; place < length; place++) {
      const key = keys[place]!;
      const partition = entityHash(key) % counts.length;
      partitionAt[place] = partition;
      if (counts[partition]!++ === 0) touched[groupCount++] = partition;
      bytes += key.length + this.#partitions[partition]!.tag.length;
    }
    let next = 0;
    for (let group = 0; group < groupCount; group++) {
      const partition = touched[group]!;
      const count = counts[partition]!;
      counts[partition] = next;
      next += count;
    }
    for (let place = 0; place < length; place++) order[counts[partitionAt[place]!]!++] = place;
    const frame = new MgetFrame(groupCount, length, bytes);
    read.groupsLeft = groupCount;
    let first = 0;
    for (let group = 0; group < groupCount; group++) {
      const partition = touched[group]!;
      const { tag } = this.#partitions[partition]!;
      const end = counts[partition]!;
      counts[partition] = 0;
      frame.command(end - first);
      for (let index = first; index < end; index++) frame.taggedKey(tag, keys[order[index]!]!);
      connection.queue(new GroupCall(connection, this, read, first, end));
      first = end;
    }
    connection.flush(frame.finished());
  }

  /** A group of a read that its node could not answer, or sent elsewhere. */
  async reread(read: NodeRead, first: number, end: number, error: Error, said: RedisConnection): Promise<void> {
    try {
      read.take(await this.#elsewhere(read, first, end, error, said), first, end, said);
    } catch (cause) {
      read.reject(said.faultOf(cause as Error));
    }
  }

  async #elsewhere(read: NodeRead, first: number, end: number, error: Error, said: RedisConnection): Promise<unknown> {
    const keys = Array.from(read.order.subarray(first, end), (place) => read.keys[place]!);
    const { tag } = this.#partitionOf(keys[0]!);
    const tagged = keys.map((key) => Buffer.concat([tag, key]));
    const reply = await this.#nodes.follow(commandBytes('MGET', ...tagged), error, said);
    if (!(reply instanceof Error)) return reply;
    if (!reply.message.startsWith('TRYAGAIN')) throw reply;
    // While a slot moves, some of its keys are here and some there, and neither node reads them together: each for itself then.
    return Promise.all(tagged.map((key) => this.#readOne(key, said)));
  }

  async #readOne(tagged: Buffer, said: RedisConnection): Promise<unknown> {
    const reply = await this.#finally(commandBytes('GET', tagged), said);
    if (reply instanceof Error) throw said.faultOf(reply);
    return reply;
  }

  /** What a node, or whom it names, answers to one command. */
  async #finally(command: Buffer, connection: RedisConnection): Promise<unknown> {
    const [reply] = await connection.ask(command);
    return reply instanceof Error ? this.#nodes.follow(command, reply, connection) : reply;
  }

  #partitionOf(key: Buffer): Partition {
    return this.#partitions[entityHash(key) % this.#partitions.length]!;
  }

  async #eachNode<Item>(
    items: readonly Item[],
    keyOf: (item: Item) => Buffer,
    commandOf: (tagged: Buffer, item: Item) => Buffer,
  ): Promise<void> {
    if (this.#nodes.isClosed) throw new StoreError('STORE_CLOSED');
    const byOwner = new Map<RedisConnection, Buffer[]>();
    for (const item of items) {
      const key = keyOf(item);
      const { tag, slot } = this.#partitionOf(key);
      const owner = this.#nodes.ownerOf(slot);
      const command = commandOf(Buffer.concat([tag, key]), item);
      const commands = byOwner.get(owner);
      if (commands === undefined) byOwner.set(owner, [command]);
      else commands.push(command);
    }
    await Promise.all([...byOwner].map(([owner, commands]) => this.#tellAll(owner, commands)));
  }

  async #tellAll(owner: RedisConnection, commands: readonly Buffer[]): Promise<void> {
    for (let start = 0; start < commands.length; start += batchCountMax) {
      const batch = commands.slice(start, start + batchCountMax);
      const replies = await owner.ask(...batch);
      for (const [index, reply] of replies.entries()) {
        if (!(reply instanceof Error)) continue;
        const second = await this.#nodes.follow(batch[index]!, reply, owner);
        if (second instanceof Error) throw owner.faultOf(second);
      }
    }
  }
}

/** A read of one node: the values that have come, and how many groups have not. */
class NodeRead {
  readonly keys: readonly Buffer[];
  /** Places of the keys, those of one group together. */
  readonly order: Uint32Array;
  groupsLeft = 0;
  readonly #values: (Buffer | undefined)[] = [];
  readonly #resolve: (values: ReadValues) => void;
  readonly reject: (error: StoreError) => void;

  constructor(keys: readonly Buffer[], resolve: (values: ReadValues) => void, reject: (error: StoreError) => void) {
    this.keys = keys;
    this.order = new Uint32Array(keys.length);
    for (let place = 0; place < keys.length; place++) this.#values.push(undefined);
    this.#resolve = resolve;
    this.reject = reject;
  }

  take(reply: unknown, first: number, end: number, connection: RedisConnection): void {
    if (!Array.isArray(reply) || reply.length !== end - first) return this.reject(notValues(connection.name));
    for (let index = first; index < end; index++) {
      const value: unknown = reply[index - first];
      if (value instanceof Uint8Array) this.#values[this.order[index]!] = value as Buffer;
      else if (value !== null) return this.reject(notValues(connection.name));
    }
    if (--this.groupsLeft === 0) this.#resolve(this.#values);
  }
}

/** Waits for the reply to one MGET of a read. */
class GroupCall extends RedisCall {
  readonly #store: RedisClusterStore;
  readonly #read: NodeRead;
  readonly #first: number;
  readonly #end: number;

  constructor(connection: RedisConnection, store: RedisClusterStore, read: NodeRead, first: number, end: number) {
    super(connection);
    this.#store = store;
    this.#read = read;
    this.#first = first;
    this.#end = end;
  }

  take(reply: unknown): void {
    this.#read.take(reply, this.#first, this.#end, this.connection);
  }

  fail(error: Error): void {
    const { connection } = this;
    if (error.name === 'ReplyError') void this.#store.reread(this.#read, this.#first, this.#end, error, connection);
    else this.#read.reject(connection.faultOf(error));
  }
}
