import type { RequestFault, RequestFaultCode } from './bid-request.ts';
import { isObject, type JsonObject } from './openrtb-coercion.ts';

/** Real requests nest 8 deep. Deeper than this, a later `JSON.stringify` of `ext` could exhaust the stack. */
export const jsonDepthMax = 64;

function fault(code: RequestFaultCode, message: string): RequestFault {
  return { kind: 'fault', code, path: '', message };
}

/** Whether brackets nest deeper than the limit, strings set aside. Not asked of bodies with fewer brackets than the limit. */
function isTooDeep(body: Uint8Array): boolean {
  let openers = 0;
  for (let index = 0; index < body.length; index++) if ((body[index]! | 0x20) === 0x7b) openers++;
  if (openers <= jsonDepthMax) return false;
  let depth = 0;
  let isInText = false;
  for (let index = 0; index < body.length; index++) {
    const byte = body[index]!;
    if (isInText) {
      if (byte === 0x5c) index++;
      else if (byte === 0x22) isInText = false;
    } else if (byte === 0x22) isInText = true;
    else if ((byte | 0x20) === 0x7b) {
      depth++;
      if (depth > jsonDepthMax) return true;
    } else if ((byte | 0x20) === 0x7d) depth--;
  }
  return false;
}

/**
 * The JSON object in a body, or what is wrong. Bytes that are not UTF-8 become U+FFFD, lone surrogates stay; a byte order
 * mark is skipped. `kind` tells the two apart: an object of the body is wrapped, so that its own fields cannot be mistaken for ours.
 */
export function parseJsonObject(
  body: Uint8Array,
): { readonly kind: 'object'; readonly object: JsonObject } | RequestFault {
  if (body.length === 0) return fault('BODY_EMPTY', 'is empty');
  if (isTooDeep(body)) return fault('TOO_DEEP', `nests deeper than ${jsonDepthMax}`);
  const hasMark = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf;
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8', hasMark ? 3 : 0);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    // V8 quotes the body in the message: its beginning says where, the rest may be personal data.
    const where = error instanceof Error ? (/position \d+/u.exec(error.message)?.[0] ?? 'its end') : '';
    return fault('BODY_NOT_JSON', `is not JSON at ${where}`);
  }
  if (!isObject(parsed)) return fault('BODY_NOT_OBJECT', 'is not a JSON object');
  return { kind: 'object', object: parsed };
}
