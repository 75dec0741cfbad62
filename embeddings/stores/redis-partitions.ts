import { finishedHash } from '../hash-finish.ts';
import { hashOfKey } from './key-hash.ts';

/** Slots of any Redis Cluster (Redis Cluster specification, "Key distribution model"). */
export const slotCount = 16_384;
export const partitionCountMax = 4096;
/** See "Decisions" in README.md: more partitions spread better over nodes, fewer make fewer commands. */
export const defaultPartitionCount = 64;

/** The prefix of a table ends with the first colon, if there is one here. */
const prefixBytesMax = 32;
const colon = 0x3a;

/**
 * What a key is spread by: the part behind the first colon, so that equal ids in different tables (`user_profile:`, `session:`) lie
 * together. Keys that go on with something else lie by that: vectors (`e:`) by tower and user, windows (`w:`) by a hash of the user.
 * Without a colon in the first 32 bytes: all of it.
 */
export function entityHash(key: Buffer): number {
  const { length } = key;
  let start = 0;
  for (let at = 0, end = Math.min(length, prefixBytesMax); at < end; at++) {
    if (key[at] === colon) {
      start = at + 1;
      break;
    }
  }
  return hashOfKey(key, start);
}

export type Partition = {
  /** `{` and `}` included; put before the key. Redis Cluster hashes only what is between the braces. */
  readonly tag: Buffer;
  readonly slot: number;
};

/**
 * The hash tags of all partitions. Partition p owns the slots from p/P to (p + 1)/P of all, and its tag is the first number, written
 * in base 36, whose slot lies in there: so partitions are spread over the nodes as evenly as slots are.
 */
export function partitionsOf(partitionCount: number): Partition[] {
  if (!Number.isInteger(partitionCount) || partitionCount < 1 || partitionCount > partitionCountMax) {
    throw new RangeError(`${partitionCount} partitions: 1 to ${partitionCountMax} are possible`);
  }
  const partitions = new Map<number, Partition>();
  for (let number = 0; partitions.size < partitionCount; number++) {
    const tag = number.toString(36);
    const slot = crc16(Buffer.from(tag)) % slotCount;
    const partition = Math.floor((slot * partitionCount) / slotCount);
    if (!partitions.has(partition)) partitions.set(partition, { tag: Buffer.from(`{${tag}}`), slot });
  }
  return Array.from({ length: partitionCount }, (_, partition) => partitions.get(partition)!);
}

/** CRC-16/XMODEM: polynomial 0x1021, nothing reflected, from 0 (Redis Cluster specification, appendix A). */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? (crc << 1) & 0xffff : ((crc << 1) ^ 0x1021) & 0xffff;
  }
  return crc;
}

/** Buckets that shards share: 16 for each of the 256 shards there can be. */
const bucketCount = 4096;

/**
 * Which named shard each bucket of hashes lies on, by the highest random weight (Thaler and Ravishankar 1998): one more shard
 * takes its share from all others, and nothing moves between those.
 */
export class ShardBuckets {
  readonly #shards = new Uint16Array(bucketCount);

  constructor(names: readonly string[]) {
    const seeds = names.map((name) => entityHash(Buffer.from(name)));
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      let heaviest = -1;
      for (const [shard, seed] of seeds.entries()) {
        const weight = finishedHash(seed ^ Math.imul(bucket + 1, 0x9e37_79b1)) >>> 0;
        if (weight <= heaviest) continue;
        heaviest = weight;
        this.#shards[bucket] = shard;
      }
    }
  }

  shardOf(key: Buffer): number {
    return this.#shards[entityHash(key) % bucketCount]!;
  }
}
