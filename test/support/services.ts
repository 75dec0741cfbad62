import { existsSync } from 'node:fs';

/** `.ci/run` sets this after installing everything: from then on a missing service is a failure, not a skip. */
export const requireServices = process.env['GAVELIN_REQUIRE_SERVICES'] === '1';

const chromiumPaths = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Debian's browser, or undefined (said loudly) where none is installed. */
export function chromiumPath(): string | undefined {
  const path = chromiumPaths.find((each) => existsSync(each));
  if (path === undefined) {
    const what = 'chromium is not installed: `bash test/services/install.sh` brings it';
    if (requireServices) throw new Error(what);
    console.warn(`SKIPPED: ${what}`);
  }
  return path;
}
