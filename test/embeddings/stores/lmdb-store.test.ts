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

const build = () => new LmdbStore({ path: folder, now: Date.now });
keepsTheStoreContract('LmdbStore', build);
keepsTheAppendingContract('LmdbStore', build);
keepsTheOrderedContract('LmdbStore', build);
const withoutMemory = () => new LmdbStore({ path: folder, now: Date.now, memoryBytesMax: 0 });
keepsTheStoreContract('LmdbStore without memory', withoutMemory);
