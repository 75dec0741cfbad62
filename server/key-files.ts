import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Bytes of the key that signs notices (HMAC-SHA256). */
export const noticeKeyBytes = 32;

/** The text of `path`, made of 32 random bytes on first use and readable by the owner only. */
export function loadOrCreateToken(path: string): string {
  if (!existsSync(path)) writeOwnerOnly(path, Buffer.from(randomBytes(32).toString('base64url')));
  return readFileSync(path, 'utf8').trim();
}

/** The notice key of `path`: 32 bytes, raw or as 64 hexadecimal digits; made on first use when `mayCreate`. Throws when it is neither. */
export function loadNoticeKey(path: string, mayCreate: boolean): Uint8Array {
  if (mayCreate && !existsSync(path)) writeOwnerOnly(path, randomBytes(noticeKeyBytes));
  const bytes = readFileSync(path);
  if (bytes.length === noticeKeyBytes) return bytes;
  const text = bytes.toString('latin1').trim();
  if (/^[0-9a-f]{64}$/iu.test(text)) return Buffer.from(text, 'hex');
  throw new Error(
    `${path}: a notice key is ${noticeKeyBytes} bytes, raw or as ${2 * noticeKeyBytes} hexadecimal digits`,
  );
}

/** Whole or not at all: two processes that start at once end up with one key. */
function writeOwnerOnly(path: string, content: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const making = `${path}.making-${process.pid}`;
  const file = openSync(making, 'w', 0o600);
  writeSync(file, content);
  fsyncSync(file);
  closeSync(file);
  if (existsSync(path)) return;
  renameSync(making, path);
}
