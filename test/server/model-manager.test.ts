import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import type { Catalog } from '#auction/catalog.ts';
import { ModelTables } from '#inference/model-tables.ts';
import { ScoringPool } from '#inference/scoring-pool.ts';
import { loadOrCreateSigningKey, type Verifier, verifierOf } from '#inference/signing.ts';
import { keepNewest, ModelManager } from '#server/model-manager.ts';
import { makeSmallDemo, smallDemoFolder } from '../support/small-demo.ts';

let pool: ScoringPool;
let catalog: Catalog;
let verifier: Verifier;
let demo: Awaited<ReturnType<typeof makeSmallDemo>>;
const dataDir = mkdtempSync(join(tmpdir(), 'gavelin-models-'));
beforeAll(async () => {
  demo = await makeSmallDemo();
  verifier = verifierOf([loadOrCreateSigningKey(join(smallDemoFolder, 'signing-key.pem')).publicKey]);
  const read = readCatalogFile(demo.files.catalog);
  if (read.kind !== 'catalog') throw new Error('the demo catalog has problems');
  ({ catalog } = buildCatalog(read.spec));
  pool = await ScoringPool.start({ threadCount: 1, clientCount: 1, provider: 'cpu', onThreadDied: () => {} });
});
afterAll(async () => {
  await pool.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const manager = (usersPath: string): ModelManager =>
  new ModelManager({ dataDir, usersPath, verifier, catalog, pool, onProgress: () => {} });

describe('a bundle that cannot be made ready', () => {
  test('gives its towers back when the users file cannot be read', async () => {
    const close = vi.spyOn(ModelTables.prototype, 'close');
    await expect(manager(join(dataDir, 'nobody.jsonl')).prepare(demo.bundle, 1)).rejects.toThrow(/ENOENT/u);
    expect(close).toHaveBeenCalledTimes(1);
    close.mockRestore();
  });

  test('and leaves the slot to the next one', async () => {
    await expect(manager(join(dataDir, 'nobody.jsonl')).prepare(demo.bundle, 1)).rejects.toThrow(/ENOENT/u);
    const models = manager(demo.files.users);
    models.activated(await models.prepare(demo.bundle, 1));
    const second = await models.prepare(demo.bundle, 2);
    // Both slots are taken now: a third is refused, and its towers go.
    await expect(manager(demo.files.users).prepare(demo.bundle, 3)).rejects.toMatchObject({ code: 'MODEL_SLOT_BUSY' });
    await models.retire(second);
    const again = await models.prepare(demo.bundle, 4);
    expect(again.shared.model.slot).toBe(second.shared.model.slot);
    await models.retire(again);
    await models.retire(models.active);
  });
});

test('of the files of user vectors the last used ones stay, and none that is being made', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gavelin-vectors-'));
  const nowMs = 10_000_000_000;
  const put = (name: string, ageMs: number): void => {
    writeFileSync(join(folder, name), '');
    utimesSync(join(folder, name), (nowMs - ageMs) / 1000, (nowMs - ageMs) / 1000);
  };
  put('user-vectors-a-1.f32', 4000);
  put('user-vectors-b-1.f32', 1000);
  put('user-vectors-c-1.f32', 3000);
  put('user-vectors-d-1.f32.making-7', 5000);
  put('user-vectors-e-1.f32.making-8', 7_200_000);
  put('else.txt', 9_000_000);
  keepNewest(folder, 2, nowMs);
  expect(readdirSync(folder).toSorted()).toEqual([
    'else.txt',
    'user-vectors-b-1.f32',
    'user-vectors-c-1.f32',
    'user-vectors-d-1.f32.making-7',
  ]);
  rmSync(folder, { recursive: true });
});
