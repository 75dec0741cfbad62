import { expect, test } from 'vitest';
import { MemoryStore } from '#embeddings/stores/memory-store.ts';
import { keepsTheAppendingContract } from './appending-store.contract.ts';
import { keepsTheOrderedContract } from './ordered-store.contract.ts';
import { expectSame, keepsTheStoreContract, valuesOf } from './store.contract.ts';

const build = () => new MemoryStore({ now: Date.now });
keepsTheStoreContract('MemoryStore', build);
keepsTheAppendingContract('MemoryStore', build);
keepsTheOrderedContract('MemoryStore', build);

test('answers without a promise', () => {
  expect(new MemoryStore({ now: Date.now }).read(0, 0, [Buffer.from('k')])).toEqual([undefined]);
});

test('stays within its bytes and its count; what was not used for longest goes first', async () => {
  const store = new MemoryStore({ now: Date.now, bytesMax: 10_000, entryCountMax: 20 });
  const keys = Array.from({ length: 100 }, (_, index) => Buffer.from(`key ${index}`));
  for (const key of keys) {
    await store.write([{ key, value: Buffer.alloc(50) }]);
    await valuesOf(store, [keys[0]!]);
    expect(store.entryCount).toBeLessThanOrEqual(20);
    expect(store.bytes).toBeLessThanOrEqual(10_000);
  }
  const [first, second, last] = await valuesOf(store, [keys[0]!, keys[1]!, keys[99]!]);
  expect([first?.length, second, last?.length]).toEqual([50, undefined, 50]);
  for (const key of keys) await store.write([{ key, value: Buffer.alloc(3000) }]);
  expect(store.bytes).toBeLessThanOrEqual(10_000);
  expect(store.entryCount).toBe(3);
});

test('a clock that jumps back shows nothing that had expired before it is written anew', async () => {
  let nowMs = 1_000_000;
  const store = new MemoryStore({ now: () => nowMs });
  const key = Buffer.from('k');
  await store.write([{ key, value: Buffer.from('v'), ttlMs: 100 }]);
  nowMs += 99;
  expectSame(await valuesOf(store, [key]), [Buffer.from('v')]);
  nowMs += 1;
  expectSame(await valuesOf(store, [key]), [undefined]);
  nowMs -= 50;
  expectSame(await valuesOf(store, [key]), [undefined]);
});
