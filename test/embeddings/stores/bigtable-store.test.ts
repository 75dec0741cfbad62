import { afterAll, beforeAll, describe } from 'vitest';
import { createBigtableTable } from '#embeddings/stores/bigtable-client.ts';
import { BigtableStore } from '#embeddings/stores/bigtable-store.ts';
import { type BigtableEmulator, startBigtable } from '../../services/bigtable.ts';
import { bigtableEmulatorPath } from '../../support/services.ts';
import { keepsTheOrderedContract } from './ordered-store.contract.ts';
import { keepsTheStoreContract } from './store.contract.ts';

const command = bigtableEmulatorPath();

describe.skipIf(command === undefined)('Bigtable', () => {
  let emulator: BigtableEmulator;
  const address = () => ({ project: 'p', instance: 'i', table: 'features', endpoint: emulator.endpoint });
  beforeAll(async () => {
    emulator = await startBigtable(command!);
    await createBigtableTable(address());
  });
  afterAll(() => emulator.end());

  const build = () => new BigtableStore({ ...address(), now: Date.now, limits: { answerMs: 20_000 } });
  keepsTheStoreContract('BigtableStore', build);
  keepsTheOrderedContract('BigtableStore', build);
});
