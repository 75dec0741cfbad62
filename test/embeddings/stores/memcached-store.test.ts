import { afterAll, beforeAll, describe } from 'vitest';
import { MemcachedStore } from '#embeddings/stores/memcached-store.ts';
import { type MemcachedProcess, startMemcached } from '../../services/memcached.ts';
import { memcachedPath } from '../../support/services.ts';
import { keepsTheStoreContract } from './store.contract.ts';

const command = memcachedPath();
// A machine that has a second's work waiting is no fault of the store's.
const limits = { connectMs: 20_000, answerMs: 20_000, silenceMs: 30_000 };

describe.skipIf(command === undefined)('Memcached', () => {
  let servers: MemcachedProcess[] = [];
  beforeAll(async () => {
    servers = await Promise.all([1, 2, 3].map(() => startMemcached(command!)));
  });
  afterAll(() => Promise.all(servers.map((each) => each.end())));

  keepsTheStoreContract('MemcachedStore', () => new MemcachedStore({ servers, now: Date.now, limits }));
  keepsTheStoreContract(
    'MemcachedStore with two copies',
    () => new MemcachedStore({ servers, copyCount: 2, now: Date.now, limits }),
  );
});
