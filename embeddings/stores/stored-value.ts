/** What a value in a store turned out to be. All but the first two count as missing, and are counted by table. */
export type ValueCondition = 'VALID' | 'KNOWN_ABSENT' | 'LENGTH_WRONG' | 'VERSION_WRONG' | 'CHECKSUM_WRONG';

/** Length of the envelope before the payload. */
export const envelopeBytes = 16;
export const payloadBytesMax = 65_519;

const magic = 0x47;
const kindValue = 1;
/** Somebody looked in the slower store and found nothing: no need to look again until this expires. */
const kindAbsent = 2;

/**
 * Wraps a payload for a store: magic, kind, version of the table (u16), when it was written (epoch ms, u48), length of the payload
 * (u16), checksum (u32), payload; numbers little-endian. The checksum covers all of it but itself.
 */
export function storedValue(payload: Uint8Array, version: number, writtenMs: number): Buffer {
  return wrapped(payload, kindValue, version, writtenMs);
}

/** The entry that says that a slower store has nothing under this key. */
export function storedAbsence(version: number, writtenMs: number): Buffer {
  return wrapped(new Uint8Array(0), kindAbsent, version, writtenMs);
}

function wrapped(payload: Uint8Array, kind: number, version: number, writtenMs: number): Buffer {
  if (payload.length > payloadBytesMax) throw new RangeError(`a payload of ${payload.length} bytes`);
  const bytes = Buffer.allocUnsafe(envelopeBytes + payload.length);
  bytes[0] = magic;
  bytes[1] = kind;
  bytes.writeUInt16LE(version, 2);
  bytes.writeUIntLE(writtenMs, 4, 6);
  bytes.writeUInt16LE(payload.length, 10);
  bytes.set(payload, envelopeBytes);
  bytes.writeUInt32LE(checksum(bytes), 12);
  return bytes;
}

/** Judges bytes from a store; whatever they are, it only looks. `payloadLength` −1: any. */
export function conditionOf(bytes: Buffer, version: number, payloadLength = -1): ValueCondition {
  const { length } = bytes;
  if (length < envelopeBytes || bytes[0] !== magic) return 'LENGTH_WRONG';
  const payload = bytes[10]! | (bytes[11]! << 8);
  if (payload !== length - envelopeBytes) return 'LENGTH_WRONG';
  const expected = (bytes[12]! | (bytes[13]! << 8) | (bytes[14]! << 16) | (bytes[15]! << 24)) >>> 0;
  if (checksum(bytes) !== expected) return 'CHECKSUM_WRONG';
  // Last, so that it speaks of a whole value which others can read.
  if ((bytes[2]! | (bytes[3]! << 8)) !== version) return 'VERSION_WRONG';
  const kind = bytes[1];
  if (kind === kindAbsent) return payload === 0 ? 'KNOWN_ABSENT' : 'LENGTH_WRONG';
  if (kind !== kindValue) return 'VERSION_WRONG';
  return payloadLength >= 0 && payload !== payloadLength ? 'LENGTH_WRONG' : 'VALID';
}

/** When a value was written, epoch ms. */
export function writtenMsOf(bytes: Buffer): number {
  return bytes.readUIntLE(4, 6);
}

/** FNV-1a over header and payload, four bytes at a step: a native CRC costs more in crossing than in counting at these lengths. */
function checksum(bytes: Buffer): number {
  let hash = 0x811c_9dc5;
  const { length } = bytes;
  for (let at = 0; at < 12; at += 4) hash = Math.imul(hash ^ word(bytes, at), 0x0100_0193);
  const whole = envelopeBytes + ((length - envelopeBytes) & ~3);
  let at = envelopeBytes;
  for (; at < whole; at += 4) {
    hash = Math.imul(hash ^ word(bytes, at), 0x0100_0193);
    hash ^= hash >>> 15;
  }
  for (; at < length; at++) hash = Math.imul(hash ^ bytes[at]!, 0x0100_0193);
  hash ^= hash >>> 16;
  return Math.imul(hash, 0x85eb_ca6b) >>> 0;
}

function word(bytes: Buffer, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
