import { commandBytes } from './redis-commands.ts';
import { type ConnectionSettings, RedisConnection, sweepMs } from './redis-connection.ts';
import { clusterTopology, type ClusterTopology, redirection } from './redis-cluster-topology.ts';
import { nodeName, type ServerNode } from './server-node.ts';
import { StoreError } from './store-errors.ts';

/** Steps that one command is sent on; the servers themselves need two at most while a slot moves. */
const redirectionsMax = 5;
/** Redis itself advises against clusters of more. */
export const nodesMax = 1000;
/** While a master is away the cluster is asked this often who took its place. */
const lookWhileDownMs = 300;
const clusterSlots = commandBytes('CLUSTER', 'SLOTS');
const asking = commandBytes('ASKING');

/** One part of the slots: the connections of its master and of the replicas of that. */
export type ClusterShard = { readonly copies: readonly RedisConnection[] };

/** The connections to the nodes of a cluster, one each, and what the nodes say of who has which slots. */
export class RedisClusterNodes {
  /** Never empty: before anybody answered it is one shard with a seed, which owns nothing. */
  shards: readonly ClusterShard[];
  /** By slot, the number of its shard; −1: nobody has it. */
  owners: Int16Array;
  /** Called when `shards` or `owners` have changed. */
  changed: () => void = () => {};
  readonly #seeds: readonly ServerNode[];
  readonly #settings: ConnectionSettings;
  readonly #connections = new Map<string, RedisConnection>();
  /** Nodes that left the cluster, until what is under way there is answered. */
  readonly #leaving = new Set<RedisConnection>();
  readonly #sweeper: NodeJS.Timeout;
  #known: ClusterTopology | undefined;
  #looking: Promise<boolean> | undefined;
  #lookFirst = 0;
  #stale = true;
  #sweepsSinceLook = 0;
  #closed = false;

  constructor(seeds: readonly ServerNode[], settings: ConnectionSettings) {
    this.#seeds = seeds;
    this.#settings = settings;
    for (const seed of seeds) this.connectionTo(seed);
    this.owners = new Int16Array(0);
    this.shards = [{ copies: [this.#connections.get(nodeName(seeds[0]!))!] }];
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs).unref();
  }

  ownerOf(slot: number): RedisConnection {
    const owner = this.owners[slot] ?? -1;
    if (owner >= 0) return this.shards[owner]!.copies[0]!;
    if (this.#closed) throw new StoreError('STORE_CLOSED');
    this.#stale = true;
    const [first] = this.shards[0]!.copies;
    throw first!.obstacle(1) ?? new StoreError('STORE_FAULTY', `No node of the cluster has slot ${slot}.`);
  }

  /**
   * What the cluster finally answers to a command that `said` answered with this error: sent to where MOVED and ASK point. An error
   * that points nowhere is given back as it is.
   */
  async follow(command: Buffer, error: Error, said: RedisConnection): Promise<unknown> {
    let reply: unknown = error;
    let from = said;
    for (let step = 0; step < redirectionsMax && reply instanceof Error; step++) {
      const to = redirection(reply.message, from.node);
      if (to === undefined) {
        if (reply.message.startsWith('CLUSTERDOWN')) this.#stale = true;
        return reply;
      }
      from = this.connectionTo(to.node);
      await from.standing();
      if (to.kind === 'MOVED') {
        this.#lookAside(from);
        [reply] = await from.ask(command);
      } else {
        [, reply] = await from.ask(asking, command);
      }
    }
    return reply;
  }

  /** Resolves once some node has told where the slots are and every master answers. */
  async ready(): Promise<void> {
    if (this.#closed) throw new StoreError('STORE_CLOSED');
    if (this.#known === undefined || !this.#all().some((each) => each.isUp)) await this.#someNode();
    if (!(await this.#look())) throw new StoreError('STORE_FAULTY', `${this.#names()} do not say where the slots are.`);
    const missing = this.owners.indexOf(-1);
    if (missing >= 0) throw new StoreError('STORE_FAULTY', `No node of the cluster has slot ${missing}.`);
    await Promise.all(this.shards.map(({ copies }) => copies[0]!.ready()));
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#sweeper);
    for (const each of [...this.#connections.values(), ...this.#leaving]) each.close();
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  connectionTo(node: ServerNode): RedisConnection {
    const name = nodeName(node);
    let connection = this.#connections.get(name);
    if (connection === undefined) {
      // Only nonsense names that many: addresses come from the servers' answers.
      if (this.#connections.size >= nodesMax)
        throw new StoreError('STORE_FAULTY', `The cluster names more than ${nodesMax} nodes.`);
      connection = new RedisConnection(node, this.#settings);
      connection.changed = () => (this.#stale = true);
      this.#connections.set(name, connection);
      if (this.#closed) connection.close();
    }
    return connection;
  }

  async #someNode(): Promise<void> {
    const connections = this.#seeds.map((seed) => this.connectionTo(seed));
    try {
      await Promise.any(connections.map((each) => each.ready()));
    } catch (error) {
      // What the first one says; that the others do not answer either is in the names.
      const [first] = (error as AggregateError).errors as StoreError[];
      if (connections.length === 1) throw first!;
      throw new StoreError(first!.code, `None of ${this.#names()} answers; ${first!.message}`, { cause: error });
    }
  }

  /** Asks one node after another where the slots are, until one knows. One such round at a time. */
  #look(first?: RedisConnection): Promise<boolean> {
    this.#looking ??= this.#lookAround(first).finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #lookAround(first?: RedisConnection): Promise<boolean> {
    this.#stale = false;
    this.#sweepsSinceLook = 0;
    const all = this.#all();
    const start = this.#lookFirst++ % all.length;
    const order = [...(first === undefined ? [] : [first]), ...all.slice(start), ...all.slice(0, start)];
    for (const connection of order) {
      if (!connection.isUp) continue;
      const [reply] = await connection.ask(clusterSlots).catch((error: unknown) => [error]);
      const found = clusterTopology(reply, connection.node);
      if (found !== undefined && found.masters.length > 0) {
        this.#adopt(found);
        return true;
      }
      if (reply instanceof Error && !(reply instanceof StoreError) && this.#known === undefined)
        throw connection.faultOf(reply);
    }
    return false;
  }

  #adopt(found: ClusterTopology): void {
    if (this.#closed || isSame(found, this.#known)) return;
    this.#known = found;
    this.owners = found.owners;
    this.shards = found.masters.map(({ node, replicas }) => ({
      copies: [node, ...replicas].map((each) => this.connectionTo(each)),
    }));
    const used = new Set(this.shards.flatMap(({ copies }) => copies));
    for (const [name, connection] of this.#connections) {
      if (used.has(connection)) continue;
      this.#connections.delete(name);
      this.#leaving.add(connection);
    }
    this.changed();
  }

  #sweep(): void {
    for (const connection of this.#connections.values()) connection.sweep();
    for (const connection of this.#leaving) {
      connection.sweep();
      if (connection.inFlightCount > 0) continue;
      this.#leaving.delete(connection);
      connection.close();
    }
    const sinceMs = ++this.#sweepsSinceLook * sweepMs;
    const isDown = this.shards.some(({ copies }) => !copies[0]!.isUp);
    if (!this.#stale && sinceMs < this.#settings.limits.topologyMs && !(isDown && sinceMs >= lookWhileDownMs)) return;
    // Nobody that we know of is there: perhaps the seeds are.
    if (!this.#all().some((each) => each.isUp)) for (const seed of this.#seeds) this.connectionTo(seed);
    this.#lookAside();
  }

  /** A node that refuses to tell is told about by whoever reads there; here there is nobody to hear of it. */
  #lookAside(first?: RedisConnection): void {
    void this.#look(first).catch(() => false);
  }

  #all(): RedisConnection[] {
    return [...this.#connections.values()];
  }

  #names(): string {
    return this.#seeds.map(nodeName).join(', ');
  }
}

function isSame(left: ClusterTopology, right: ClusterTopology | undefined): boolean {
  return (
    right !== undefined &&
    JSON.stringify(left.masters) === JSON.stringify(right.masters) &&
    Buffer.from(left.owners.buffer).equals(Buffer.from(right.owners.buffer))
  );
}
