import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { LmdbStore } from '#embeddings/stores/lmdb-store.ts';
import { keepsTheAppendingContract } from './appending-store.contract.ts';
import { keepsTheOrderedContract } from './ordered-store.contract.ts';
import { keepsTheStoreContract } from './store.contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'gavelin-lmdb-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// A machine that has a second's work waiting is no fault of the store's.
const limits = { readMsMax: 20_000, closeMsMax: 20_000 };
const build = () => new LmdbStore({ path: folder, now: Date.now, limits });
keepsTheStoreContract('LmdbStore', build);
keepsTheAppendingContract('LmdbStore', build);
keepsTheOrderedContract('LmdbStore', build);
const withoutMemory = () => new LmdbStore({ path: folder, now: Date.now, memoryBytesMax: 0, limits });
keepsTheStoreContract('LmdbStore without memory', withoutMemory);
