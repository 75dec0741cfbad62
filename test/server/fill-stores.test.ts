import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MemoryStore } from '#embeddings/stores/memory-store.ts';
import { conditionOf, envelopeBytes, writtenMsOf } from '#embeddings/stores/stored-value.ts';
import { decodeUserProfile, userProfileVersion } from '#embeddings/users/user-profile.ts';
import { UserEmbeddingRows, userEmbeddingVersion } from '#embeddings/users/user-embedding-row.ts';
import type { Bundle } from '#inference/bundle.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { fillStores } from '#server/fill-stores.ts';
import { userTablePrefixes } from '#server/user-tables.ts';
import { makeSmallDemo } from '../support/small-demo.ts';

const nowMs = 1_900_000_000_000;
let folder: string;
let bundle: Bundle;
let lines: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gavelin-fill-'));
  const demo = await makeSmallDemo();
  bundle = await readBundle(demo.bundle, 'any');
  lines = readFileSync(demo.files.users, 'utf8').split('\n').slice(0, 5000);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function world(users: readonly string[], isOneStore = false) {
  const path = join(folder, 'users.jsonl');
  writeFileSync(path, users.join('\n'));
  const make = (): MemoryStore => new MemoryStore({ now: () => nowMs });
  const batch = make();
  const stores = isOneStore
    ? { batch, embeddings: batch, history: batch }
    : { batch, embeddings: make(), history: make() };
  const fill = (skipCount = 0, from = bundle) =>
    fillStores({ usersPath: path, bundle: from, stores, skipCount, nowMs: () => nowMs, onProgress: () => {} });
  return { stores, fill };
}

test('every user has a profile in batch store and history, and a vector under the tower', async () => {
  const { stores, fill } = world(lines);
  expect(await fill()).toEqual({ users: 5000, profiles: 10_000, embeddings: 5000 });
  expect([stores.batch.entryCount, stores.history.entryCount, stores.embeddings.entryCount]).toEqual([
    5000, 5000, 5000,
  ]);
  const { id, age, gender, segments } = JSON.parse(lines[4321]!) as Record<string, unknown>;
  for (const store of [stores.batch, stores.history]) {
    const [value] = store.read(0, 0, [Buffer.from(`${userTablePrefixes.profile}${String(id)}`)]);
    expect([conditionOf(value!, userProfileVersion), writtenMsOf(value!)]).toEqual(['VALID', nowMs]);
    expect(decodeUserProfile(value!.subarray(envelopeBytes))).toEqual({ age, gender, segments });
  }
  const rows = new UserEmbeddingRows(bundle.towerVersion, bundle.userScale!);
  const key = Buffer.concat([Buffer.from(userTablePrefixes.embedding), rows.keyOf(String(id))]);
  const [row] = stores.embeddings.read(0, 0, [key]);
  expect(conditionOf(row!, userEmbeddingVersion, rows.payloadBytes)).toBe('VALID');
});

test('users that every process has anyway are left out, and one store for all gets everything once', async () => {
  const { stores, fill } = world(lines, true);
  expect(await fill(4900)).toEqual({ users: 5000, profiles: 100, embeddings: 100 });
  expect(stores.batch.entryCount).toBe(200);
});

test.each([
  ['not JSON', '{"id":'],
  ['a word of 256 bytes', JSON.stringify({ id: 'long', age: 'x'.repeat(256) })],
  ['201 segments', JSON.stringify({ id: 'many', segments: Array.from({ length: 201 }, () => 's') })],
])('a bad line (%s) at the very end changes nothing', async (_, line) => {
  const { stores, fill } = world([...lines, line]);
  await expect(fill()).rejects.toThrow(/1 bad lines:\nline 5001/u);
  expect(stores.batch.entryCount).toBe(0);
});

test('a bundle that does not say the scale of its vectors is refused', async () => {
  const { userScale: _, ...without } = bundle;
  await expect(world(lines).fill(0, without)).rejects.toThrow(/no scale/u);
});
