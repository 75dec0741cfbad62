import { hashOfKey } from './key-hash.ts';

export type RingServer = {
  /** Where it lies on the ring depends on this alone. */
  readonly name: string;
  /** Share of the keys, relative to the others; default 1. */
  readonly weight?: number;
};

/** Places on the ring for a weight of 1: with 160 the fullest of ten servers holds some 10 % more than its share. */
const placesPerWeight = 160;

/**
 * Consistent hashing (Karger et al., "Consistent hashing and random trees", 1997): each server takes many places of a ring of 2^32, a key
 * belongs to the next place. A server more takes its share of keys from all others, and no key changes between the others.
 */
export class MemcachedRing {
  /** Ascending; `#owners` has the server's index at the same place. */
  readonly #places: Uint32Array;
  readonly #owners: Uint16Array;
  /** By server: which one comes next in the order of the servers' own hashes: where its copies go. */
  readonly #next: Uint16Array;

  constructor(servers: readonly RingServer[]) {
    const points = servers.flatMap(({ name, weight = 1 }, owner) =>
      Array.from({ length: Math.max(1, Math.round(placesPerWeight * weight)) }, (_, index) => ({
        place: hashOfKey(Buffer.from(`${name}#${index}`)),
        owner,
      })),
    );
    // Two servers at one place: the name decides, so that the order in which they are listed does not.
    points.sort((left, right) => left.place - right.place || byName(servers, left.owner, right.owner));
    this.#places = Uint32Array.from(points, ({ place }) => place);
    this.#owners = Uint16Array.from(points, ({ owner }) => owner);
    const circle = [...servers.keys()].toSorted(
      (left, right) =>
        hashOfKey(Buffer.from(servers[left]!.name)) - hashOfKey(Buffer.from(servers[right]!.name)) ||
        byName(servers, left, right),
    );
    this.#next = new Uint16Array(servers.length);
    for (const [index, server] of circle.entries()) this.#next[server] = circle[(index + 1) % circle.length]!;
  }

  serverOf(key: Buffer): number {
    const places = this.#places;
    const hash = hashOfKey(key);
    let low = 0;
    let high = places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (places[middle]! < hash) low = middle + 1;
      else high = middle;
    }
    return this.#owners[low === places.length ? 0 : low]!;
  }

  /** The server that holds this copy of what belongs to `server`; copy 0 is itself. */
  copyOf(server: number, copy: number): number {
    let holder = server;
    for (let step = 0; step < copy; step++) holder = this.#next[holder]!;
    return holder;
  }
}

function byName(servers: readonly RingServer[], left: number, right: number): number {
  return servers[left]!.name < servers[right]!.name ? -1 : 1;
}
