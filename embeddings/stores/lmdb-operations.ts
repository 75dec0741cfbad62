/** What a store asks its writing thread to do; packed into one buffer, so that handing it over copies nothing. */
export type LmdbOperation =
  | { readonly kind: 'put'; readonly key: Buffer; readonly value: Buffer; readonly expiresMs: number }
  | { readonly kind: 'remove'; readonly key: Buffer }
  | {
      readonly kind: 'append';
      readonly key: Buffer;
      readonly value: Buffer;
      readonly expiresMs: number;
      readonly countMax: number;
    };

/** Messages to the writing thread. */
export type LmdbRequest =
  | {
      readonly id: number;
      readonly kind: 'write';
      readonly nowMs: number;
      readonly operations: Uint8Array<ArrayBuffer>;
    }
  | {
      readonly id: number;
      readonly kind: 'scan';
      readonly nowMs: number;
      readonly from: Uint8Array;
      readonly prefix: Uint8Array;
      readonly limit: number;
    }
  | { readonly kind: 'close' };

/** Each request gets one answer. */
export type LmdbAnswer =
  | { readonly id: number; readonly kind: 'done' }
  /** Puts of what was found, in the order of the keys. */
  | {
      readonly id: number;
      readonly kind: 'found';
      readonly operations: Uint8Array<ArrayBuffer>;
      readonly count: number;
    }
  | { readonly id: number; readonly kind: 'failed'; readonly detail: string };

const headBytes = 24;
const kindNumbers = { put: 1, remove: 2, append: 3 } as const;

/** Per operation: kind (u32), lengths of key and value (u32), most records (u32), expiry (float64), key, value. */
export function packed(operations: readonly LmdbOperation[]): Buffer<ArrayBuffer> {
  let length = 0;
  for (const each of operations)
    length += headBytes + each.key.length + (each.kind === 'remove' ? 0 : each.value.length);
  const bytes = Buffer.from(new ArrayBuffer(length));
  let at = 0;
  for (const each of operations) {
    bytes.writeUInt32LE(kindNumbers[each.kind], at);
    bytes.writeUInt32LE(each.key.length, at + 4);
    at += headBytes;
    bytes.set(each.key, at);
    at += each.key.length;
    if (each.kind === 'remove') continue;
    const head = at - each.key.length - headBytes;
    bytes.writeUInt32LE(each.value.length, head + 8);
    bytes.writeUInt32LE(each.kind === 'append' ? each.countMax : 0, head + 12);
    bytes.writeDoubleLE(each.expiresMs, head + 16);
    bytes.set(each.value, at);
    at += each.value.length;
  }
  return bytes;
}

/** Keys and values are views of `bytes`. */
export function* unpacked(bytes: Buffer): Generator<LmdbOperation> {
  for (let at = 0; at < bytes.length;) {
    const kind = bytes.readUInt32LE(at);
    const keyEnd = at + headBytes + bytes.readUInt32LE(at + 4);
    const key = bytes.subarray(at + headBytes, keyEnd);
    const valueEnd = keyEnd + bytes.readUInt32LE(at + 8);
    const value = bytes.subarray(keyEnd, valueEnd);
    const countMax = bytes.readUInt32LE(at + 12);
    const expiresMs = bytes.readDoubleLE(at + 16);
    if (kind === kindNumbers.put) yield { kind: 'put', key, value, expiresMs };
    else if (kind === kindNumbers.append) yield { kind: 'append', key, value, expiresMs, countMax };
    else yield { kind: 'remove', key };
    at = valueEnd;
  }
}
