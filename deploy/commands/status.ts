import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readConfig } from '#server/config.ts';

/** Asks the admin port of the server that runs on these settings. */
export async function runStatus(
  _words: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const config = readConfig(env);
  const token =
    config.adminToken === '' ? readFileSync(join(config.dataDir, 'admin-token'), 'utf8').trim() : config.adminToken;
  const answer = await fetch(`http://${config.adminHost}:${config.adminPort}/admin/v1/status`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(5000),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the admin port answered ${answer.status}: ${text.slice(0, 500)}`);
  process.stdout.write(`${JSON.stringify(JSON.parse(text), null, 2)}\n`);
  return 0;
}
