import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadImpressionSet, saveImpressionSet } from '#training-bridge/impression-set-file.ts';
import type { ImpressionSet } from '#training-bridge/impression-set.ts';

const folder = mkdtempSync(join(tmpdir(), 'gavelin-impressions-'));
const path = join(folder, 'set.bin');
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function smallSet(): ImpressionSet {
  return {
    schema: {
      version: 1,
      user: [
        { name: 'user', size: 3, width: 1, vocabulary: ['ü1', 'u2'] },
        { name: 'segment', size: 5, width: 2 },
      ],
      ad: [{ name: 'ad', size: 3, width: 1, vocabulary: ['a', 'b'] }],
      context: [
        { name: 'site', size: 4, width: 1 },
        { name: 'topic', size: 9, width: 2 },
      ],
      cross: ['one'],
    },
    rowCount: 3,
    users: { ids: ['', 'ü1', 'u2'], values: [Uint32Array.of(0, 1, 2), Uint32Array.of(0, 0, 4, 3, 1, 0)] },
    ads: { ids: ['', 'a', 'b'], values: [Uint32Array.of(0, 1, 2)] },
    userIndex: Uint32Array.of(0, 2, 1),
    adIndex: Uint32Array.of(1, 1, 2),
    contextIds: Uint32Array.of(3, 8, 0, 0, 1, 2, 1, 0, 0),
    views: Uint8Array.of(0, 3, 255),
    timeMs: Float64Array.of(1_772_000_000_000, 1_772_000_000_000, 1_772_000_000_001.5),
    click: Uint8Array.of(0, 1, 1),
    conversion: Uint8Array.of(0, 0, 1),
    weight: Float32Array.of(1, 0.25, 0),
  };
}

let whole: Buffer;
beforeAll(async () => {
  await saveImpressionSet(path, smallSet());
  whole = readFileSync(path);
});

test('a set comes back as it was, and no half-written file lies beside it', async () => {
  expect(await loadImpressionSet(path)).toEqual(smallSet());
  expect(readdirSync(folder)).toEqual(['set.bin']);
});

test('a file that lost its end, or gained something, is refused', async () => {
  const other = join(folder, 'cut.bin');
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(other, whole.subarray(0, length));
    await expect(loadImpressionSet(other), `${length} bytes`).rejects.toMatchObject({ code: 'IMPRESSIONS_DAMAGED' });
  }
  writeFileSync(other, Buffer.concat([whole, Buffer.of(0)]));
  await expect(loadImpressionSet(other)).rejects.toMatchObject({ code: 'IMPRESSIONS_DAMAGED' });
});

test('a file with any one bit turned is refused', async () => {
  const other = join(folder, 'turned.bin');
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: whole.length * 8 - 1 }), async (bit) => {
      const bytes = Buffer.from(whole);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      writeFileSync(other, bytes);
      await expect(loadImpressionSet(other)).rejects.toMatchObject({
        code: expect.stringMatching(/^IMPRESSIONS_(DAMAGED|VERSION)$/u) as string,
      });
    }),
    { numRuns: 300 },
  );
});

test('a missing file and a folder that is not there are named', async () => {
  const nowhere = join(folder, 'no/such/file.bin');
  await expect(loadImpressionSet(nowhere)).rejects.toMatchObject({ code: 'IMPRESSIONS_UNREADABLE' });
  await expect(saveImpressionSet(nowhere, smallSet())).rejects.toThrow(nowhere);
});

type Spoil = (set: ImpressionSet) => Partial<ImpressionSet>;
const mistakes: readonly (readonly [string, Spoil])[] = [
  ['userIndex', () => ({ userIndex: Uint32Array.of(3, 2, 1) })],
  ['adIndex', () => ({ adIndex: Uint32Array.of(1, 1, 3) })],
  ['contextIds', () => ({ contextIds: Uint32Array.of(3, 8, 0, 4, 1, 2, 1, 0, 0) })],
  ['users.segment', ({ users }) => ({ users: { ...users, values: [users.values[0]!, new Uint32Array(6).fill(5)] } })],
  ['click', () => ({ click: Uint8Array.of(2, 1, 1) })],
  ['conversion', () => ({ conversion: Uint8Array.of(1, 0, 0) })],
  ['weight', () => ({ weight: Float32Array.of(1, Number.NaN, 1) })],
  ['timeMs', () => ({ timeMs: Float64Array.of(2, 3, 1) })],
  [
    'site',
    ({ schema }) => ({
      schema: { ...schema, context: [{ ...schema.context[0]!, vocabulary: ['x'] }, schema.context[1]!] },
    }),
  ],
];

test.each(mistakes)('a set whose column %s makes no sense is refused, and the column is named', async (name, spoil) => {
  const set = smallSet();
  const spoilt = { ...set, ...spoil(set) };
  const other = join(folder, 'spoilt.bin');
  await saveImpressionSet(other, spoilt);
  await expect(loadImpressionSet(other)).rejects.toMatchObject({
    code: 'IMPRESSIONS_INCONSISTENT',
    message: expect.stringContaining(name) as string,
  });
});
