import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The version of package.json: in the log, on the admin port. */
export function version(): string {
  const text = readFileSync(join(import.meta.dirname, '../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
