import type { BidImp, BidRequest, RequestFault } from './bid-request.ts';
import { flightCandidateMax } from './flight.ts';
import type { JsonObject } from './openrtb-coercion.ts';
import { plainImp, V1Reader } from './v1-request.ts';

export type PredictRequest = {
  readonly kind: 'predict';
  readonly request: BidRequest;
  readonly adIds: readonly string[];
};

/** Ads of one request. */
export const predictAdCountMax = flightCandidateMax;

/** A request to `/v1/predict`, or the first thing that is wrong with it. Ad ids are checked for form, not for existence. */
export function readPredictRequest(body: JsonObject): PredictRequest | RequestFault {
  const reader = new V1Reader();
  const request = reader.request(body, [readSize(reader, body)]);
  const adIds = readAdIds(reader, body['ad_ids']);
  return reader.fault ?? { kind: 'predict', request, adIds };
}

/** `context.size`: "300x250", "video" or "native"; the imp that the ads are imagined in. */
function readSize(reader: V1Reader, body: JsonObject): BidImp {
  const context = reader.fields.object(body['context']);
  const size = reader.word(context, 'size', 'context');
  const sides = /^(?:banner:)?(\d{1,5})x(\d{1,5})$/u.exec(size);
  if (sides !== null) {
    const banner = { sizes: [{ width: Number(sides[1]), height: Number(sides[2]) }] };
    return plainImp('1', 0, { banner }, 0);
  }
  if (size === 'native') return plainImp('1', 0, { native: { version: '1.2', assets: [] } }, 0);
  if (size === 'video') return plainImp('1', 0, { video: anyVideo }, 0);
  if (size !== '')
    reader.fields.fail('FIELD_RANGE', 'context.size', 'must be "300x250" (any sides), "video" or "native"');
  return plainImp('1', 0, {}, 0);
}

const anyVideo: BidImp['video'] = {
  mimes: [],
  protocols: [],
  durationMsMin: 0,
  durationMsMax: Number.POSITIVE_INFINITY,
  durationsMs: [],
  width: 0,
  height: 0,
};

const noIds: readonly string[] = [];

function readAdIds(reader: V1Reader, value: unknown): readonly string[] {
  const { fields } = reader;
  if (value === undefined || value === null) fields.fail('FIELD_MISSING', 'ad_ids', 'is required');
  else if (!Array.isArray(value)) fields.fail('FIELD_TYPE', 'ad_ids', 'must be a list of strings');
  else if (value.length === 0 || value.length > predictAdCountMax)
    fields.fail('FIELD_RANGE', 'ad_ids', `must hold 1 to ${predictAdCountMax} ids`);
  else {
    for (let index = 0; index < value.length; index++) reader.id(value[index], `ad_ids[${index}]`);
    return value as readonly string[];
  }
  return noIds;
}
