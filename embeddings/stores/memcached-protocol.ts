import { createHash } from 'node:crypto';

/** What the server says, as it is read. Bytes are only good during the call. */
export interface MetaAnswers {
  value(opaque: number, bytes: Buffer, start: number, end: number): void;
  /** The no-op behind a batch: all of it is answered. */
  batchEnd(): void;
  /** A command of the batch was refused; the stream goes on in step. */
  refused(line: string): void;
}

/** Bytes that the protocol does not know: the stream cannot be trusted any further. */
export class MetaProtocolError extends Error {
  override readonly name = 'MetaProtocolError';
}

/** Memcached's keys end here, base64 counted as it is sent. */
const textKeyBytesMax = 250;
const rawKeyBytesMax = 186;
const lineBytesMax = 2048;
/** What we never wrote: our values and, before some, a key. */
const valueBytesMax = 1 << 20;
const lineFeed = 10;
const carriageReturn = 13;
const space = 32;

/**
 * The key that Memcached is given. Keys that it cannot take, and those that could be taken for such a one, are replaced by 0, "h" and
 * their SHA-256; their values then begin with the key itself, which `isReplaced` tells.
 */
export function memcachedKey(key: Buffer): Buffer {
  if (!isReplaced(key)) return key;
  return Buffer.concat([Buffer.from([0, 0x68]), createHash('sha256').update(key).digest()]);
}

export function isReplaced(key: Buffer): boolean {
  return key[0] === 0 || key.length > textKeyBytesMax || (key.length > rawKeyBytesMax && !isPlain(key));
}

/** `mg` for each key that is there, quiet about the others, and a no-op. Opaques count from `opaque` on. */
export function getRequest(keys: readonly Buffer[], places: readonly number[], opaque: number): Buffer {
  let bound = 4;
  for (const place of places) bound += 32 + textBytesOf(keys[place]!);
  const bytes = Buffer.allocUnsafe(bound);
  let at = 0;
  for (const place of places) {
    bytes[at++] = 0x6d; // m
    bytes[at++] = 0x67; // g
    bytes[at++] = space;
    const key = keys[place]!;
    const plain = isPlain(key);
    at = putKey(bytes, at, key, plain);
    at += bytes.write(plain ? ' v q O' : ' b v q O', at, 'latin1');
    at = putNumber(bytes, at, opaque + place);
    bytes[at++] = carriageReturn;
    bytes[at++] = lineFeed;
  }
  at += bytes.write('mn\r\n', at, 'latin1');
  return bytes.subarray(0, at);
}

export type MetaEntry = { readonly key: Buffer; readonly value: Buffer; readonly expirySeconds: number };

/** `ms` for each, quiet when it is taken, and a no-op. */
export function setRequest(entries: readonly MetaEntry[]): Buffer {
  let bound = 4;
  for (const { key, value } of entries) bound += 64 + textBytesOf(key) + value.length;
  const bytes = Buffer.allocUnsafe(bound);
  let at = 0;
  for (const { key, value, expirySeconds } of entries) {
    at += bytes.write('ms ', at, 'latin1');
    const plain = isPlain(key);
    at = putKey(bytes, at, key, plain);
    at += bytes.write(` ${value.length}${plain ? '' : ' b'} q T${expirySeconds}\r\n`, at, 'latin1');
    at += value.copy(bytes, at);
    bytes[at++] = carriageReturn;
    bytes[at++] = lineFeed;
  }
  at += bytes.write('mn\r\n', at, 'latin1');
  return bytes.subarray(0, at);
}

/** `md` for each, quiet whether it was there or not, and a no-op. */
export function removeRequest(keys: readonly Buffer[]): Buffer {
  let bound = 4;
  for (const key of keys) bound += 16 + textBytesOf(key);
  const bytes = Buffer.allocUnsafe(bound);
  let at = 0;
  for (const key of keys) {
    at += bytes.write('md ', at, 'latin1');
    const plain = isPlain(key);
    at = putKey(bytes, at, key, plain);
    at += bytes.write(plain ? ' q\r\n' : ' b q\r\n', at, 'latin1');
  }
  at += bytes.write('mn\r\n', at, 'latin1');
  return bytes.subarray(0, at);
}

/** Reads a stream in whatever pieces it comes, without a string per line. Throws a MetaProtocolError. */
export class MetaReader {
  readonly #answers: MetaAnswers;
  /** The beginning of an answer whose end has not come yet. */
  #held = Buffer.alloc(0);
  #heldLength = 0;

  constructor(answers: MetaAnswers) {
    this.#answers = answers;
  }

  /** `bytes` are good only during the call. */
  take(bytes: Buffer, length: number): void {
    if (this.#heldLength === 0) {
      const used = this.#read(bytes, length);
      this.#hold(bytes, used, length);
      return;
    }
    this.#hold(bytes, 0, length);
    const used = this.#read(this.#held, this.#heldLength);
    this.#held.copyWithin(0, used, this.#heldLength);
    this.#heldLength -= used;
  }

  #hold(bytes: Buffer, from: number, to: number): void {
    const needed = this.#heldLength + to - from;
    if (needed > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(16_384, needed * 2));
      this.#held.copy(larger, 0, 0, this.#heldLength);
      this.#held = larger;
    }
    bytes.copy(this.#held, this.#heldLength, from, to);
    this.#heldLength = needed;
  }

  /** Returns where the first answer begins that is not whole yet. */
  #read(bytes: Buffer, length: number): number {
    let at = 0;
    while (at < length) {
      // Every answer begins with a capital letter: what does not need not be waited for to its end.
      if (bytes[at]! < 0x41 || bytes[at]! > 0x5a) throw unknownLine(bytes, at, length);
      let end = at;
      while (end < length && bytes[end] !== lineFeed) end++;
      if (end === length) {
        if (length - at > lineBytesMax) throw new MetaProtocolError('a line without an end');
        return at;
      }
      if (end - at < 3 || bytes[end - 1] !== carriageReturn) throw unknownLine(bytes, at, end);
      const code = (bytes[at]! << 8) | bytes[at + 1]!;
      if (code === 0x5641) {
        // VA
        const next = this.#readValue(bytes, at, end, length);
        if (next < 0) return at;
        at = next;
        continue;
      }
      if (code === 0x4d4e) this.#answers.batchEnd();
      // NS, and the SE of SERVER_ERROR.
      else if (code === 0x4e53 || code === 0x5345) this.#answers.refused(bytes.toString('latin1', at, end - 1));
      // HD, EN, NF: taken, not there, nothing to remove; said only where a command was not quiet.
      else if (code !== 0x4844 && code !== 0x454e && code !== 0x4e46) throw unknownLine(bytes, at, end);
      else if (end - at !== 3) throw unknownLine(bytes, at, end);
      at = end + 1;
    }
    return at;
  }

  /** `VA 12 O345`; returns where the next answer begins, −1 where this one is not whole yet. */
  #readValue(bytes: Buffer, lineAt: number, lineEnd: number, length: number): number {
    let at = lineAt + 3;
    let size = 0;
    if (bytes[lineAt + 2] !== space) throw unknownLine(bytes, lineAt, lineEnd);
    for (; isDigit(bytes[at]!); at++) size = size * 10 + bytes[at]! - 48;
    if (at === lineAt + 3 || size > valueBytesMax) throw unknownLine(bytes, lineAt, lineEnd);
    if (bytes[at] !== space || bytes[at + 1] !== 0x4f) throw unknownLine(bytes, lineAt, lineEnd);
    const digitsAt = at + 2;
    let opaque = 0;
    for (at = digitsAt; isDigit(bytes[at]!); at++) opaque = opaque * 10 + bytes[at]! - 48;
    if (at === digitsAt || at !== lineEnd - 1) throw unknownLine(bytes, lineAt, lineEnd);
    const start = lineEnd + 1;
    const end = start + size;
    if (end + 2 > length) return -1;
    if (bytes[end] !== carriageReturn || bytes[end + 1] !== lineFeed)
      throw new MetaProtocolError('a value of another length than it said');
    this.#answers.value(opaque, bytes, start, end);
    return end + 2;
  }
}

function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}

function unknownLine(bytes: Buffer, start: number, end: number): MetaProtocolError {
  const shown = bytes.toString('latin1', start, Math.min(end, start + 60)).replaceAll(/[^\x20-\x7E]/gu, '?');
  return new MetaProtocolError(`"${shown}"`);
}

/** Printable ASCII without spaces goes as it is, anything else as base64. */
function isPlain(key: Buffer): boolean {
  for (let at = 0; at < key.length; at++) if (key[at]! <= space || key[at]! >= 127) return false;
  return true;
}

function textBytesOf(key: Buffer): number {
  return 4 + Math.ceil(key.length / 3) * 4;
}

function putKey(bytes: Buffer, at: number, key: Buffer, plain: boolean): number {
  return at + (plain ? key.copy(bytes, at) : bytes.write(key.toString('base64'), at, 'latin1'));
}

function putNumber(bytes: Buffer, at: number, number: number): number {
  let end = at + 1;
  for (let rest = number; rest >= 10; rest = Math.trunc(rest / 10)) end++;
  let rest = number;
  for (let digit = end - 1; digit >= at; digit--) {
    bytes[digit] = 48 + (rest % 10);
    rest = Math.trunc(rest / 10);
  }
  return end;
}
