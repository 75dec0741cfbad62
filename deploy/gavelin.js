#!/usr/bin/env node
// Finds a Node that runs TypeScript by itself (the one that `npm ci` brings, or this one) and hands over.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const bundled = fileURLToPath(new URL('../node_modules/.bin/node', import.meta.url));
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const canStripTypes = major > 22 || (major === 22 && minor >= 18);
const node = existsSync(bundled) ? bundled : process.execPath;
if (node === process.execPath && !canStripTypes) {
  process.stderr.write(
    `Gavelin needs Node 22.18 or newer; this is ${process.version}, and the bundled one is not installed.\n`,
  );
  process.exit(2);
}
const child = spawn(node, [fileURLToPath(new URL('./gavelin.ts', import.meta.url)), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 128 + (signal === 'SIGINT' ? 2 : 15)));
