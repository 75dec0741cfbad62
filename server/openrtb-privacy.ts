import type { BidUser, PrivacyRefusal } from './bid-request.ts';
import { base64Digit, gppEuropeSection, gppSections, isUsSection, optsOut } from './gpp-string.ts';
import type { FieldReader, JsonObject } from './openrtb-coercion.ts';

/** The European Economic Area: where a request without a `gdpr` field is met as if consent had been refused. */
const eea: ReadonlySet<string> = new Set(
  'AUT BEL BGR CYP CZE DEU DNK ESP EST FIN FRA GRC HRV HUN IRL ISL ITA LIE LTU LUX LVA MLT NLD NOR POL PRT ROU SVK SVN SWE'.split(
    ' ',
  ),
);

/** Whether a profile may be used in a country (alpha-3) only where somebody said so. */
export function needsConsent(country: string): boolean {
  return eea.has(country);
}

/** Longest user key: the longest in use are 64-byte hashes in hexadecimal; ten times that is a mistake. */
const keyCharsMax = 512;
const consentCharsMax = 16_384;
/** Segments beyond this are dropped and counted. */
const segmentCountMax = 256;

/** Which fields name a person, in order of preference. */
export type UserIdField = 'buyeruid' | 'id';

/** A signal in the 2.6 place or, failing that, the 2.5 place; both and different is a conflict, counted, and the 2.6 place wins. */
function newerFlag(reader: FieldReader, newer: unknown, older: unknown): 0 | 1 | undefined {
  const first = reader.flag(newer);
  const second = reader.flag(older);
  if (first !== undefined && second !== undefined && first !== second) reader.leniency.conflicts++;
  return first ?? second;
}

function newerText(reader: FieldReader, newer: unknown, older: unknown): string {
  const first = reader.text(newer, consentCharsMax);
  const second = reader.text(older, consentCharsMax);
  if (first !== '' && second !== '' && first !== second) reader.leniency.conflicts++;
  return first === '' ? second : first;
}

/**
 * Whether an IAB TCF 2 string allows a profile to be used: consent to purposes 1 (store), 3 (make a profile) and 4 (choose
 * ads by it). Bits 152 to 155 of the core hold the consents to purposes 1 to 4. A string of another version, or cut short, does not.
 */
export function allowsProfile(consent: string): boolean {
  // 213 bits of fixed fields: 36 characters.
  const coreEnd = consent.indexOf('.');
  const coreLength = coreEnd < 0 ? consent.length : coreEnd;
  if (coreLength < 36 || base64Digit(consent.charCodeAt(0)) !== 2) return false;
  for (let index = 0; index < coreLength; index++) if (base64Digit(consent.charCodeAt(index)) < 0) return false;
  const purposes = base64Digit(consent.charCodeAt(25));
  return (purposes & 0b1011) === 0b1011;
}

function gppRefuses(
  reader: FieldReader,
  gpp: string,
  applicable: readonly number[],
  sections: ReadonlyMap<number, string> | undefined,
): boolean {
  if (sections === undefined) {
    if (gpp !== '') reader.leniency.ignored++;
    // Left out or unreadable, but said to be about the US: an opt-out may be in it.
    return applicable.some(isUsSection);
  }
  if (applicable.some((id) => isUsSection(id) && !sections.has(id))) return true;
  for (const [id, text] of sections) {
    const applies = applicable.length === 0 || applicable.includes(id);
    if (applies && isUsSection(id) && optsOut(id, text)) return true;
  }
  return false;
}

function refusalOf(
  reader: FieldReader,
  regs: JsonObject | undefined,
  device: JsonObject | undefined,
  user: JsonObject | undefined,
  country: string,
): PrivacyRefusal | '' {
  const regsExt = reader.object(regs?.['ext']);
  const userExt = reader.object(user?.['ext']);
  const isChild = newerFlag(reader, regs?.['coppa'], regsExt?.['coppa']) === 1;
  const gdpr = newerFlag(reader, regs?.['gdpr'], regsExt?.['gdpr']);
  const consent = newerText(reader, user?.['consent'], userExt?.['consent']);
  const usPrivacy = newerText(reader, regs?.['us_privacy'], regsExt?.['us_privacy']);
  const gpp = newerText(reader, regs?.['gpp'], regsExt?.['gpp']);
  const applicable = reader.numbers(regs?.['gpp_sid'] ?? regsExt?.['gpp_sid']);
  const limitsTracking = reader.flag(device?.['lmt']) === 1 || reader.flag(device?.['dnt']) === 1;
  if (isChild) return 'COPPA';
  if (limitsTracking) return 'LMT';
  const sections = gpp === '' ? undefined : gppSections(gpp);
  if (gdpr === 1 || (gdpr === undefined && applicable.includes(gppEuropeSection))) {
    const given = consent === '' ? (sections?.get(gppEuropeSection) ?? '') : consent;
    if (!allowsProfile(given)) return 'GDPR_NO_CONSENT';
  } else if (gdpr === undefined && needsConsent(country)) return 'EEA_NO_SIGNAL';
  if (usPrivacy !== '') {
    if (/^1[YN-]{3}$/iu.test(usPrivacy)) {
      if (usPrivacy[2] === 'Y' || usPrivacy[2] === 'y') return 'US_PRIVACY';
    } else reader.leniency.ignored++;
  }
  return gppRefuses(reader, gpp, applicable, sections) ? 'GPP_OPT_OUT' : '';
}

function segmentsOf(reader: FieldReader, user: JsonObject): readonly string[] {
  const data = user['data'];
  if (!Array.isArray(data)) return [];
  const segments: string[] = [];
  for (const provider of data) {
    const list = reader.object(provider)?.['segment'];
    if (!Array.isArray(list)) continue;
    for (const each of list) {
      const id = reader.text(reader.object(each)?.['id'], keyCharsMax);
      if (id === '') continue;
      if (segments.length < segmentCountMax) segments.push(id);
      else reader.leniency.ignored++;
    }
  }
  return segments;
}

/** Who is asked about, as far as privacy lets us know. Without permission there is neither key nor segment. */
export function readUser(
  reader: FieldReader,
  request: JsonObject,
  device: JsonObject | undefined,
  country: string,
  idFields: readonly UserIdField[],
): BidUser {
  const user = reader.object(request['user']);
  const regs = reader.object(request['regs']);
  const refusal = refusalOf(reader, regs, device, user, country);
  if (refusal !== '') return { key: '', isKeyAllowed: false, refusal, segments: [] };
  if (user === undefined) return { key: '', isKeyAllowed: true, refusal, segments: [] };
  let key = '';
  for (const field of idFields) {
    key = reader.text(user[field], keyCharsMax);
    if (key !== '') break;
  }
  return { key, isKeyAllowed: true, refusal, segments: segmentsOf(reader, user) };
}
