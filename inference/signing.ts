import {
  type KeyObject,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  sign,
  verify,
} from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { BundleError } from './bundle-errors.ts';

export type Signature = { readonly algorithm: 'ed25519'; readonly key_id: string; readonly value: string };

/** Signs with one ed25519 key. */
export type Signer = {
  readonly keyId: string;
  readonly publicKey: KeyObject;
  sign(content: Uint8Array): Signature;
};

/** Public keys that are trusted, by key id. */
export type Verifier = ReadonlyMap<string, KeyObject>;

export function sha256Hex(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Names a key: the first 16 hex digits of the hash of its public half (SPKI, DER). */
export function keyIdOf(publicKey: KeyObject): string {
  return sha256Hex(publicKey.export({ type: 'spki', format: 'der' })).slice(0, 16);
}

export function signerOf(privateKey: KeyObject): Signer {
  const publicKey = createPublicKey(privateKey);
  const keyId = keyIdOf(publicKey);
  return {
    keyId,
    publicKey,
    sign: (content) => ({
      algorithm: 'ed25519',
      key_id: keyId,
      value: sign(null, content, privateKey).toString('hex'),
    }),
  };
}

export function verifierOf(publicKeys: readonly KeyObject[]): Verifier {
  return new Map(publicKeys.map((key) => [keyIdOf(key), key]));
}

/** A public key from PEM text, as `exportPublicKey` writes it. */
export function publicKeyOf(pem: string): KeyObject {
  try {
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch (cause) {
    throw new BundleError('SIGNING_KEY_UNUSABLE', 'This is not a PEM public key.', { cause });
  }
  throw new BundleError('SIGNING_KEY_UNUSABLE', 'The public key is not an ed25519 key.');
}

export function exportPublicKey(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString();
}

/**
 * Refuses content whose signature is missing, malformed, by an unknown key or wrong; `where` names the file. Only one spelling
 * of a signature is taken (128 lower-case hex digits), so that no byte of a signed file can change unseen.
 */
export function checkSignature(
  signature: unknown,
  content: Uint8Array,
  verifier: Verifier | 'any',
  where: string,
): void {
  if (signature === undefined) throw new BundleError('BUNDLE_UNSIGNED', where);
  const { algorithm, key_id, value, ...others } = (
    typeof signature === 'object' && signature !== null ? signature : {}
  ) as Record<string, unknown>;
  const isWellFormed =
    algorithm === 'ed25519' &&
    typeof key_id === 'string' &&
    /^[0-9a-f]{16}$/u.test(key_id) &&
    typeof value === 'string' &&
    /^[0-9a-f]{128}$/u.test(value) &&
    Object.keys(others).length === 0;
  if (!isWellFormed)
    throw new BundleError(
      'BUNDLE_SIGNATURE_WRONG',
      `${where}: signature must hold algorithm "ed25519", key_id (16 hex digits) and value (128 hex digits)`,
    );
  if (verifier === 'any') return;
  const key = verifier.get(key_id);
  if (key === undefined) throw new BundleError('BUNDLE_KEY_UNKNOWN', `${where}: signature.key_id ${key_id}`);
  if (!verify(null, content, key, Buffer.from(value, 'hex')))
    throw new BundleError('BUNDLE_SIGNATURE_WRONG', `${where}: signature.value`);
}

/**
 * The key of a PEM file (PKCS #8), readable by its owner only; made on the first call. Two processes that start at once end up
 * with the same key: the file appears whole, under its name, and only if it is not there yet.
 */
export function loadOrCreateSigningKey(path: string): Signer {
  const existing = readKey(path);
  if (existing !== undefined) return existing;
  mkdirSync(dirname(path), { recursive: true });
  const { privateKey } = generateKeyPairSync('ed25519');
  const making = `${path}.${randomUUID()}`;
  writeFileSync(making, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flag: 'wx', flush: true });
  try {
    linkSync(making, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(making);
  }
  const made = readKey(path);
  if (made === undefined) throw new BundleError('SIGNING_KEY_UNUSABLE', path);
  return made;
}

function readKey(path: string): Signer | undefined {
  let pem: string;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new BundleError('SIGNING_KEY_UNUSABLE', path, { cause: error });
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new BundleError('SIGNING_KEY_UNUSABLE', path, { cause });
  }
  if (key.asymmetricKeyType !== 'ed25519') throw new BundleError('SIGNING_KEY_UNUSABLE', path);
  return signerOf(key);
}
