import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteRing } from '#training-bridge/byte-ring.ts';

const capacity = 1024;

/** A record of `words` words whose first holds its length and all others its number. */
function write(ring: ByteRing, number: number, words: number): boolean {
  const length = words * 4;
  const at = ring.reserve(length);
  if (at < 0) return false;
  const view = new DataView(ring.bytes.buffer, ring.bytes.byteOffset + at, length);
  view.setUint32(0, length, true);
  for (let word = 1; word < words; word++) view.setUint32(word * 4, number, true);
  ring.commit(length);
  return true;
}

function read(ring: ByteRing, room: number): { number: number; words: number }[] {
  const target = new Uint8Array(room);
  const taken = { bytes: 0, records: 0 };
  ring.take(ring.head, target, 0, taken);
  const records: { number: number; words: number }[] = [];
  const view = new DataView(target.buffer);
  for (let at = 0; at < taken.bytes;) {
    const words = view.getUint32(at, true) / 4;
    for (let word = 1; word < words; word++)
      expect(view.getUint32(at + word * 4, true)).toBe(view.getUint32(at + 4, true));
    records.push({ number: view.getUint32(at + 4, true), words });
    at += words * 4;
  }
  expect(records.length).toBe(taken.records);
  return records;
}

test('whatever goes in comes out whole and in order, around the end and over gaps', () => {
  const step = fc.oneof(
    fc.record({ write: fc.integer({ min: 2, max: 100 }) }),
    fc.record({ read: fc.integer({ min: 400, max: capacity }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const ring = new ByteRing(ByteRing.allocate(capacity));
      const expected: { number: number; words: number }[] = [];
      const got: { number: number; words: number }[] = [];
      for (const [number, each] of steps.entries()) {
        if ('read' in each) got.push(...read(ring, each.read));
        else if (write(ring, number, each.write)) expected.push({ number, words: each.write });
        expect(ring.usedBytes).toBeLessThanOrEqual(capacity);
      }
      while (ring.usedBytes > 0) got.push(...read(ring, capacity));
      expect(got).toEqual(expected);
    }),
  );
});

test('a full ring says no and keeps what it has; room comes back with reading', () => {
  const ring = new ByteRing(ByteRing.allocate(capacity));
  let count = 0;
  while (write(ring, count, 16)) count++;
  expect(count).toBe(capacity / 64);
  expect(read(ring, capacity).map(({ number }) => number)).toEqual(Array.from({ length: count }, (_, index) => index));
  expect(write(ring, 99, 16)).toBe(true);
});

test('positions run on behind 2^32', () => {
  const shared = ByteRing.allocate(capacity);
  // Just before the counters wrap, at the beginning of the ring.
  new Int32Array(shared, 0, 32).fill(-2 * capacity);
  const ring = new ByteRing(shared);
  for (let number = 0; number < 200; number++) {
    expect(write(ring, number, 30)).toBe(true);
    expect(read(ring, capacity)).toEqual([{ number, words: 30 }]);
  }
});

test('what was reserved and not committed is not there', () => {
  const ring = new ByteRing(ByteRing.allocate(capacity));
  expect(ring.reserve(64)).toBe(0);
  expect(read(ring, capacity)).toEqual([]);
  expect(write(ring, 1, 4)).toBe(true);
  expect(read(ring, capacity)).toEqual([{ number: 1, words: 4 }]);
});

test('records can be dropped unread', () => {
  const ring = new ByteRing(ByteRing.allocate(capacity));
  for (let number = 0; number < 5; number++) write(ring, number, 10);
  const taken = { bytes: 0, records: 0 };
  ring.take(ring.head, undefined, 0, taken);
  expect(taken).toEqual({ bytes: 200, records: 5 });
  expect(ring.usedBytes).toBe(0);
});

test('a capacity that is no power of two is refused', () => {
  for (const bytes of [0, 512, 1000, 3000]) expect(() => ByteRing.allocate(bytes)).toThrow('power of two');
});
