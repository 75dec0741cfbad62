import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import type { Catalog } from '#auction/catalog.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { fitScale } from '#embeddings/quantisation.ts';
import { SharedUserTable } from '#embeddings/shared-user-table.ts';
import { readBundle } from '#inference/bundle-read.ts';
import { writeBundle } from '#inference/bundle-write.ts';
import { ModelTables } from '#inference/model-tables.ts';
import { ScoringPool } from '#inference/scoring-pool.ts';
import { loadOrCreateSigningKey, type Signer, type Verifier, verifierOf } from '#inference/signing.ts';
import { type ActiveModel, keepNewest, ModelManager } from '#server/model-manager.ts';
import { newLineItemFile } from '../support/new-line-item.ts';
import { makeSmallDemo, smallDemoFolder } from '../support/small-demo.ts';
import { smallTrainedModel } from '../support/small-model.ts';

let pool: ScoringPool;
let catalog: Catalog;
let writer: CatalogWriter;
let signer: Signer;
let verifier: Verifier;
let demo: Awaited<ReturnType<typeof makeSmallDemo>>;
const dataDir = mkdtempSync(join(tmpdir(), 'gavelin-models-'));
beforeAll(async () => {
  demo = await makeSmallDemo();
  signer = loadOrCreateSigningKey(join(smallDemoFolder, 'signing-key.pem'));
  verifier = verifierOf([signer.publicKey]);
  const read = readCatalogFile(demo.files.catalog);
  if (read.kind !== 'catalog') throw new Error('the demo catalog has problems');
  writer = buildCatalog(read.spec);
  ({ catalog } = writer);
  pool = await ScoringPool.start({ threadCount: 1, clientCount: 1, provider: 'cpu', onThreadDied: () => {} });
});
afterAll(async () => {
  await pool.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const faults: string[] = [];
const manager = (usersPath: string, hotUsersFormat: 'float32' | 'int8' = 'float32'): ModelManager =>
  new ModelManager({
    dataDir,
    usersPath,
    hotUsersMax: 1_000_000,
    hotUsersFormat,
    verifier,
    catalog,
    pool,
    onProgress: () => {},
    onFault: (line) => faults.push(line),
  });

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

test('an ad that is added while a model is made ready is in both models; one added later too, until the old one is retired', async () => {
  const models = manager(demo.files.users);
  models.activated(await models.prepare(demo.bundle, 1));
  const first = models.active;
  const preparing = models.prepare(demo.bundle, 2);
  const add = async (id: string): Promise<number> => {
    const body = JSON.stringify(newLineItemFile).replaceAll('li-new', id);
    const result = writer.apply(JSON.parse(body));
    if (result.kind !== 'applied') throw new Error(JSON.stringify(result.problems));
    await models.addAds(result.addedRows);
    return result.addedRows[0]!;
  };
  const rows = [await add('li-during')];
  const second = await preparing;
  rows.push(await add('li-between'));
  models.activated(second);
  rows.push(await add('li-after'));
  await models.retire(first);
  rows.push(await add('li-retired'));
  const vectorsOf = ({ tables }: typeof first): Float32Array[] => {
    const { data, width } = tables.shared.tables.find(({ name }) => name === 'ad_vector')!;
    return rows.map((row) => new Float32Array(data, row * width * 4, width));
  };
  const isFilled = (vector: Float32Array): boolean => vector.some((each) => each !== 0);
  expect(vectorsOf(second).map(isFilled)).toEqual([true, true, true, true]);
  expect(vectorsOf(first).map(isFilled)).toEqual([true, true, true, false]);
  expect(vectorsOf(second).slice(0, 3)).toEqual(vectorsOf(first).slice(0, 3));
  await models.retire(second);
});

describe('kept user vectors', () => {
  const kept = (): string[] => readdirSync(join(dataDir, 'cache')).map((name) => join(dataDir, 'cache', name));
  const vectors = async (): Promise<Float32Array> => {
    const models = manager(demo.files.users);
    const made = await models.prepare(demo.bundle, 1);
    await models.retire(made);
    return new Float32Array(made.shared.users.vectors.data);
  };

  test('are used again, and worked out again when the file is damaged, which is said', async () => {
    const before = await vectors();
    const [path] = kept();
    expect(kept()).toEqual([expect.stringMatching(/user-vectors-[0-9a-f]+-[0-9a-f]+\.table$/u)]);
    faults.length = 0;
    expect(await vectors()).toEqual(before);
    expect(faults).toEqual([]);
    const bytes = readFileSync(path!);
    bytes[5000]! ^= 4;
    writeFileSync(path!, bytes);
    expect(await vectors()).toEqual(before);
    expect(faults).toEqual([expect.stringMatching(/worked out again: .*checksum of its rows from 0 on is wrong/u)]);
    faults.length = 0;
    expect(await vectors()).toEqual(before);
    expect(faults).toEqual([]);
  });
});

describe('users as int8', () => {
  const prepared = async (bundle: string, format: 'float32' | 'int8'): Promise<ActiveModel> => {
    const models = manager(demo.files.users, format);
    const made = await models.prepare(bundle, 1);
    await models.retire(made);
    return made;
  };
  const exactOf = (made: ActiveModel): Float32Array => new Float32Array(made.shared.users.vectors.data);

  test('lie in a quarter of the memory by the scale of the bundle, half a step from where they were', async () => {
    const exact = await prepared(demo.bundle, 'float32');
    faults.length = 0;
    const int8 = await prepared(demo.bundle, 'int8');
    // The file beside them stays as it is, and serves both.
    expect(faults).toEqual([]);
    const { vectors } = int8.shared.users;
    if (!('scale' in vectors)) throw new Error('no int8');
    expect(exact.shared.users.vectors.data.byteLength / vectors.data.byteLength).toBe(4);
    const { userScale } = await readBundle(demo.bundle, verifier);
    expect(vectors.scale).toEqual(userScale);
    const { min, max, dimension } = vectors.scale;
    const table = new SharedUserTable(int8.shared.users);
    const own = new Float32Array(dimension);
    let most = 0;
    for (const [at, value] of exactOf(exact).entries()) {
      const place = at % dimension;
      if (place === 0) table.vectorOf(at / dimension, own);
      // The scale is of the users that training saw; what lies beyond it becomes its ends.
      const within = Math.min(Math.max(value, min[place]!), max[place]!);
      most = Math.max(most, (Math.abs(own[place]! - within) * 255) / (max[place]! - min[place]!));
    }
    expect(most).toBeLessThan(0.5001);
  });

  test('get a scale of their own when the bundle says none', async () => {
    const root = join(dataDir, 'bundles');
    const bundle = join(root, await writeBundle(root, await smallTrainedModel(5, { isOfBefore: true }), signer));
    const exact = exactOf(await prepared(bundle, 'float32'));
    const { vectors } = (await prepared(bundle, 'int8')).shared.users;
    expect(vectors).toMatchObject({ scale: fitScale(exact, vectors.dimension) });
  });
});

test('of the files of user vectors the last used ones stay, and none that is being made', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gavelin-vectors-'));
  const nowMs = 10_000_000_000;
  const put = (name: string, ageMs: number): void => {
    writeFileSync(join(folder, name), '');
    utimesSync(join(folder, name), (nowMs - ageMs) / 1000, (nowMs - ageMs) / 1000);
  };
  put('user-vectors-a-1.table', 4000);
  put('user-vectors-b-1.table', 1000);
  put('user-vectors-c-1.table', 3000);
  put('user-vectors-d-1.table.making-7', 5000);
  put('user-vectors-e-1.table.making-8', 7_200_000);
  put('else.txt', 9_000_000);
  keepNewest(folder, 2, nowMs);
  expect(readdirSync(folder).toSorted()).toEqual([
    'else.txt',
    'user-vectors-b-1.table',
    'user-vectors-c-1.table',
    'user-vectors-d-1.table.making-7',
  ]);
  rmSync(folder, { recursive: true });
});
