import { readFileSync } from 'node:fs';
import { loadOrCreateSigningKey, publicKeyOf, type Verifier, verifierOf } from '#inference/signing.ts';
import type { Config } from './config.ts';

/** Whose bundles are taken: of the configured public key, else of the process's own signing key (made on first use). */
export function trustedVerifier(config: Pick<Config, 'bundleKeyFile'>, signingKeyPath: string): Verifier {
  if (config.bundleKeyFile !== '') return verifierOf([publicKeyOf(readFileSync(config.bundleKeyFile, 'utf8'))]);
  return verifierOf([loadOrCreateSigningKey(signingKeyPath).publicKey]);
}
