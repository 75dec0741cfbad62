import type { AdSize, BannerSlot, BidImp, NativeSlot, VideoSlot } from './bid-request.ts';
import { cpmNumberToNanosUp } from './decimal-money.ts';
import { type FieldReader, isObject, type JsonObject } from './openrtb-coercion.ts';
import { readNativeRequest } from './openrtb-native.ts';

const impIdCharsMax = 256;
/** Sides beyond 16 bits do not exist in the catalog. */
const sideMax = 65_535;
/** `banner.btype` 2: XHTML banner ads, which is what we serve. */
const htmlBanner = 2;

function floorNanos(reader: FieldReader, value: unknown, field: string): number {
  if (value === undefined || value === null) return 0;
  if (typeof value !== 'number') {
    reader.fail('FIELD_TYPE', field, 'must be a number: money is not taken from text');
    return 0;
  }
  if (value < 0) {
    reader.fail('FIELD_RANGE', field, 'must not be negative');
    return 0;
  }
  return value === 0 ? 0 : cpmNumberToNanosUp(value);
}

function currency(reader: FieldReader, value: unknown, field: string): string {
  if (value === undefined || value === null || value === 'USD') return 'USD';
  if (typeof value === 'string' && value.length > 0 && value.length <= 8) return value.toUpperCase();
  reader.fail('FIELD_TYPE', field, 'must be an ISO 4217 code');
  return 'USD';
}

function addSize(sizes: AdSize[], width: number, height: number): void {
  if (width > 0 && height > 0 && width <= sideMax && height <= sideMax) sizes.push({ width, height });
}

function formatSizes(reader: FieldReader, formats: unknown): AdSize[] {
  const sizes: AdSize[] = [];
  if (formats === undefined || formats === null) return sizes;
  if (!Array.isArray(formats)) {
    reader.fail('FIELD_TYPE', 'banner.format', 'must be a list');
    return sizes;
  }
  for (let index = 0; index < formats.length; index++) {
    const format: unknown = formats[index];
    if (!isObject(format)) {
      reader.fail('FIELD_TYPE', `banner.format[${index}]`, 'must be an object');
      return sizes;
    }
    const width = reader.count(format['w'], 'banner.format.w', 0);
    const height = reader.count(format['h'], 'banner.format.h', 0);
    const widthRatio = reader.count(format['wratio'], 'banner.format.wratio', 0);
    const heightRatio = reader.count(format['hratio'], 'banner.format.hratio', 0);
    const widthMin = reader.count(format['wmin'], 'banner.format.wmin', 0);
    if ((width > 0 || height > 0) && (widthRatio > 0 || heightRatio > 0 || widthMin > 0)) {
      reader.fail('CONFLICT', `banner.format[${index}]`, 'is either w and h, or wratio, hratio and wmin');
    }
    addSize(sizes, width, height);
  }
  return sizes;
}

/** Undefined when it can hold nothing of ours; a banner without any size is legal and matches nothing. */
function readBanner(reader: FieldReader, banner: JsonObject): BannerSlot | undefined {
  const sizes = formatSizes(reader, banner['format']);
  const width = reader.count(banner['w'], 'banner.w', 0);
  const height = reader.count(banner['h'], 'banner.h', 0);
  if (sizes.length === 0) addSize(sizes, width, height);
  if (reader.numbers(banner['btype']).includes(htmlBanner)) return undefined;
  return sizes.length === 0 ? undefined : { sizes };
}

function requiredMimes(reader: FieldReader, value: unknown, field: string): readonly string[] {
  const mimes = reader.restriction(value, field);
  if (mimes.length === 0) reader.fail('FIELD_MISSING', field, 'must name at least one type');
  return mimes;
}

/** The highest of the ways a video floor can be stated beside `imp.bidfloor`: a bid that meets it meets all of them. */
function durationFloorNanos(reader: FieldReader, video: JsonObject, durationSecondsMax: number): number {
  let highest = 0;
  const perSecond = floorNanos(reader, video['mincpmpersec'], 'video.mincpmpersec');
  if (perSecond > 0 && Number.isFinite(durationSecondsMax))
    highest = Math.min(perSecond * durationSecondsMax, Number.MAX_SAFE_INTEGER);
  const ranges = video['durfloors'];
  if (!Array.isArray(ranges)) return highest;
  for (let index = 0; index < ranges.length; index++) {
    const range = reader.object(ranges[index]);
    if (range !== undefined)
      highest = Math.max(highest, floorNanos(reader, range['bidfloor'], `video.durfloors[${index}].bidfloor`));
  }
  if (perSecond > 0 && ranges.length > 0) reader.leniency.conflicts++;
  return highest;
}

function readVideo(reader: FieldReader, video: JsonObject): { slot: VideoSlot; floorNanos: number } {
  const mimes = requiredMimes(reader, video['mimes'], 'video.mimes');
  const protocols = reader.numbers(video['protocols']);
  const oldProtocol = reader.number(video['protocol'], 0);
  const secondsMin = reader.count(video['minduration'], 'video.minduration', 0);
  const secondsMax = reader.count(
    video['maxduration'] ?? video['poddur'],
    'video.maxduration',
    Number.POSITIVE_INFINITY,
  );
  const exactSeconds = reader.numbers(video['rqddurs']);
  // The two exclude each other: exact durations are the stricter reading, and win.
  const isExact = exactSeconds.length > 0;
  if (isExact && (secondsMin > 0 || video['maxduration'] !== undefined)) reader.leniency.conflicts++;
  reader.count(video['minbitrate'], 'video.minbitrate', 0);
  reader.count(video['maxbitrate'], 'video.maxbitrate', 0);
  const slot: VideoSlot = {
    mimes,
    protocols: protocols.length === 0 && oldProtocol > 0 ? [oldProtocol] : protocols,
    durationMsMin: isExact ? 0 : secondsMin * 1000,
    durationMsMax: isExact ? Number.POSITIVE_INFINITY : secondsMax * 1000,
    durationsMs: exactSeconds.map((seconds) => seconds * 1000),
    width: Math.min(reader.count(video['w'], 'video.w', 0), sideMax),
    height: Math.min(reader.count(video['h'], 'video.h', 0), sideMax),
  };
  return { slot, floorNanos: durationFloorNanos(reader, video, secondsMax) };
}

function readNative(reader: FieldReader, native: JsonObject): NativeSlot | undefined {
  const text = native['request'];
  if (text === undefined || text === null || text === '') {
    reader.fail('FIELD_MISSING', 'native.request', 'is required');
    return undefined;
  }
  if (typeof text !== 'string') {
    reader.fail('FIELD_TYPE', 'native.request', 'must be a string of JSON');
    return undefined;
  }
  return readNativeRequest(reader, text, reader.text(native['ver'], 16));
}

/** Whether only deals are wanted. A deal without id is a fault, whether or not we could bid on it. */
function readPrivateAuction(reader: FieldReader, imp: JsonObject): boolean {
  const pmp = reader.object(imp['pmp']);
  if (pmp === undefined) return false;
  const deals = pmp['deals'];
  if (Array.isArray(deals)) {
    for (let index = 0; index < deals.length; index++) {
      const deal = reader.strictObject(deals[index], `pmp.deals[${index}]`);
      if (deal !== undefined) reader.id(deal['id'], `pmp.deals[${index}].id`, impIdCharsMax);
    }
  }
  return reader.flag(pmp['private_auction']) === 1;
}

const noNumbers: readonly number[] = [];

function addBlocked(reader: FieldReader, known: readonly number[], slot: JsonObject | undefined): readonly number[] {
  const value = slot?.['battr'];
  if (value === undefined || value === null) return known;
  const more = reader.numbers(value);
  return known.length === 0 ? more : [...known, ...more];
}

/** One impression; faults go to the reader, whose `impIndex` is set. */
export function readImp(reader: FieldReader, imp: JsonObject, index: number, isSecureByDefault: boolean): BidImp {
  const id = reader.id(imp['id'], 'id', impIdCharsMax);
  const banner = reader.strictObject(imp['banner'], 'banner');
  const video = reader.strictObject(imp['video'], 'video');
  const audio = reader.strictObject(imp['audio'], 'audio');
  const native = reader.strictObject(imp['native'], 'native');
  if (banner === undefined && video === undefined && audio === undefined && native === undefined) {
    reader.fail('FIELD_MISSING', '', 'needs banner, video, audio or native');
  }
  if (audio !== undefined) requiredMimes(reader, audio['mimes'], 'audio.mimes');
  const videoPart = video === undefined ? undefined : readVideo(reader, video);
  const impFloorNanos = floorNanos(reader, imp['bidfloor'], 'bidfloor');
  let blocked = addBlocked(reader, noNumbers, banner);
  blocked = addBlocked(reader, blocked, video);
  blocked = addBlocked(reader, blocked, native);
  // Not a field of the specification, but of real senders: its codes are of an unknown taxonomy.
  if (Array.isArray(imp['bcat'])) reader.leniency.ignored += imp['bcat'].length;
  return {
    id,
    index,
    banner: banner === undefined ? undefined : readBanner(reader, banner),
    video: videoPart?.slot,
    native: native === undefined ? undefined : readNative(reader, native),
    floorNanos: impFloorNanos,
    videoFloorNanos: Math.max(impFloorNanos, videoPart?.floorNanos ?? 0),
    floorCurrency: currency(reader, imp['bidfloorcur'], 'bidfloorcur'),
    isSecure: (reader.flag(imp['secure']) ?? (isSecureByDefault ? 1 : 0)) === 1,
    isInterstitial: reader.flag(imp['instl']) === 1,
    blockedAttributes: blocked,
    isPrivateAuction: readPrivateAuction(reader, imp),
    tagId: reader.text(imp['tagid'], 512),
    expSeconds: Math.max(0, reader.number(imp['exp'], 0)),
  };
}
