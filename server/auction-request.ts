import { type MechanismName, mechanismNames } from '#auction/mechanisms.ts';
import type { BidImp, BidRequest, RequestFault } from './bid-request.ts';
import { isObject, type JsonObject } from './openrtb-coercion.ts';
import { plainImp, V1Reader } from './v1-request.ts';

export type AuctionRequest = {
  readonly kind: 'auction';
  readonly request: BidRequest;
  readonly mechanism: Exclude<MechanismName, 'bid'>;
  /** What a second price lies above the runner-up's. */
  readonly incrementNanos: number;
};

const slotCountMax = 16;
const sideMax = 65_535;
/** 281,474 USD for one impression: what the auction's integers hold. */
const floorNanosMax = 2 ** 48;
const mechanismDefault = 'second';

/** A request to `/v1/auction`, or the first thing that is wrong with it. */
export function readAuctionRequest(body: JsonObject): AuctionRequest | RequestFault {
  const reader = new V1Reader();
  const request = reader.request(body, readSlots(reader, body['slots']));
  const mechanism = readMechanism(reader, body['mechanism']);
  const incrementNanos = reader.count(body['increment_nanos'], 'increment_nanos', 0, floorNanosMax, 0);
  return reader.fault ?? { kind: 'auction', request, mechanism, incrementNanos };
}

function readMechanism(reader: V1Reader, value: unknown): AuctionRequest['mechanism'] {
  if (value === undefined || value === null) return mechanismDefault;
  for (const name of mechanismNames) if (name !== 'bid' && name === value) return name;
  reader.fields.fail('FIELD_RANGE', 'mechanism', 'must be "first", "second", "gsp" or "vcg"');
  return mechanismDefault;
}

function readSlots(reader: V1Reader, value: unknown): readonly BidImp[] {
  const { fields } = reader;
  const imps: BidImp[] = [];
  if (value === undefined || value === null) fields.fail('FIELD_MISSING', 'slots', 'is required');
  else if (!Array.isArray(value)) fields.fail('FIELD_TYPE', 'slots', 'must be a list');
  else if (value.length === 0 || value.length > slotCountMax)
    fields.fail('FIELD_RANGE', 'slots', `must hold 1 to ${slotCountMax} slots`);
  else {
    for (let index = 0; index < value.length; index++) {
      const imp = readSlot(reader, value[index], index);
      if (imps.some(({ id }) => id === imp.id))
        fields.fail('DUPLICATE_ID', `slots[${index}].id`, 'repeats the id of an earlier slot');
      imps.push(imp);
    }
  }
  return imps;
}

function readSlot(reader: V1Reader, slot: unknown, index: number): BidImp {
  const path = `slots[${index}]`;
  if (!isObject(slot)) {
    reader.fields.fail('FIELD_TYPE', path, 'must be an object');
    return plainImp('', index, {}, 0);
  }
  const id = reader.id(slot['id'], `${path}.id`);
  const width = reader.count(slot['width'], `${path}.width`, 1, sideMax, 0);
  const height = reader.count(slot['height'], `${path}.height`, 1, sideMax, 0);
  if (width === 0) reader.fields.fail('FIELD_MISSING', `${path}.width`, 'is required');
  if (height === 0) reader.fields.fail('FIELD_MISSING', `${path}.height`, 'is required');
  const floorNanos = reader.count(slot['floor_nanos'], `${path}.floor_nanos`, 0, floorNanosMax, 0);
  return plainImp(id, index, { banner: { sizes: [{ width, height }] } }, floorNanos);
}
