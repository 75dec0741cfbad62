import { hashOfKey } from './key-hash.ts';

/**
 * Row keys: one byte of salt, then the key as it is. The salt is a hash of the key up to its first zero byte (all of it, where it has none),
 * mod 16: keys that count upwards spread over 16 parts of the table instead of filling its end, and all that begins with an entity and a
 * zero byte (its history) lies together, read by one range.
 */
export const saltCount = 16;

/** Two column families, so that expiry is the table's own affair: cells of `t` carry the time they expire and are collected after it. */
export const families = { kept: 'k', timed: 't' } as const;
export const qualifier = 'v';

export function rowKeyOf(key: Buffer): Buffer {
  const end = key.indexOf(0);
  return salted(saltOf(end < 0 ? key : key.subarray(0, end)), key);
}

/** The salts under which keys with this prefix lie: one when the prefix has a zero byte, else any. */
export function saltsOf(prefix: Buffer): readonly number[] {
  const end = prefix.indexOf(0);
  return end < 0 ? Array.from({ length: saltCount }, (_, salt) => salt) : [saltOf(prefix.subarray(0, end))];
}

export function salted(salt: number, key: Buffer): Buffer {
  const row = Buffer.allocUnsafe(key.length + 1);
  row[0] = salt;
  key.copy(row, 1);
  return row;
}

export function keyOfRow(row: Buffer): Buffer {
  return row.subarray(1);
}

function saltOf(locality: Buffer): number {
  return hashOfKey(locality) % saltCount;
}
