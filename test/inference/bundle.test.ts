import { generateKeyPairSync } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BundleFault } from '#inference/bundle-errors.ts';
import { bundleFaults, BundleError } from '#inference/bundle-errors.ts';
import { readBundle, readManifest } from '#inference/bundle-read.ts';
import { contentOf, writeBundle } from '#inference/bundle-write.ts';
import { bundleFiles, type Manifest } from '#inference/bundle.ts';
import { canonicalJson, type JsonValue } from '#inference/canonical-json.ts';
import { sha256Hex, signerOf, verifierOf } from '#inference/signing.ts';
import type { TrainedModel } from '#inference/trained-model.ts';
import { smallTrainedModel } from '../support/small-model.ts';

const signer = signerOf(generateKeyPairSync('ed25519').privateKey);
const stranger = signerOf(generateKeyPairSync('ed25519').privateKey);
const verifier = verifierOf([signer.publicKey]);
const root = mkdtempSync(join(tmpdir(), 'gavelin-bundle-'));
afterAll(() => rmSync(root, { recursive: true }));

const model = await smallTrainedModel(7);
let id = '';
let directory = '';
beforeAll(async () => {
  id = await writeBundle(root, model, signer);
  directory = join(root, id);
});

async function faultOf(attempt: Promise<unknown>): Promise<BundleFault | undefined> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof BundleError) return error.code;
    throw error;
  }
  return undefined;
}

/** A copy of the bundle, changed and then signed anew as a careless or hostile trainer could: only the content is wrong. */
function resigned(change: (folder: string, manifest: Record<string, unknown>) => void, sign = signer): string {
  const making = mkdtempSync(join(root, 'changed-'));
  cpSync(directory, making, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(making, 'manifest.json'), 'utf8')) as Record<string, unknown>;
  change(making, manifest);
  for (const file of manifest['files'] as { name: string; sha256: string; bytes: number }[]) {
    if (!existsSync(join(making, file.name))) continue;
    const bytes = readFileSync(join(making, file.name));
    file.sha256 = sha256Hex(bytes);
    file.bytes = bytes.length;
  }
  delete manifest['signature'];
  const signed = Buffer.from(canonicalJson(manifest as JsonValue));
  writeFileSync(
    join(making, 'manifest.json'),
    canonicalJson({ ...(manifest as { [key: string]: JsonValue }), signature: sign.sign(signed) }),
  );
  return moved(making, sha256Hex(signed));
}

/** Each in a folder of its own, since the name of a bundle is taken. */
function moved(making: string, name: string): string {
  const parent = mkdtempSync(join(root, 'at-'));
  renameSync(making, join(parent, name));
  return join(parent, name);
}

describe('a bundle', () => {
  test('gives back what the trainer handed over', async () => {
    const bundle = await readBundle(directory, verifier);
    expect(bundle.id).toBe(id);
    expect(bundle.schema).toEqual(model.schema);
    expect(bundle.head).toEqual(model.head);
    expect(bundle.ranker).toEqual(model.ranker);
    expect(bundle.context).toEqual(model.context);
    expect(bundle.golden).toEqual(model.golden);
    expect(bundle.userScale).toEqual(model.userScale);
    expect(bundle.calibration.heads).toEqual(model.calibration.heads);
    expect(new Uint8Array(bundle.userTower)).toEqual(model.userTower);
    expect(bundle.manifest.metrics).toEqual(model.metrics);
    expect(bundle.manifest.window).toEqual({ from_ms: 1_700_000_000_000, to_ms: 1_700_600_000_000, rows: 1000 });
    expect(readdirSync(directory).toSorted()).toEqual(
      ['manifest.json', ...Object.values(bundleFiles).map(({ name }) => name)].toSorted(),
    );
  });

  test('is named by the hash of its manifest without the signature, whoever signs it', async () => {
    const { signature, ...unsigned } = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as Manifest;
    expect(signature?.key_id).toBe(signer.keyId);
    expect(sha256Hex(canonicalJson(unsigned as unknown as JsonValue))).toBe(id);
    const elsewhere = join(root, 'by-another-key');
    expect(await writeBundle(elsewhere, model, stranger)).toBe(id);
    const child = { ...model, parent: id };
    const childId = await writeBundle(elsewhere, child, signer);
    expect(childId).not.toBe(id);
    expect((await readManifest(join(elsewhere, childId), verifier)).manifest.parent).toBe(id);
  });

  test('of before has no scale or profiles of its user vectors and no calibrators for later rungs, and is read all the same', async () => {
    const before = await smallTrainedModel(7, { isOfBefore: true });
    const bundle = await readBundle(join(root, await writeBundle(root, before, signer)), verifier);
    expect(bundle.userScale).toBeUndefined();
    expect(bundle.ranker.vectorProfile).toBeUndefined();
    expect(existsSync(join(bundle.directory, bundleFiles.userScale.name))).toBe(false);
    // Bytes of a vector mean nothing by another scale.
    const scaled = await readBundle(directory, verifier);
    expect(bundle.towerVersion).not.toBe(scaled.towerVersion);
    const { mean, ...rest } = model.userScale!;
    const moved = { ...model, userScale: { ...rest, mean: mean.map((value) => value + 1) } };
    expect((await readBundle(join(root, await writeBundle(root, moved, signer)), verifier)).towerVersion).not.toBe(
      scaled.towerVersion,
    );
  });

  test('is refused where its scale is no scale or a later rung has a calibrator that is none', async () => {
    const scale = model.userScale!;
    const scales = [
      { ...scale, min: scale.max, max: scale.min },
      { ...scale, mean: scale.mean.map(() => Number.NaN) },
      { ...scale, dimension: 32, min: scale.min.slice(32), max: scale.max.slice(32), mean: scale.mean.slice(32) },
    ];
    const faults: (BundleFault | undefined)[] = [];
    for (const userScale of scales) faults.push(await faultOf(writeBundle(root, { ...model, userScale }, signer)));
    expect(faults).toEqual(['BUNDLE_TENSORS_INVALID', 'BUNDLE_NOT_FINITE', 'BUNDLE_TENSORS_INVALID']);
    const short = { ...model, ranker: { ...model.ranker, vectorProfile: new Float32Array(65) } };
    expect(await faultOf(writeBundle(root, short, signer))).toBe('BUNDLE_TENSORS_INVALID');
    const { click, conversion } = model.calibration.heads;
    const falling = { logits: [0, 1], probabilities: [0.5, 0.1] };
    const heads = { click: { ...click, 'cached-prediction': falling }, conversion };
    const broken = { ...model, calibration: { id: '', heads } };
    expect(await faultOf(writeBundle(root, broken, signer))).toBe('BUNDLE_CALIBRATION_INVALID');
  });

  test('leaves nothing half made, is not written twice, and is repaired when damaged', async () => {
    const place = join(root, 'twice');
    await writeBundle(place, model, signer);
    const golden = join(place, id, bundleFiles.golden.name);
    writeFileSync(golden, 'damaged');
    await writeBundle(place, model, signer);
    await readBundle(join(place, id), verifier);
    expect(readdirSync(place)).toEqual([id]);
  });

  test('names a tower version that changes with the user tower, the context rows and the user fields alone', async () => {
    const version = async (change: Partial<TrainedModel>): Promise<string> => {
      const changed = join(root, await writeBundle(root, { ...model, ...change }, signer));
      return (await readManifest(changed, verifier)).manifest.tower_version;
    };
    const { tower_version: before } = (await readManifest(directory, verifier)).manifest;
    expect(await version({ metrics: { auc: 0.8 } })).toBe(before);
    const renamed = (group: 'user' | 'ad', name: string): Partial<TrainedModel> => ({
      schema: {
        ...model.schema,
        [group]: model.schema[group].map((field) =>
          field.name === name ? { ...field, vocabulary: field.vocabulary!.map((word) => `${word}x`) } : field,
        ),
      },
    });
    expect(await version(renamed('ad', 'line_item'))).toBe(before);
    expect(await version(renamed('user', 'age'))).not.toBe(before);
    const other = await smallTrainedModel(8);
    expect(await version(other)).not.toBe(before);
  });
});

describe('a bundle on its way is refused', () => {
  const files = ['manifest.json', ...Object.values(bundleFiles).map(({ name }) => name)];

  test('when any bit of any file has changed', async () => {
    const parent = mkdtempSync(join(root, 'flipped-'));
    const copy = join(parent, id);
    cpSync(directory, copy, { recursive: true });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...files),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 0, max: 7 }),
        async (name, share, bit) => {
          const path = join(copy, name);
          const bytes = readFileSync(path);
          const at = Math.floor(share * bytes.length);
          bytes[at]! ^= 1 << bit;
          writeFileSync(path, bytes);
          const fault = await faultOf(readBundle(copy, verifier));
          bytes[at]! ^= 1 << bit;
          writeFileSync(path, bytes);
          // A changed manifest may be wrong in many ways, a changed file only in one.
          const isExpected = name === 'manifest.json' ? fault !== undefined : fault === 'BUNDLE_HASH_WRONG';
          expect(isExpected, `${name}: ${fault}`).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
    await readBundle(copy, verifier);
  });

  test('when a byte of the manifest has changed, each of them', async () => {
    const parent = mkdtempSync(join(root, 'manifest-'));
    const copy = join(parent, id);
    cpSync(directory, copy, { recursive: true });
    const bytes = readFileSync(join(copy, 'manifest.json'));
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      // Letters change their case: the change that a lax reader of hex would not see.
      changed[at] = changed[at]! ^ 0x20;
      writeFileSync(join(copy, 'manifest.json'), changed);
      expect(await faultOf(readManifest(copy, verifier)), `byte ${at}`).toBeDefined();
    }
  });

  test.each(files)('without %s', async (name) => {
    const parent = mkdtempSync(join(root, 'without-'));
    cpSync(directory, join(parent, id), { recursive: true });
    rmSync(join(parent, id, name));
    expect(await faultOf(readBundle(join(parent, id), verifier))).toBe('BUNDLE_FILE_MISSING');
    mkdirSync(join(parent, id, name));
    expect(await faultOf(readBundle(join(parent, id), verifier))).toBe('BUNDLE_FILE_MISSING');
    rmSync(join(parent, id, name), { recursive: true });
    symlinkSync(join(directory, name), join(parent, id, name));
    expect(await faultOf(readBundle(join(parent, id), verifier))).toBe('BUNDLE_FILE_MISSING');
  });

  test('when a file is cut short or the manifest is larger than it may be', async () => {
    const parent = mkdtempSync(join(root, 'size-'));
    cpSync(directory, join(parent, id), { recursive: true });
    writeFileSync(join(parent, id, 'head.onnx'), readFileSync(join(directory, 'head.onnx')).subarray(1));
    expect(await faultOf(readBundle(join(parent, id), verifier))).toBe('BUNDLE_FILE_SIZE');
    writeFileSync(join(parent, id, 'manifest.json'), Buffer.alloc(2 ** 20 + 1, ' '));
    expect(await faultOf(readBundle(join(parent, id), verifier))).toBe('BUNDLE_FILE_SIZE');
  });

  test('when its directory has another name', async () => {
    const parent = mkdtempSync(join(root, 'name-'));
    cpSync(directory, join(parent, 'latest'), { recursive: true });
    expect(await faultOf(readBundle(join(parent, 'latest'), verifier))).toBe('BUNDLE_HASH_WRONG');
  });

  test('when it is not signed, by nobody we know, or by somebody else in our name', async () => {
    const elsewhere = join(root, 'stranger');
    await writeBundle(elsewhere, model, stranger);
    const copy = join(elsewhere, id);
    expect(await faultOf(readBundle(copy, verifier))).toBe('BUNDLE_KEY_UNKNOWN');
    expect(await faultOf(readBundle(copy, 'any'))).toBeUndefined();
    const manifest = JSON.parse(readFileSync(join(copy, 'manifest.json'), 'utf8')) as Manifest;
    const write = (changed: unknown): void =>
      writeFileSync(join(copy, 'manifest.json'), canonicalJson(changed as JsonValue));
    write({ ...manifest, signature: { ...manifest.signature, key_id: signer.keyId } });
    expect(await faultOf(readBundle(copy, verifier))).toBe('BUNDLE_SIGNATURE_WRONG');
    write({ ...manifest, signature: undefined });
    expect(await faultOf(readBundle(copy, verifier))).toBe('BUNDLE_UNSIGNED');
    expect(await faultOf(readBundle(copy, 'any'))).toBe('BUNDLE_UNSIGNED');
    for (const signature of [
      null,
      'x',
      {},
      { ...manifest.signature, value: '00' },
      { ...manifest.signature, more: 1 },
    ]) {
      write({ ...manifest, signature });
      expect(await faultOf(readBundle(copy, 'any'))).toBe('BUNDLE_SIGNATURE_WRONG');
    }
  });
});

describe('a bundle whose signer made a mistake is refused', () => {
  const cases: readonly [string, BundleFault, (folder: string, manifest: Record<string, unknown>) => void][] = [
    ['another format version', 'BUNDLE_FORMAT_UNKNOWN', (_, manifest) => (manifest['format_version'] = 2)],
    [
      'dims that are not the weights',
      'BUNDLE_TENSORS_INVALID',
      (_, manifest) => {
        manifest['dims'] = { ...(manifest['dims'] as object), rank: 31 };
      },
    ],
    ['dims without a size', 'BUNDLE_MANIFEST_INVALID', (_, manifest) => (manifest['dims'] = {})],
    [
      'a file that it does not have',
      'BUNDLE_MANIFEST_INVALID',
      (_, manifest) => {
        (manifest['files'] as unknown[]).push({ name: '../../etc/passwd', sha256: '0'.repeat(64), bytes: 1 });
      },
    ],
    [
      'a file listed twice',
      'BUNDLE_MANIFEST_INVALID',
      (_, manifest) => {
        const files = manifest['files'] as unknown[];
        files.push(files[0]);
      },
    ],
    [
      'a file not listed',
      'BUNDLE_FILE_MISSING',
      (_, manifest) => {
        manifest['files'] = (manifest['files'] as { name: string }[]).filter(({ name }) => name !== 'golden.jsonl');
      },
    ],
    ['another tower version', 'BUNDLE_HASH_WRONG', (_, manifest) => (manifest['tower_version'] = '0'.repeat(64))],
    ['another calibration id', 'BUNDLE_HASH_WRONG', (_, manifest) => (manifest['calibration_id'] = '0'.repeat(64))],
    ['metrics that are words', 'BUNDLE_MANIFEST_INVALID', (_, manifest) => (manifest['metrics'] = { auc: 'good' })],
    ['a schema that is not JSON', 'BUNDLE_SCHEMA_INVALID', (folder) => writeFileSync(join(folder, 'schema.json'), '{')],
    ['a schema that is null', 'BUNDLE_SCHEMA_INVALID', (folder) => writeFileSync(join(folder, 'schema.json'), 'null')],
    ['a graph that is none', 'BUNDLE_GRAPH_UNUSABLE', (folder) => writeFileSync(join(folder, 'head.onnx'), 'no graph')],
    [
      'another graph in its place',
      'BUNDLE_GRAPH_UNUSABLE',
      (folder) => {
        cpSync(join(folder, 'serve.onnx'), join(folder, 'head.onnx'));
      },
    ],
    [
      'golden rows that are not JSON',
      'BUNDLE_GOLDEN_INVALID',
      (folder) => writeFileSync(join(folder, 'golden.jsonl'), 'x\n'),
    ],
    ['no golden row', 'BUNDLE_GOLDEN_INVALID', (folder) => writeFileSync(join(folder, 'golden.jsonl'), '')],
    [
      'tensors that are none',
      'BUNDLE_TENSORS_INVALID',
      (folder) => writeFileSync(join(folder, 'ranker.safetensors'), 'x'),
    ],
  ];

  test.each(cases)('with %s: %s', async (_, fault, change) => {
    expect(await faultOf(readBundle(resigned(change), verifier))).toBe(fault);
  });

  test('with a calibrator that falls', async () => {
    const changed = resigned((folder, manifest) => {
      const path = join(folder, 'calibration.json');
      const heads = JSON.parse(readFileSync(path, 'utf8')) as { click: { full: { probabilities: number[] } } };
      heads.click.full.probabilities[1] = 0.9;
      writeFileSync(path, canonicalJson(heads));
      manifest['calibration_id'] = sha256Hex(canonicalJson(heads));
    });
    expect(await faultOf(readBundle(changed, verifier))).toBe('BUNDLE_CALIBRATION_INVALID');
  });

  const [row] = model.golden;
  test.each<[string, BundleFault, Partial<typeof row>]>([
    ['a logit that is off by 0.001', 'BUNDLE_GOLDEN_MISMATCH', { logits: [row!.logits[0] + 1e-3, row!.logits[1]] }],
    ['a cross feature of another ranker', 'BUNDLE_GOLDEN_MISMATCH', { cross: row!.cross.map((value) => value + 0.01) }],
    ['an id outside the schema', 'BUNDLE_GOLDEN_INVALID', { adIds: [1000, 0, 0, 0, 0] }],
    ['half an id', 'BUNDLE_GOLDEN_INVALID', { userIds: row!.userIds.map(() => 0.5) }],
    ['too few ids', 'BUNDLE_GOLDEN_INVALID', { contextIds: [0] }],
    ['an infinite logit', 'BUNDLE_NOT_FINITE', { logits: [Number.POSITIVE_INFINITY, 0] }],
  ])('with %s in a golden row, before it is written', async (_, fault, change) => {
    const golden = [...model.golden.slice(1), { ...row!, ...change }];
    expect(await faultOf(writeBundle(root, { ...model, golden }, signer))).toBe(fault);
  });

  test('with a split graph that is not the head, by its golden rows', async () => {
    const other = contentOf(await smallTrainedModel(9));
    const changed = resigned((folder) => writeFileSync(join(folder, 'serve.onnx'), other.serveGraph));
    expect(await faultOf(readBundle(changed, verifier))).toBe('BUNDLE_GOLDEN_MISMATCH');
  });

  test('with NaN among its weights, naming the tensor and the place', async () => {
    const w2 = model.head.w2.slice();
    w2[5] = Number.NaN;
    const attempt = writeBundle(root, { ...model, head: { ...model.head, w2 } }, signer);
    await expect(attempt).rejects.toThrow(
      expect.objectContaining({ code: 'BUNDLE_NOT_FINITE', detail: 'head.safetensors: w2[5]' }),
    );
    expect(await faultOf(writeBundle(root, { ...model, metrics: { auc: Number.NaN } }, signer))).toBe(
      'BUNDLE_NOT_FINITE',
    );
  });

  const field = model.schema.user[1]!;
  test.each([
    ['a vocabulary larger than its size', { ...model.schema, user: [{ ...field, size: 2 }] }],
    ['a word twice', { ...model.schema, ad: [{ ...field, vocabulary: ['a', 'a'] }] }],
    ['a name twice', { ...model.schema, ad: [field, field] }],
    ['no context', { ...model.schema, context: [] }],
    ['a size of 0', { ...model.schema, context: [{ name: 'x', size: 0, width: 1 }] }],
    ['other cross features', { ...model.schema, cross: model.schema.cross.toReversed() }],
    ['a lone surrogate', { ...model.schema, user: [{ ...field, vocabulary: ['\ud800'] }] }],
    ['category ids beyond 16 bits', { ...model.schema, ad: [{ name: 'category', size: 65_537, width: 1 }] }],
  ])('with %s in its schema', async (_, schema) => {
    expect(await faultOf(writeBundle(root, { ...model, schema }, signer))).toBe('BUNDLE_SCHEMA_INVALID');
  });
});

test('README.md describes every fault of bundles', () => {
  const readme = readFileSync(join(import.meta.dirname, '../../inference/README.md'), 'utf8');
  expect(Object.keys(bundleFaults).filter((code) => !readme.includes(`\`${code}\``))).toEqual([]);
  expect(basename(directory)).toBe(id);
});
