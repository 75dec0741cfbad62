import { join } from 'node:path';
import { readBundle } from '#inference/bundle-read.ts';
import type { Verifier } from '#inference/signing.ts';
import { readConfig } from '#server/config.ts';
import { trustedVerifier } from '#server/trusted-bundles.ts';

const usage = `gavelin bundle verify DIR [--key PUBLIC.pem]

Checks every hash, the signature, the schema and the golden rows, as a server does before it serves a bundle.
Without --key: GAVELIN_BUNDLE_KEY_FILE, else the key of GAVELIN_DATA_DIR.
`;

export async function runBundle(
  words: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const [action, directory] = words;
  if (action !== 'verify' || directory === undefined) {
    process.stderr.write(usage);
    return 2;
  }
  const bundle = await readBundle(directory, verifierFor(words, env));
  const { signature: _, files, schema: __, ...facts } = { schema: undefined, ...bundle.manifest };
  process.stdout.write(`${JSON.stringify({ id: bundle.id, files: files.length, ...facts }, null, 2)}\n`);
  return 0;
}

function verifierFor(words: readonly string[], env: Readonly<Record<string, string | undefined>>): Verifier {
  const config = readConfig(env);
  const at = words.indexOf('--key');
  const bundleKeyFile = at < 0 ? config.bundleKeyFile : words[at + 1];
  if (bundleKeyFile === undefined) throw new Error('--key needs a file');
  return trustedVerifier({ bundleKeyFile }, join(config.dataDir, 'signing-key.pem'));
}
