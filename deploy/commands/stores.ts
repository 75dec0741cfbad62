import { join } from 'node:path';
import { storeAddress } from '#embeddings/stores/store-address.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { type Config, readConfig, settings } from '#server/config.ts';
import { fillStores } from '#server/fill-stores.ts';
import { monotonicNowMs } from '#server/monotonic-clock.ts';
import { checkStores, openStores, storeAddresses } from '#server/pod-stores.ts';
import { trustedVerifier } from '#server/trusted-bundles.ts';
import { ProgressLine } from '../progress.ts';

const usage = `gavelin stores check | fill | create-tables

  create-tables
         makes the Bigtable tables that the settings name, where they are missing
  check  asks every store that the settings name (GAVELIN_STORE_…) whether it answers
  fill   puts the profiles of GAVELIN_USERS_FILE and their vectors under the tower of GAVELIN_BUNDLE_DIR into the stores;
         the first GAVELIN_HOT_USERS_MAX users are in every process anyway and are left out: --all puts them in too
`;

/** `gavelin stores`: the stores that the settings name, from outside a server. */
export async function runStores(
  words: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const config = readConfig(env);
  switch (words[0]) {
    case 'check':
      await checkStores({ ...config, startDegraded: 'no' }, () => {});
      process.stdout.write('Every store answers.\n');
      return 0;
    case 'create-tables':
      return createTables(config);
    case 'fill':
      return fill(config, words.includes('--all'));
    case undefined:
    default:
      process.stderr.write(usage);
      return 2;
  }
}

async function createTables(config: Config): Promise<number> {
  let count = 0;
  for (const text of storeAddresses(config)) {
    const address = storeAddress(text);
    if (address.kind !== 'bigtable') continue;
    const { createBigtableTable } = await import('#embeddings/stores/bigtable-client.ts');
    await createBigtableTable(address);
    process.stdout.write(`${address.project}/${address.instance}/${address.table} is there.\n`);
    count++;
  }
  if (count === 0) process.stdout.write('No setting names a Bigtable table.\n');
  return 0;
}

async function fill(config: Config, isAll: boolean): Promise<number> {
  if (config.usersFile === '' || config.bundleDir === '')
    throw new Error(`${settings.usersFile.env} and ${settings.bundleDir.env} must be set.`);
  const answering = await checkStores({ ...config, startDegraded: 'no' }, () => {});
  const bundle = await readBundle(config.bundleDir, trustedVerifier(config, join(config.dataDir, 'signing-key.pem')));
  const stores = await openStores(config, { answering });
  const progress = new ProgressLine(process.stderr, () => performance.now());
  try {
    const { users, profiles, embeddings } = await fillStores({
      usersPath: config.usersFile,
      bundle,
      stores,
      skipCount: isAll ? 0 : config.hotUsersMax,
      nowMs: monotonicNowMs,
      onProgress: (done, total, what) => progress.update(done, total, what),
    });
    process.stdout.write(`${users} users in the file; ${profiles} profiles and ${embeddings} vectors written\n`);
  } finally {
    await stores.close();
  }
  return 0;
}
