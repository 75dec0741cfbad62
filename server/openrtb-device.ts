import type { BidDevice } from './bid-request.ts';
import { countryAlpha3 } from './country-codes.ts';
import type { FieldReader, JsonObject } from './openrtb-coercion.ts';

/** By OpenRTB `devicetype`: general mobile, PC, TV, phone, tablet, connected device, set-top box, out of home. */
const typeByNumber: readonly BidDevice['type'][] = [
  '',
  'phone',
  'desktop',
  'tv',
  'phone',
  'tablet',
  'other',
  'tv',
  'other',
];

const osByName: Readonly<Record<string, BidDevice['os']>> = {
  ios: 'ios',
  iphone: 'ios',
  ipados: 'ios',
  tvos: 'ios',
  android: 'android',
  windows: 'windows',
  macos: 'macos',
  'mac os': 'macos',
  'mac os x': 'macos',
  'os x': 'macos',
  macintosh: 'macos',
  linux: 'linux',
};

const agentCharsMax = 1024;

function typeFromAgent(agent: string): BidDevice['type'] {
  if (agent === '') return '';
  if (/ipad|tablet/iu.test(agent)) return 'tablet';
  if (/smart-?tv|appletv|googletv|hbbtv|roku|bravia/iu.test(agent)) return 'tv';
  if (/mobi|iphone|android/iu.test(agent)) return 'phone';
  return /windows nt|macintosh|x11/iu.test(agent) ? 'desktop' : '';
}

/** Order matters: an iPhone's agent says "like Mac OS X", Android's says Linux. */
function osFrom(text: string): BidDevice['os'] {
  if (text === '') return '';
  if (/iphone|ipad|\bios\b/iu.test(text)) return 'ios';
  if (/android/iu.test(text)) return 'android';
  if (/windows/iu.test(text)) return 'windows';
  if (/mac ?os|macintosh/iu.test(text)) return 'macos';
  return /linux|x11/iu.test(text) ? 'linux' : '';
}

function osOf(name: string, agent: string): BidDevice['os'] {
  if (name === '') return osFrom(agent);
  const exact = osByName[name.toLowerCase()];
  if (exact !== undefined) return exact;
  const loose = osFrom(name);
  return loose === '' ? 'other' : loose;
}

/** `en-US` is `en`: targeting goes by language, not by region. */
export function primaryLanguage(tag: string): string {
  if (tag.length === 2) return tag.toLowerCase();
  const match = /^([a-z]{2,3})(?:[-_]|$)/iu.exec(tag);
  return match === null ? '' : match[1]!.toLowerCase();
}

/** Device and where it is. The user agent is asked only where the fields say nothing. */
export function readDevice(
  reader: FieldReader,
  device: JsonObject | undefined,
  user: JsonObject | undefined,
): BidDevice {
  const deviceGeo = reader.object(device?.['geo']);
  const geo = deviceGeo?.['country'] === undefined ? (reader.object(user?.['geo']) ?? deviceGeo) : deviceGeo;
  const country = countryAlpha3(reader.text(geo?.['country'], 64));
  if (device === undefined) return { type: '', os: '', country, language: '' };
  const agent = reader.text(device['ua'], agentCharsMax);
  const typeNumber = reader.number(device['devicetype'], 0);
  const type = typeByNumber[typeNumber] ?? '';
  const language = reader.text(device['language'], 64);
  const languageTag = reader.text(device['langb'], 64);
  if (language !== '' && languageTag !== '' && primaryLanguage(language) !== primaryLanguage(languageTag))
    reader.leniency.conflicts++;
  return {
    type: type === '' ? typeFromAgent(agent) : type,
    os: osOf(reader.text(device['os'], 64), agent),
    country,
    language: primaryLanguage(language === '' ? languageTag : language),
  };
}
