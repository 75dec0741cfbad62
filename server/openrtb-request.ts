import type { BidBlocks, BidImp, BidPlace, BidRequest, RequestFault } from './bid-request.ts';
import { FieldReader, isObject, type JsonObject } from './openrtb-coercion.ts';
import { primaryLanguage, readDevice } from './openrtb-device.ts';
import { readImp } from './openrtb-imp.ts';
import { readUser, type UserIdField } from './openrtb-privacy.ts';
import { parseJsonObject } from './parse-json.ts';

/** What the caller's entry decides about reading its requests. */
export type ParseOptions = {
  /** `at` of requests that leave it out. */
  readonly defaultAuctionType: number;
  readonly userIdFields: readonly UserIdField[];
  /** `imp.secure` of impressions that leave it out. */
  readonly isSecureByDefault: boolean;
};

/** UUIDs and pairs of them stay under 100 characters; 512 leaves room for signed ids. */
const requestIdCharsMax = 512;
/** More impressions than this on one page are a mistake or an attack. */
const impCountMax = 16;
const textCharsMax = 1024;
const tmaxMsMax = 60_000;

/**
 * An OpenRTB 2.5 or 2.6 bid request in our words, or what is wrong with it. Never throws; time and memory are linear in the
 * body. What each field may look like and what happens when it does not: README, "What a request may look like".
 */
export function parseBidRequest(body: Uint8Array, options: ParseOptions): BidRequest | RequestFault {
  const parsed = parseJsonObject(body);
  return parsed.kind === 'fault' ? parsed : readBidRequest(parsed.object, options);
}

/** The same for a request that is JavaScript already. Lists of strings are kept, not copied. */
export function readBidRequest(request: JsonObject, options: ParseOptions): BidRequest | RequestFault {
  const reader = new FieldReader();
  const id = reader.id(request['id'], 'id', requestIdCharsMax);
  const imps = readImps(reader, request['imp'], options.isSecureByDefault);
  const device = reader.object(request['device']);
  const bidDevice = readDevice(reader, device, reader.object(request['user']));
  const place = readPlace(reader, request);
  const parsed: BidRequest = {
    kind: 'request',
    id,
    isTest: reader.flag(request['test']) === 1,
    auctionType: readAuctionType(reader, request['at'], options.defaultAuctionType),
    tmaxMs: readTmax(reader, request['tmax']),
    currencies: readCurrencies(reader, request['cur']),
    imps,
    place,
    device: bidDevice,
    user: readUser(reader, request, device, bidDevice.country, options.userIdFields),
    blocked: readBlocks(reader, request),
    ext: request['ext'],
    leniency: reader.leniency,
  };
  return reader.fault ?? parsed;
}

const noImps: readonly BidImp[] = [];

function readImps(reader: FieldReader, value: unknown, isSecureByDefault: boolean): readonly BidImp[] {
  if (value === undefined || value === null) {
    reader.fail('FIELD_MISSING', 'imp', 'is required');
    return noImps;
  }
  if (!Array.isArray(value)) {
    reader.fail('FIELD_TYPE', 'imp', 'must be a list');
    return noImps;
  }
  if (value.length === 0) reader.fail('FIELD_MISSING', 'imp', 'must hold an impression');
  if (value.length > impCountMax) {
    reader.fail('FIELD_RANGE', 'imp', `may hold ${impCountMax} impressions`);
    return noImps;
  }
  const imps: BidImp[] = [];
  for (let index = 0; index < value.length; index++) {
    const imp: unknown = value[index];
    if (!isObject(imp)) {
      reader.fail('FIELD_TYPE', `imp[${index}]`, 'must be an object');
      return imps;
    }
    reader.impIndex = index;
    const read = readImp(reader, imp, index, isSecureByDefault);
    for (const earlier of imps)
      if (earlier.id === read.id) reader.fail('DUPLICATE_ID', 'id', 'repeats the id of an earlier impression');
    imps.push(read);
  }
  reader.impIndex = -1;
  return imps;
}

/** 1, 2, 3 (fixed price) or the exchange's own from 500; anything else is not said. */
function readAuctionType(reader: FieldReader, value: unknown, fallback: number): number {
  const type = reader.number(value, fallback);
  if ((type >= 1 && type <= 3) || type >= 500) return type;
  reader.leniency.ignored++;
  return fallback;
}

/** Undefined when absent or 0; a negative time is a fault. */
function readTmax(reader: FieldReader, value: unknown): number | undefined {
  const tmaxMs = reader.number(typeof value === 'number' ? Math.floor(value) : value, 0);
  if (tmaxMs < 0) reader.fail('FIELD_RANGE', 'tmax', 'must not be negative');
  return tmaxMs > 0 ? Math.min(tmaxMs, tmaxMsMax) : undefined;
}

/** Unknown codes are kept: a list of them alone must not turn into "no list", which would mean USD. */
function readCurrencies(reader: FieldReader, value: unknown): readonly string[] {
  const list = reader.restriction(value, 'cur');
  if (list.length === 1 && list[0] === 'USD') return list;
  if (Array.isArray(value) && value.length > 0 && list.length === 0)
    reader.fail('FIELD_TYPE', 'cur', 'must be a list of strings');
  return list.map((each) => each.toUpperCase());
}

const nowhere: BidPlace = {
  kind: 'none',
  id: '',
  domain: '',
  bundle: '',
  name: '',
  publisherId: '',
  categories: [],
  search: '',
};

/** The host of an address, without the cost of a URL object; '' when there is none. */
function hostOf(address: string): string {
  return /^https?:\/\/(?:[^/?#@]*@)?([^/?#:@]+)/iu.exec(address)?.[1] ?? '';
}

function readPlace(reader: FieldReader, request: JsonObject): BidPlace {
  const site = reader.strictObject(request['site'], 'site');
  const app = reader.strictObject(request['app'], 'app');
  const dooh = reader.strictObject(request['dooh'], 'dooh');
  const place = site ?? app ?? dooh;
  if (place === undefined) return nowhere;
  if ((site !== undefined && app !== undefined) || (dooh !== undefined && place !== dooh)) {
    reader.fail('CONFLICT', 'site', 'only one of site, app and dooh may be present');
  }
  const domain =
    reader.text(place['domain'], textCharsMax) || (site === undefined ? '' : hostOf(reader.text(site['page'], 8192)));
  return {
    kind: site === undefined ? (app === undefined ? 'dooh' : 'app') : 'site',
    id: reader.text(place['id'], textCharsMax),
    domain: domain.toLowerCase(),
    bundle: reader.text(place['bundle'], textCharsMax),
    name: reader.text(place['name'], textCharsMax),
    publisherId: reader.text(reader.object(place['publisher'])?.['id'], textCharsMax),
    categories: reader.texts(place['cat']),
    search: reader.text(place['search'], textCharsMax),
  };
}

/**
 * Who and what is kept out. Lists that exclude each other by the specification are all kept, so that the stricter reading
 * holds; each such pair is a conflict, counted.
 */
function readBlocks(reader: FieldReader, request: JsonObject): BidBlocks {
  const categories = reader.restriction(request['bcat'], 'bcat');
  const allowedCategories = reader.restriction(request['acat'], 'acat');
  const allowedSeats = reader.restriction(request['wseat'], 'wseat');
  const blockedSeats = reader.restriction(request['bseat'], 'bseat');
  const languages = reader.restriction(request['wlang'], 'wlang');
  const languageTags = reader.restriction(request['wlangb'], 'wlangb');
  const { leniency } = reader;
  if (categories.length > 0 && allowedCategories.length > 0) leniency.conflicts++;
  if (allowedSeats.length > 0 && blockedSeats.length > 0) leniency.conflicts++;
  if (languages.length > 0 && languageTags.length > 0) leniency.conflicts++;
  return {
    advertiserDomains: domains(reader.restriction(request['badv'], 'badv')),
    categories,
    allowedCategories,
    categoryTaxonomy: reader.number(request['cattax'], 1),
    appBundles: reader.restriction(request['bapp'], 'bapp'),
    allowedSeats,
    blockedSeats,
    allowedLanguages: (languages.length > 0 ? languages : languageTags).map(primaryLanguage),
  };
}

function domains(list: readonly string[]): readonly string[] {
  return list.length === 0
    ? list
    : list.map((each) => each.trim().toLowerCase().replace(/\.+$/u, '')).filter((each) => each !== '');
}
