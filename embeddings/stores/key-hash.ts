import { finishedHash } from '../hash-finish.ts';

/**
 * 32 bits of a key's bytes from `start` on: murmur3's mixing (Appleby, MurmurHash3_x86_32, seed 0), four bytes at a step. Where keys
 * lie in Redis, Memcached and Bigtable depends on it, so it never changes.
 */
export function hashOfKey(key: Buffer, start = 0): number {
  const { length } = key;
  let hash = 0;
  const whole = start + ((length - start) & ~3);
  let at = start;
  for (; at < whole; at += 4)
    hash = mixed(hash, key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24));
  if (at < length) {
    let tail = key[at]!;
    if (at + 1 < length) tail |= key[at + 1]! << 8;
    if (at + 2 < length) tail |= key[at + 2]! << 16;
    hash ^= scrambled(tail);
  }
  hash ^= length - start;
  return finishedHash(hash ^ (hash >>> 16)) >>> 0;
}

function scrambled(word: number): number {
  const product = Math.imul(word, 0xcc9e_2d51);
  return Math.imul((product << 15) | (product >>> 17), 0x1b87_3593);
}

function mixed(hash: number, word: number): number {
  const next = hash ^ scrambled(word);
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe654_6b64) | 0;
}
