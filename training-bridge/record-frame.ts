import { crc32 } from 'node:zlib';
import { EventLogError } from './errors.ts';

/**
 * The frame of every record, little-endian:
 * `[u32 length of all][u16 schema id][u8 mark 0xA7][u8 flags][body, padded to 4][u32 crc32 of all before it]`.
 * The mark makes it cheap to find the next whole record behind a damaged one.
 */
export const frameHeaderBytes = 8;
export const frameTailBytes = 4;
const mark = 0xa7;
/** The largest record anyone writes is an auction of 4096 candidates (about 110 KB); a length beyond this is damage. */
export const frameBytesMax = 1 << 20;

/** Writes header and checksum around a body that already lies at `offset + 8`; returns the end. `bodyEnd` − offset is divisible by 4. */
export function sealRecord(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  bodyEnd: number,
  schemaId: number,
): number {
  const end = bodyEnd + frameTailBytes;
  view.setUint32(offset, end - offset, true);
  view.setUint16(offset + 4, schemaId, true);
  bytes[offset + 6] = mark;
  bytes[offset + 7] = 0;
  view.setUint32(bodyEnd, crc32(bytes.subarray(offset, bodyEnd)), true);
  return end;
}

/** Length of the whole, undamaged record at `offset`, or 0: torn, damaged or not a record. */
export function wholeRecordBytes(bytes: Uint8Array, view: DataView, offset: number, limit: number): number {
  if (offset + frameHeaderBytes + frameTailBytes > limit || bytes[offset + 6] !== mark) return 0;
  const length = view.getUint32(offset, true);
  if (length < frameHeaderBytes + frameTailBytes || length > frameBytesMax || offset + length > limit) return 0;
  const bodyEnd = offset + length - frameTailBytes;
  return view.getUint32(bodyEnd, true) === crc32(bytes.subarray(offset, bodyEnd)) ? length : 0;
}

/** True when bytes at `offset` may be the beginning of a record that goes on behind `limit`. */
export function mayContinue(bytes: Uint8Array, view: DataView, offset: number, limit: number): boolean {
  if (offset + frameHeaderBytes > limit) return true;
  if (bytes[offset + 6] !== mark) return false;
  const length = view.getUint32(offset, true);
  return length >= frameHeaderBytes + frameTailBytes && length <= frameBytesMax && offset + length > limit;
}

export function schemaIdAt(view: DataView, offset: number): number {
  return view.getUint16(offset + 4, true);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

/** Writes a text as `[u16 bytes][UTF-8]`, cut at `bytesMax` on a whole character; returns the end. `bytes` is not shared memory. */
export function writeText(bytes: Uint8Array, view: DataView, offset: number, text: string, bytesMax: number): number {
  let length = text.length;
  let isPlain = length <= bytesMax;
  const start = offset + 2;
  // Ids are nearly always short ASCII: a loop beats a call into the engine (40 against 150 ns).
  for (let index = 0; isPlain && index < length; index++) {
    const code = text.charCodeAt(index);
    if (code < 128) bytes[start + index] = code;
    else isPlain = false;
  }
  if (!isPlain) length = utf8.encodeInto(text, bytes.subarray(start, start + bytesMax)).written;
  view.setUint16(offset, length, true);
  return start + length;
}

/** Reads fields in order and stops short of `end`: a field that an older writer did not know reads as its default. */
export class FieldReader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at = 0;
  end = 0;

  constructor(bytes: Uint8Array, view: DataView, at: number, end: number) {
    this.bytes = bytes;
    this.view = view;
    this.at = at;
    this.end = end;
  }

  #take(length: number): number {
    const at = this.at;
    if (at + length > this.end) return -1;
    this.at = at + length;
    return at;
  }

  u8(missing = 0): number {
    const at = this.#take(1);
    return at < 0 ? missing : this.bytes[at]!;
  }

  u16(missing = 0): number {
    const at = this.#take(2);
    return at < 0 ? missing : this.view.getUint16(at, true);
  }

  u32(missing = 0): number {
    const at = this.#take(4);
    return at < 0 ? missing : this.view.getUint32(at, true);
  }

  f32(missing = 0): number {
    const at = this.#take(4);
    return at < 0 ? missing : this.view.getFloat32(at, true);
  }

  f64(missing = 0): number {
    const at = this.#take(8);
    return at < 0 ? missing : this.view.getFloat64(at, true);
  }

  i64(): bigint {
    const at = this.#take(8);
    return at < 0 ? 0n : this.view.getBigInt64(at, true);
  }

  text(missing = ''): string {
    if (this.at + 2 > this.end) return missing;
    const length = this.u16();
    const at = this.#take(length);
    if (at < 0) throw new EventLogError('EVENT_LOG_DAMAGED', { detail: 'A text is longer than its record.' });
    return decodeText(this.bytes, at, at + length);
  }
}

export function decodeText(bytes: Uint8Array, from: number, to: number): string {
  let text = '';
  for (let index = from; index < to; index++) {
    const code = bytes[index]!;
    // A copy, not a view: the decoder refuses shared memory.
    if (code > 127) return fromUtf8.decode(bytes.slice(from, to));
    text += String.fromCharCode(code);
  }
  return text;
}
