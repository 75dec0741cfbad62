import { gunzipSync } from 'node:zlib';
import type { RequestFault } from './bid-request.ts';
import type { HttpRequest } from './http-listener.ts';

export type RequestBody = { readonly kind: 'body'; readonly bytes: Uint8Array } | RequestFault;

function fault(code: 'BODY_ENCODING' | 'BODY_TOO_LARGE', message: string): RequestFault {
  return { kind: 'fault', code, path: '', message };
}

/** A member's header and trailer: nothing shorter is gzip. */
const gzipBytesMin = 18;

function hasGzipMark(body: Uint8Array): boolean {
  return body.length >= 2 && body[0] === 0x1f && body[1] === 0x8b;
}

/**
 * The body as its sender meant it. Gzip is known by its first bytes, whatever the headers say: browser callers that compress send
 * only `?gzip=1`, some send neither. JSON cannot begin so. At most `bytesMax` come out: a bomb costs no more than that, about
 * 1 ms for 256 KiB, which is why this may run in the serving thread.
 */
export function requestBody(request: HttpRequest, bytesMax: number): RequestBody {
  const { body } = request;
  const encoding = request.header('content-encoding');
  if (hasGzipMark(body)) return gunzipped(body, bytesMax);
  if (encoding === '' || encoding === 'identity' || body.length === 0) return { kind: 'body', bytes: body };
  return fault('BODY_ENCODING', encoding === 'gzip' ? 'is not gzip' : 'is encoded in another way than gzip');
}

function gunzipped(body: Uint8Array, bytesMax: number): RequestBody {
  if (body.length < gzipBytesMin) return fault('BODY_ENCODING', 'is cut short');
  let bytes: Buffer;
  try {
    bytes = gunzipSync(body, { maxOutputLength: bytesMax });
  } catch (error) {
    const isTooLarge = error instanceof RangeError && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    return isTooLarge
      ? fault('BODY_TOO_LARGE', `has more than ${bytesMax} bytes once decompressed`)
      : fault('BODY_ENCODING', 'is not whole gzip');
  }
  // zlib takes several members in a row and ignores what follows them. A single member ends with its own length.
  const end = new DataView(body.buffer, body.byteOffset + body.length - 4, 4).getUint32(0, true);
  if (end !== bytes.length) return fault('BODY_ENCODING', 'is more than one gzip member');
  return { kind: 'body', bytes };
}
