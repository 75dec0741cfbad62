import { existsSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';

/** `.ci/run` sets this after installing everything: from then on a missing service is a failure, not a skip. */
export const requireServices = process.env['GAVELIN_REQUIRE_SERVICES'] === '1';

/** Debian's browser, or undefined (said loudly) where none is installed. */
export function chromiumPath(): string | undefined {
  return firstOf('chromium', ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']);
}

/** As for the browser. */
export function redisServerPath(): string | undefined {
  return firstOf('redis-server', ['/usr/bin/redis-server', '/usr/local/bin/redis-server']);
}

/** As for the browser. */
export function memcachedPath(): string | undefined {
  return firstOf('memcached', ['/usr/bin/memcached', '/usr/local/bin/memcached']);
}

/** As for the browser; the installer builds it into the checkout. */
export function bigtableEmulatorPath(): string | undefined {
  const folder = resolve(import.meta.dirname, '../../.cache/bin');
  const built = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('bigtable-emulator-')) : [];
  return firstOf(
    'the Bigtable emulator',
    built
      .toSorted()
      .toReversed()
      .map((name) => resolve(folder, name)),
  );
}

function firstOf(name: string, paths: readonly string[]): string | undefined {
  const path = paths.find((each) => existsSync(each));
  if (path === undefined) {
    const what = `${name} is not installed: \`bash test/services/install.sh\` brings it`;
    if (requireServices) throw new Error(what);
    console.warn(`SKIPPED: ${what}`);
  }
  return path;
}
