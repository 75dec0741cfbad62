import { join } from 'node:path';
import { openStore } from '#embeddings/stores/open-store.ts';
import { type AppendingStore, isAppending, type KeyValueStore } from '#embeddings/stores/store.ts';
import { StoreError } from '#embeddings/stores/store-errors.ts';
import { type Config, settings } from './config.ts';
import { monotonicNowMs } from './monotonic-clock.ts';
import type { UserStores } from './user-tables.ts';

/** What each store is for, and the setting that names it. */
const storeRoles = {
  realtime: 'storeRealtime',
  embeddings: 'storeEmbeddings',
  batch: 'storeBatch',
  history: 'storeHistory',
} as const satisfies Readonly<Record<keyof UserStores, keyof Config>>;
type StoreRole = keyof typeof storeRoles;
const roles = Object.keys(storeRoles) as StoreRole[];

/** The addresses that the settings name, each once. */
export function storeAddresses(config: Config): readonly string[] {
  return [...new Set(roles.map((role) => config[storeRoles[role]]))];
}

/** The stores of one thread. Roles with one address share one store, and so its connections. */
export type OpenStores = UserStores & {
  readonly realtime: AppendingStore;
  /** Each store once, with the settings that name it. */
  readonly each: readonly {
    readonly store: KeyValueStore;
    readonly address: string;
    readonly names: readonly string[];
  }[];
  close(): Promise<void>;
};

export type OpenStoresOptions = {
  /** This thread is the one that takes out of a local folder what has expired. Default false. */
  readonly sweeps?: boolean;
  /**
   * What `checkStores` has found to answer: local folders among it need no check of their own, others are opened behind, whenever that
   * succeeds. Left out: no check was made.
   */
  readonly answering?: ReadonlySet<string>;
};

/** Opens what the settings name, and asks nothing of it yet. Throws with every setting that cannot be used, by name. */
export async function openStores(
  config: Config,
  { sweeps = false, answering }: OpenStoresOptions = {},
): Promise<OpenStores> {
  const byAddress = new Map<string, { store: KeyValueStore; address: string; names: string[] }>();
  const problems: string[] = [];
  const found: Partial<Record<StoreRole, KeyValueStore>> = {};
  for (const role of roles) {
    const { env } = settings[storeRoles[role]];
    const address = config[storeRoles[role]];
    const known = byAddress.get(address);
    if (known !== undefined) {
      known.names.push(env);
      found[role] = known.store;
      continue;
    }
    try {
      const folder = join(config.dataDir, 'stores');
      const opening = answering === undefined ? 'after-walk' : answering.has(address) ? 'unwalked' : 'behind';
      const store = await openStore(address, { now: monotonicNowMs, folder, sweeps, opening });
      byAddress.set(address, { store, address, names: [env] });
      found[role] = store;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      problems.push(`${env}: ${error.message}`);
    }
  }
  const each = [...byAddress.values()];
  const close = async (): Promise<void> => {
    await Promise.all(each.map(({ store }) => store.close()));
  };
  const { realtime, embeddings, batch, history } = found;
  if (realtime !== undefined && !isAppending(realtime))
    problems.push(
      `${settings.storeRealtime.env}: a store of kind ${realtime.kind} cannot keep lists, which windows are`,
    );
  if (problems.length > 0 || embeddings === undefined || batch === undefined || history === undefined) {
    await close();
    throw new Error(`Unusable stores:\n${problems.join('\n')}`);
  }
  return { realtime: realtime as AppendingStore, embeddings, batch, history, each, close };
}

/**
 * Whether every store answers, before a port is opened. A store that does not is an error that names its setting; with
 * `GAVELIN_START_DEGRADED=yes` it is only told, and its requests are answered on the rungs below until it comes.
 * Returns the addresses that answer.
 */
export async function checkStores(config: Config, log: (line: string) => void): Promise<ReadonlySet<string>> {
  const stores = await openStores(config);
  try {
    const problems: string[] = [];
    const answering = new Set<string>();
    await Promise.all(
      stores.each.map(async ({ store, address, names }) => {
        try {
          await store.ready();
          answering.add(address);
        } catch (error) {
          if (!(error instanceof StoreError)) throw error;
          problems.push(`${names.join(', ')}: ${error.code} ${error.message}`);
        }
      }),
    );
    if (problems.length > 0 && config.startDegraded !== 'yes')
      throw new Error(
        `Stores do not answer (${settings.startDegraded.env}=yes starts without them):\n${problems.join('\n')}`,
      );
    for (const problem of problems) log(`starts degraded: ${problem}`);
    return answering;
  } finally {
    await stores.close();
  }
}
