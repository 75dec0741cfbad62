import type { TargetingSpec } from './catalog-spec.ts';
import { isHostName } from './domain-blocks.ts';
import type { EntryReader } from './entry-reader.ts';
import { countryWords, deviceWords, languageWords, osWords } from './targeting-words.ts';

/** Longer lists belong into a segment of their own. */
const listedMax = 10_000;
const segmentCharsMax = 64;
const bundleCharsMax = 256;

const anyText = (): boolean => true;
/** How each list of words is read. */
const lists = {
  countries: { charsMax: 3, isGood: (text) => countryWords.has(text), form: 'a country of ISO 3166-1 alpha-3' },
  devices: { charsMax: 16, isGood: (text) => deviceWords.has(text), form: `one of ${[...deviceWords].join(', ')}` },
  os: { charsMax: 16, isGood: (text) => osWords.has(text), form: `one of ${[...osWords].join(', ')}` },
  languages: { charsMax: 2, isGood: (text) => languageWords.has(text), form: 'a language of ISO 639-1 such as en' },
  segments_any: { charsMax: segmentCharsMax, isGood: anyText, form: '' },
  segments_none: { charsMax: segmentCharsMax, isGood: anyText, form: '' },
  sites_allow: { charsMax: 253, isGood: isHostName, form: 'a domain name in lower case' },
  sites_deny: { charsMax: 253, isGood: isHostName, form: 'a domain name in lower case' },
  apps_allow: { charsMax: bundleCharsMax, isGood: anyText, form: '' },
  apps_deny: { charsMax: bundleCharsMax, isGood: anyText, form: '' },
} as const satisfies Record<string, { charsMax: number; isGood: (text: string) => boolean; form: string }>;
type ListName = keyof typeof lists;
const listNames = Object.keys(lists) as ListName[];
const known: ReadonlySet<string> = new Set([...listNames, 'hours', 'days']);

/** Undefined when the line item has no conditions. */
export function readTargeting(reader: EntryReader): TargetingSpec | undefined {
  if (!reader.has('targeting')) return undefined;
  const inner = reader.object('targeting', known);
  const targeting: { -readonly [Name in keyof TargetingSpec]: TargetingSpec[Name] } = {};
  for (const name of listNames) {
    const { charsMax, isGood, form } = lists[name];
    if (inner.has(name)) targeting[name] = inner.texts(name, listedMax, charsMax, isGood, form);
  }
  if (inner.has('hours')) targeting.hours = inner.integers('hours', 24, 0, 23);
  if (inner.has('days')) targeting.days = inner.integers('days', 7, 0, 6);
  return Object.keys(targeting).length > 0 ? targeting : undefined;
}
