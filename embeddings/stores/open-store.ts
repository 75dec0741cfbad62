import { StoreError } from './store-errors.ts';
import { storeAddress } from './store-address.ts';
import type { LmdbOpeningMode } from './lmdb-opening.ts';
import type { KeyValueStore } from './store.ts';

export type OpenStoreOptions = {
  /** Epoch ms, monotone. */
  readonly now: () => number;
  /** Where `local:` without a path lies. */
  readonly folder?: string;
  /** One thread of all that open the same folder takes out what has expired. Default false. */
  readonly sweeps?: boolean;
  /** Of a folder: see lmdb-opening.ts. Default `after-walk`. */
  readonly opening?: LmdbOpeningMode;
};

/**
 * The store that a setting names (store-address.ts). It connects by itself; ask `ready` to know whether it could. Only the client that is
 * needed is loaded: Bigtable's alone takes half a second.
 */
export async function openStore(
  text: string,
  { now, folder, sweeps = false, opening = 'after-walk' }: OpenStoreOptions,
): Promise<KeyValueStore> {
  const address = storeAddress(text);
  switch (address.kind) {
    case 'memory': {
      const { MemoryStore } = await import('./memory-store.ts');
      return new MemoryStore({ ...address, now });
    }
    case 'lmdb': {
      const path = address.path ?? folder;
      if (path === undefined) throw new StoreError('STORE_ADDRESS_INVALID', 'local: names no folder.');
      const { LmdbStore } = await import('./lmdb-store.ts');
      return new LmdbStore({ ...address, path, now, sweeps, opening });
    }
    case 'redis': {
      const { RedisStore } = await import('./redis-store.ts');
      return new RedisStore(address);
    }
    case 'redis-cluster': {
      const { RedisClusterStore } = await import('./redis-cluster-store.ts');
      return new RedisClusterStore(address);
    }
    case 'memcached': {
      const { MemcachedStore } = await import('./memcached-store.ts');
      return new MemcachedStore({ ...address, now });
    }
    case 'bigtable': {
      const { BigtableStore } = await import('./bigtable-store.ts');
      return new BigtableStore({ ...address, now });
    }
  }
}
