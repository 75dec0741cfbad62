import { BundleError } from './bundle-errors.ts';

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined };

/**
 * JSON in one spelling only, so that equal values have equal hashes: no white space, keys in the order of their UTF-16 code
 * units, strings and numbers as ECMAScript writes them (the rules of RFC 8785). Properties that are undefined are left out.
 * Throws a TypeError where that RFC has no answer: numbers that are not finite, lone surrogates.
 */
export function canonicalJson(value: JsonValue): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`${value} has no canonical JSON`);
    return JSON.stringify(value);
  }
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new TypeError('a lone surrogate has no canonical JSON');
    return JSON.stringify(value);
  }
  if (isList(value)) return `[${value.map((each) => canonicalJson(each)).join(',')}]`;
  if (typeof value !== 'object') throw new TypeError(`a ${typeof value} has no canonical JSON`);
  const members = Object.keys(value)
    .toSorted()
    .flatMap((key) => {
      const member = value[key];
      return member === undefined ? [] : [`${canonicalJson(key)}:${canonicalJson(member)}`];
    });
  return `{${members.join(',')}}`;
}

function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

/** A JSON object in its canonical spelling: any other spelling of the same value is refused. */
export function parseCanonical(bytes: Uint8Array, where: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new BundleError('BUNDLE_MANIFEST_INVALID', `${where}: not JSON`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new BundleError('BUNDLE_MANIFEST_INVALID', `${where}: not a JSON object`);
  let canonical: string;
  try {
    canonical = canonicalJson(value as JsonValue);
  } catch (cause) {
    throw new BundleError('BUNDLE_MANIFEST_NOT_CANONICAL', where, { cause });
  }
  if (canonical !== text) throw new BundleError('BUNDLE_MANIFEST_NOT_CANONICAL', where);
  return value as Record<string, unknown>;
}
