import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readCalibration, writeCalibration } from '#inference/calibration-file.ts';
import { canonicalJson, type JsonValue } from '#inference/canonical-json.ts';
import {
  checkSignature,
  exportPublicKey,
  loadOrCreateSigningKey,
  publicKeyOf,
  signerOf,
  verifierOf,
} from '#inference/signing.ts';

const folder = mkdtempSync(join(tmpdir(), 'gavelin-signing-'));
afterAll(() => rmSync(folder, { recursive: true }));
const content = Buffer.from('a manifest');

describe('a signing key', () => {
  test('is made once, for its owner only, and found again', () => {
    const path = join(folder, 'keys/signing.pem');
    const made = loadOrCreateSigningKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, 'keys'))).toEqual(['signing.pem']);
    const found = loadOrCreateSigningKey(path);
    expect(found.keyId).toBe(made.keyId);
    expect(() => checkSignature(found.sign(content), content, verifierOf([made.publicKey]), 'x')).not.toThrow();
  });

  test('travels as PEM to those who only verify', () => {
    const signer = loadOrCreateSigningKey(join(folder, 'travels.pem'));
    const verifier = verifierOf([publicKeyOf(exportPublicKey(signer.publicKey))]);
    expect([...verifier.keys()]).toEqual([signer.keyId]);
    expect(() => checkSignature(signer.sign(content), content, verifier, 'x')).not.toThrow();
    expect(() => checkSignature(signer.sign(content), Buffer.from('another'), verifier, 'x')).toThrow(
      expect.objectContaining({ code: 'BUNDLE_SIGNATURE_WRONG' }),
    );
  });

  test('of another kind, or a file that holds none, is refused and left as it is', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const unusable = expect.objectContaining({ code: 'SIGNING_KEY_UNUSABLE' });
    for (const [name, text] of [
      ['ec.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()],
      ['empty.pem', ''],
    ] as const) {
      writeFileSync(join(folder, name), text);
      expect(() => loadOrCreateSigningKey(join(folder, name))).toThrow(unusable);
      expect(readFileSync(join(folder, name), 'utf8')).toBe(text);
    }
    expect(() => publicKeyOf(publicKey.export({ type: 'spki', format: 'pem' }).toString())).toThrow(unusable);
    expect(() => publicKeyOf('no key')).toThrow(unusable);
  });
});

describe('a calibration of its own', () => {
  const signer = signerOf(generateKeyPairSync('ed25519').privateKey);
  const verifier = verifierOf([signer.publicKey]);
  const calibrator = { logits: [-4, 0], probabilities: [0.01, 0.5] };
  const rungs = { full: calibrator, reduced: calibrator, 'light-ranker': calibrator };
  const heads = { click: rungs, conversion: rungs };
  const modelId = 'a'.repeat(64);

  test('is read back under its own id, for its own model only', async () => {
    const { id, path } = await writeCalibration(folder, modelId, heads, signer);
    expect(path).toBe(join(folder, modelId, `${id}.json`));
    expect(readdirSync(join(folder, modelId))).toEqual([`${id}.json`]);
    expect(await readCalibration(path, modelId, verifier)).toEqual({ id, heads });
    await expect(readCalibration(path, 'b'.repeat(64), verifier)).rejects.toMatchObject({
      code: 'BUNDLE_CALIBRATION_FOREIGN',
    });
    await expect(readCalibration(path, modelId, verifierOf([]))).rejects.toMatchObject({ code: 'BUNDLE_KEY_UNKNOWN' });
  });

  test('is refused when any byte has changed', async () => {
    const { path } = await writeCalibration(join(folder, 'flips'), modelId, heads, signer);
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = changed[at]! ^ 0x20;
      writeFileSync(path, changed);
      await expect(readCalibration(path, modelId, verifier), `byte ${at}`).rejects.toHaveProperty(
        'name',
        'BundleError',
      );
    }
  });

  test('with an id that is not its hash, or without calibrators, is refused though signed', async () => {
    const path = join(folder, 'signed.json');
    const write = (unsigned: { [key: string]: JsonValue }): void => {
      const signature = signer.sign(Buffer.from(canonicalJson(unsigned)));
      writeFileSync(path, canonicalJson({ ...unsigned, signature }));
    };
    write({ format_version: 1, id: '0'.repeat(64), model_id: modelId, heads });
    await expect(readCalibration(path, modelId, verifier)).rejects.toMatchObject({ code: 'BUNDLE_HASH_WRONG' });
    write({ format_version: 1, id: '0'.repeat(64), model_id: modelId });
    await expect(readCalibration(path, modelId, verifier)).rejects.toMatchObject({
      code: 'BUNDLE_CALIBRATION_INVALID',
    });
    write({ format_version: 2 });
    await expect(readCalibration(path, modelId, verifier)).rejects.toMatchObject({ code: 'BUNDLE_FORMAT_UNKNOWN' });
  });

  test('that falls is not written', async () => {
    const falling = { logits: [0, 1], probabilities: [0.5, 0.4] };
    await expect(
      writeCalibration(folder, modelId, { ...heads, click: { ...rungs, full: falling } }, signer),
    ).rejects.toMatchObject({ code: 'BUNDLE_CALIBRATION_INVALID' });
  });
});
