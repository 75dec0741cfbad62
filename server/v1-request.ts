import type { BidDevice, BidImp, BidPlace, BidRequest, BidUser, RequestFault } from './bid-request.ts';
import { countryAlpha3 } from './country-codes.ts';
import { FieldReader, type JsonObject } from './openrtb-coercion.ts';
import { primaryLanguage } from './openrtb-device.ts';
import { needsConsent } from './openrtb-privacy.ts';

/**
 * What `/v1/predict` and `/v1/auction` have in common: `id`, `user`, `context`, `tmax`, `test`. Their callers write for us, so
 * what is wrong is a fault; only words that nobody knows are no mistake, because a vocabulary is never complete.
 */
export const v1Limits = { idCharsMax: 512, wordCharsMax: 512, tmaxMsMax: 60_000 } as const;

const deviceTypes: readonly BidDevice['type'][] = ['phone', 'tablet', 'desktop', 'tv', 'other'];
const osNames: readonly BidDevice['os'][] = ['ios', 'android', 'windows', 'macos', 'linux', 'other'];

export class V1Reader {
  readonly fields = new FieldReader();

  get fault(): RequestFault | undefined {
    return this.fields.fault;
  }

  id(value: unknown, path: string): string {
    if (typeof value === 'string' && value.length > 0 && value.length <= v1Limits.idCharsMax) return value;
    if (value === undefined || value === null || value === '') this.fields.fail('FIELD_MISSING', path, 'is required');
    else if (typeof value === 'string')
      this.fields.fail('FIELD_RANGE', path, `may have ${v1Limits.idCharsMax} characters`);
    else this.fields.fail('FIELD_TYPE', path, 'must be a string');
    return '';
  }

  /** An optional word; '' when absent. */
  word(object: JsonObject | undefined, name: string, path: string): string {
    const value = object?.[name];
    if (value === undefined || value === null) return '';
    if (typeof value !== 'string') this.fields.fail('FIELD_TYPE', `${path}.${name}`, 'must be a string');
    else if (value.length > v1Limits.wordCharsMax)
      this.fields.fail('FIELD_RANGE', `${path}.${name}`, `may have ${v1Limits.wordCharsMax} characters`);
    else return value;
    return '';
  }

  /** A whole number from `min` to `max`; `absent` when absent. */
  count(value: unknown, path: string, min: number, max: number, absent: number): number {
    if (value === undefined || value === null) return absent;
    if (typeof value !== 'number') this.fields.fail('FIELD_TYPE', path, 'must be a number');
    else if (!Number.isInteger(value) || value < min || value > max)
      this.fields.fail('FIELD_RANGE', path, `must be a whole number from ${min} to ${max}`);
    else return value;
    return absent;
  }

  /** The parts that both surfaces share, around the imps of one of them. */
  request(body: JsonObject, imps: readonly BidImp[]): BidRequest {
    const context = this.fields.strictObject(body['context'], 'context');
    const country = countryAlpha3(this.word(context, 'country', 'context'));
    const tmaxMs = this.count(body['tmax'], 'tmax', 1, v1Limits.tmaxMsMax, 0);
    return {
      kind: 'request',
      id: this.id(body['id'], 'id'),
      isTest: this.#isTest(body['test']),
      auctionType: 2,
      tmaxMs: tmaxMs === 0 ? undefined : tmaxMs,
      currencies: [],
      imps,
      place: this.#place(context),
      device: this.#device(context, country),
      user: this.#user(body, country),
      blocked: nothingBlocked,
      ext: undefined,
      leniency: this.fields.leniency,
    };
  }

  /** Strict: who misspells it would pay for what was meant as a rehearsal. */
  #isTest(value: unknown): boolean {
    if (value === undefined || value === null || value === false || value === 0) return false;
    if (value !== true && value !== 1) this.fields.fail('FIELD_TYPE', 'test', 'must be true, false, 1 or 0');
    return true;
  }

  #place(context: JsonObject | undefined): BidPlace {
    const site = this.word(context, 'site', 'context');
    const category = this.word(context, 'category', 'context');
    const surface = this.word(context, 'surface', 'context');
    if (surface !== '' && surface !== 'site' && surface !== 'app')
      this.fields.fail('FIELD_RANGE', 'context.surface', 'must be "site" or "app"');
    const isApp = surface === 'app';
    return {
      kind: site === '' && surface === '' ? 'none' : isApp ? 'app' : 'site',
      id: site,
      domain: isApp ? '' : site.toLowerCase(),
      bundle: isApp ? site : '',
      name: '',
      publisherId: '',
      categories: category === '' ? [] : [category],
      search: this.word(context, 'search', 'context'),
    };
  }

  #device(context: JsonObject | undefined, country: string): BidDevice {
    const type = this.word(context, 'device', 'context').toLowerCase();
    const os = this.word(context, 'os', 'context').toLowerCase();
    return {
      type: deviceTypes.find((each) => each === type) ?? '',
      os: osNames.find((each) => each === os) ?? '',
      country,
      language: primaryLanguage(this.word(context, 'language', 'context')),
    };
  }

  /** `user.consent` false, or left out in a country where it is needed: nothing is known about the user. */
  #user(body: JsonObject, country: string): BidUser {
    const user = this.fields.strictObject(body['user'], 'user');
    const consent = user?.['consent'];
    if (consent !== undefined && consent !== null && typeof consent !== 'boolean')
      this.fields.fail('FIELD_TYPE', 'user.consent', 'must be true or false');
    const key = user?.['id'] === undefined || user['id'] === null ? '' : this.id(user['id'], 'user.id');
    if (consent === false) return { key: '', isKeyAllowed: false, refusal: 'GDPR_NO_CONSENT', segments: [] };
    if (consent !== true && needsConsent(country))
      return { key: '', isKeyAllowed: false, refusal: 'EEA_NO_SIGNAL', segments: [] };
    return { key, isKeyAllowed: true, refusal: '', segments: [] };
  }
}

/** No list of any kind. */
export const nothingBlocked: BidRequest['blocked'] = {
  advertiserDomains: [],
  categories: [],
  allowedCategories: [],
  categoryTaxonomy: 1,
  appBundles: [],
  allowedSeats: [],
  blockedSeats: [],
  allowedLanguages: [],
};

/** An imp of one kind, with nothing else said about it. */
export function plainImp(
  id: string,
  index: number,
  slot: Partial<Pick<BidImp, 'banner' | 'video' | 'native'>>,
  floorNanos: number,
): BidImp {
  return {
    id,
    index,
    banner: slot.banner,
    video: slot.video,
    native: slot.native,
    floorNanos,
    videoFloorNanos: floorNanos,
    floorCurrency: 'USD',
    isSecure: false,
    isInterstitial: false,
    blockedAttributes: [],
    isPrivateAuction: false,
    tagId: '',
    expSeconds: 0,
  };
}
