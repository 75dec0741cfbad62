import { nodeName, type ServerNode } from './server-node.ts';
import { slotCount } from './redis-partitions.ts';

export type ClusterMaster = {
  readonly node: ServerNode;
  readonly replicas: readonly ServerNode[];
};

export type ClusterTopology = {
  /** By name, so that their numbers stay while the nodes do. */
  readonly masters: readonly ClusterMaster[];
  /** By slot, the number of its master; −1: nobody has it. */
  readonly owners: Int16Array;
};

/**
 * What a node answers to `CLUSTER SLOTS`: ranges as [first, last, master, replica…], a node as [host, port, id, …]. Undefined where
 * it is nothing of the kind. A node that does not know its own address leaves it empty: it is the one that was `asked`.
 */
export function clusterTopology(reply: unknown, asked: ServerNode): ClusterTopology | undefined {
  if (!Array.isArray(reply)) return undefined;
  const masters = new Map<string, ClusterMaster>();
  const ranges: { first: number; last: number; name: string }[] = [];
  for (const range of reply as unknown[]) {
    if (!Array.isArray(range)) return undefined;
    const [first, last, ...nodes] = range as unknown[];
    if (!isSlot(first) || !isSlot(last)) return undefined;
    const [node, ...replicas] = nodes.map((each) => clusterNode(each, asked));
    if (node === undefined || replicas.includes(undefined)) return undefined;
    const name = nodeName(node);
    if (!masters.has(name))
      masters.set(name, { node, replicas: byName(replicas.filter((each) => each !== undefined)) });
    ranges.push({ first, last, name });
  }
  const sorted = [...masters].toSorted(([left], [right]) => (left < right ? -1 : 1));
  const numbers = new Map(sorted.map(([name], number) => [name, number]));
  const owners = new Int16Array(slotCount).fill(-1);
  for (const { first, last, name } of ranges) owners.fill(numbers.get(name)!, first, last + 1);
  return { masters: sorted.map(([, master]) => master), owners };
}

/** `MOVED 3999 10.0.0.1:6381` and `ASK 3999 10.0.0.1:6381`: where to go; an empty host is that of the node that said so. */
export function redirection(
  message: string,
  said: ServerNode,
): { readonly kind: 'MOVED' | 'ASK'; readonly node: ServerNode } | undefined {
  const found = /^(MOVED|ASK) \d+ (.*):(\d+)$/u.exec(message);
  if (found === null) return undefined;
  const [, kind, host, port] = found;
  return { kind: kind as 'MOVED' | 'ASK', node: { host: host === '' ? said.host : host!, port: Number(port) } };
}

function clusterNode(value: unknown, asked: ServerNode): ServerNode | undefined {
  if (!Array.isArray(value)) return undefined;
  const [host, port] = value as unknown[];
  const text = host instanceof Uint8Array ? Buffer.from(host).toString() : '';
  if (typeof port !== 'number' || port < 1 || port > 65_535) return undefined;
  return { host: text === '' || text === '?' ? asked.host : text, port };
}

function byName(nodes: ServerNode[]): ServerNode[] {
  return nodes.toSorted((left, right) => (nodeName(left) < nodeName(right) ? -1 : 1));
}

function isSlot(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < slotCount;
}
