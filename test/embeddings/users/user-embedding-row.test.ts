import { expect, test } from 'vitest';
import { conditionOf, envelopeBytes, storedValue } from '#embeddings/stores/stored-value.ts';
import { fitScale } from '#embeddings/quantisation.ts';
import { userEmbeddingVersion, UserEmbeddingRows } from '#embeddings/users/user-embedding-row.ts';

const rows = Float32Array.of(0, -1, 255, 1, 100, 0.5);
const users = new UserEmbeddingRows('a1b2c3d4e5f60718-and-more', fitScale(rows, 2));

test('a vector survives the store: one byte a number, in its envelope', () => {
  const payload = users.encode(rows.subarray(4, 6));
  expect(payload.length).toBe(users.payloadBytes);
  const value = storedValue(payload, userEmbeddingVersion, 1);
  expect(conditionOf(value, userEmbeddingVersion, users.payloadBytes)).toBe('VALID');
  const target = new Float32Array(2);
  expect(users.decodeInto(target, value.subarray(envelopeBytes))).toBe(true);
  expect(target[0]).toBe(100);
  expect(target[1]).toBeCloseTo(0.5, 2);
});

test('a payload of another length is no row, and leaves the target alone', () => {
  const target = Float32Array.of(8, 8);
  for (const length of [0, 1, 3, 200]) expect(users.decodeInto(target, Buffer.alloc(length))).toBe(false);
  expect([...target]).toEqual([8, 8]);
});

test('towers, scales and users are told apart by the key', () => {
  const sameTower = new UserEmbeddingRows('a1b2c3d4e5f60718-and-more', fitScale(Float32Array.of(0, -1, 255, 2), 2));
  const otherTower = new UserEmbeddingRows('b1b2c3d4e5f60718-and-more', users.scale);
  const keys = [users, sameTower, otherTower].flatMap((each) =>
    ['u1', 'u2'].map((key) => each.keyOf(key).toString('hex')),
  );
  expect(new Set(keys).size).toBe(6);
  expect(new UserEmbeddingRows('a1b2c3d4e5f60718', users.scale).keyOf('ü').equals(users.keyOf('ü'))).toBe(true);
});

test('what is no vector is refused', () => {
  expect(() => users.encode(Float32Array.of(1))).toThrow(expect.objectContaining({ code: 'SIZE_MISMATCH' }) as Error);
  expect(() => users.encode(Float32Array.of(1, Number.NaN))).toThrow(
    expect.objectContaining({ code: 'VALUE_NOT_FINITE' }) as Error,
  );
});
