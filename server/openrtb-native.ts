import type { NativeAsset, NativeSlot } from './bid-request.ts';
import { type FieldReader, isObject, type JsonObject } from './openrtb-coercion.ts';

/** Native requests in the wild have fewer than ten assets. */
const assetCountMax = 32;

function assetOf(reader: FieldReader, asset: JsonObject): NativeAsset | undefined {
  const id = reader.number(asset['id'], 0);
  const isRequired = reader.flag(asset['required']) === 1;
  if (isObject(asset['title']))
    return { id, isRequired, kind: 'title', type: 0, charsMax: reader.number(asset['title']['len'], 0) };
  if (isObject(asset['img']))
    return { id, isRequired, kind: 'image', type: reader.number(asset['img']['type'], 3), charsMax: 0 };
  if (isObject(asset['data'])) {
    const data = asset['data'];
    return {
      id,
      isRequired,
      kind: 'data',
      type: reader.number(data['type'], 0),
      charsMax: reader.number(data['len'], 0),
    };
  }
  if (isObject(asset['video'])) return { id, isRequired, kind: 'video', type: 0, charsMax: 0 };
  return undefined;
}

/** The request inside `native.request`, with or without the wrapping `native` object of version 1.0. */
export function readNativeRequest(reader: FieldReader, text: string, version: string): NativeSlot | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    reader.fail('FIELD_TYPE', 'native.request', 'must be a string of JSON');
    return undefined;
  }
  const outer = isObject(parsed) ? parsed : undefined;
  const request = outer !== undefined && isObject(outer['native']) ? outer['native'] : outer;
  if (request === undefined) {
    reader.fail('FIELD_TYPE', 'native.request', 'must hold a JSON object');
    return undefined;
  }
  const list = Array.isArray(request['assets']) ? (request['assets'] as readonly unknown[]) : [];
  if (list.length > assetCountMax) {
    reader.fail('FIELD_RANGE', 'native.request', `may ask for ${assetCountMax} assets`);
    return undefined;
  }
  const assets: NativeAsset[] = [];
  for (const each of list) {
    const asset = isObject(each) ? assetOf(reader, each) : undefined;
    if (asset === undefined) reader.leniency.ignored++;
    else assets.push(asset);
  }
  return { version: reader.text(request['ver'], 16) || version || '1.2', assets };
}
