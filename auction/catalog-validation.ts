import { isCategory } from './category-tree.ts';
import {
  type AdvertiserSpec,
  adFormats,
  type CreativeSpec,
  type FrequencyCapSpec,
  type LineItemSpec,
  type LineItemTerms,
  type PriceType,
  priceTypeNames,
} from './catalog-spec.ts';
import { isHostName } from './domain-blocks.ts';
import { type EntryReader, idCharsMax } from './entry-reader.ts';
import { readTargeting } from './targeting-validation.ts';
import { languageWords } from './targeting-words.ts';

/** One event's money: the same bound as for what comes in on the wire. */
export const bidNanosMax = 2 ** 44;
/** A day's budget: 1.1 million units of the currency. */
export const budgetNanosMax = 2 ** 50;
/** Views per user and window; the counters hold small numbers. */
const capCountMax = 16;
const capWindowMsMin = 1000;
const capWindowMsMax = 30 * 86_400_000;
const nameCharsMax = 256;
const urlCharsMax = 2048;
const sideMax = 65_535;
/** Six hours. */
const durationMsMax = 6 * 3_600_000;
const creativesPerLineItemMax = 1000;
const listedMax = 64;
/** OpenRTB's lists end at 17; exchanges add their own from 500 on. */
const attributeMax = 65_535;

export const advertiserFields: ReadonlySet<string> = new Set(['id', 'name', 'domain', 'category']);
/** What a patch of one line item may hold. */
export const termFields: ReadonlySet<string> = new Set([
  'status',
  'price_type',
  'bid_nanos',
  'budget_nanos',
  'pacing',
  'frequency_cap',
  'quality',
  'prior_click',
  'prior_conversion',
  'targeting',
]);
export const lineItemFields: ReadonlySet<string> = new Set([
  'id',
  'campaign_id',
  'advertiser_id',
  'creative_ids',
  ...termFields,
]);
export const creativeFields: ReadonlySet<string> = new Set([
  'id',
  'format',
  'width',
  'height',
  'duration_ms',
  'mimes',
  'protocols',
  'image_url',
  'video_url',
  'title',
  'domain',
  'categories',
  'attributes',
  'secure',
  'landing_url',
  'language',
]);
const capFields: ReadonlySet<string> = new Set(['count', 'window_ms']);

const hostNameForm = 'a domain name in lower case';
const categoryForm = 'an IAB 1.0 category such as IAB2 or IAB2-3';

export function readAdvertiser(reader: EntryReader): AdvertiserSpec {
  return {
    id: reader.id('id'),
    name: reader.text('name', nameCharsMax),
    domain: reader.textOf('domain', 253, isHostName, hostNameForm),
    category: reader.textOf('category', 16, isCategory, categoryForm),
  };
}

/** How each term is read; a patch reads only those that it holds. */
const terms: { readonly [Name in keyof LineItemTerms]: (reader: EntryReader) => LineItemTerms[Name] } = {
  isActive: (reader) => reader.word('status', ['active', 'paused']) === 'active',
  priceType: (reader) => priceTypeNames.indexOf(reader.word('price_type', priceTypeNames)) as PriceType,
  bidNanos: (reader) => reader.integer('bid_nanos', 1, bidNanosMax),
  budgetNanos: (reader) => reader.integer('budget_nanos', 1, budgetNanosMax),
  pacesEvenly: (reader) => reader.word('pacing', ['even', 'asap']) === 'even',
  cap: readCap,
  quality: (reader) => (reader.has('quality') ? reader.share('quality', true) : 1),
  priorClick: (reader) => reader.share('prior_click', false),
  priorConversion: (reader) => reader.share('prior_conversion', false),
  targeting: readTargeting,
};
/** Which field of the file each term comes from. */
const fieldOfTerm: { readonly [Name in keyof LineItemTerms]: string } = {
  isActive: 'status',
  priceType: 'price_type',
  bidNanos: 'bid_nanos',
  budgetNanos: 'budget_nanos',
  pacesEvenly: 'pacing',
  cap: 'frequency_cap',
  quality: 'quality',
  priorClick: 'prior_click',
  priorConversion: 'prior_conversion',
  targeting: 'targeting',
};
const termNames = Object.keys(terms) as (keyof LineItemTerms)[];

function readCap(reader: EntryReader): FrequencyCapSpec | undefined {
  if (!reader.has('frequency_cap')) return undefined;
  const inner = reader.object('frequency_cap', capFields);
  return {
    count: inner.integer('count', 1, capCountMax),
    windowMs: inner.integer('window_ms', capWindowMsMin, capWindowMsMax),
  };
}

export function readLineItem(reader: EntryReader): LineItemSpec {
  const id = reader.id('id');
  if (id.includes('.')) reader.fail('FIELD_VALUE', 'id', 'must not hold a dot: an ad id is LINE_ITEM.CREATIVE');
  return {
    id,
    campaignId: reader.id('campaign_id'),
    advertiserId: reader.id('advertiser_id'),
    creativeIds: reader.texts('creative_ids', creativesPerLineItemMax, idCharsMax, () => true, ''),
    isActive: terms.isActive(reader),
    priceType: terms.priceType(reader),
    bidNanos: terms.bidNanos(reader),
    budgetNanos: terms.budgetNanos(reader),
    pacesEvenly: terms.pacesEvenly(reader),
    cap: terms.cap(reader),
    quality: terms.quality(reader),
    priorClick: terms.priorClick(reader),
    priorConversion: terms.priorConversion(reader),
    targeting: terms.targeting(reader),
  };
}

/** The terms that a patch names. null takes an optional one away: no cap, quality 1, no targeting. */
export function readTerms(reader: EntryReader, patch: object): Partial<LineItemTerms> {
  const named = termNames.filter((name) => Object.hasOwn(patch, fieldOfTerm[name]));
  return Object.fromEntries(named.map((name) => [name, terms[name](reader)]));
}

export function readCreative(reader: EntryReader): CreativeSpec {
  const format = reader.word('format', adFormats);
  const isSecure = reader.flag('secure');
  const url = (field: string): string => readUrl(reader, field, isSecure);
  const isVideo = format === 'video';
  const stated: CreativeSpec = {
    id: reader.id('id'),
    format,
    width: reader.integer('width', 1, sideMax),
    height: reader.integer('height', 1, sideMax),
    durationMs: isVideo ? reader.integer('duration_ms', 1, durationMsMax) : 0,
    mimes: isVideo ? reader.texts('mimes', listedMax, 128, isMime, 'a media type such as video/mp4') : [],
    protocols: isVideo ? reader.integers('protocols', listedMax, 1, attributeMax) : [],
    imageUrl: isVideo ? '' : url('image_url'),
    videoUrl: isVideo ? url('video_url') : '',
    title: format === 'native' ? reader.text('title', nameCharsMax) : '',
    domain: reader.textOf('domain', 253, isHostName, hostNameForm),
    landingUrl: url('landing_url'),
    categories: reader.texts('categories', listedMax, 16, isCategory, categoryForm),
    attributes: reader.has('attributes') ? reader.integers('attributes', listedMax, 1, attributeMax) : [],
    isSecure,
    language: reader.has('language')
      ? reader.textOf('language', 2, (text) => languageWords.has(text), 'a language of ISO 639-1 such as en')
      : '',
  };
  for (const field of isVideo ? ['image_url', 'title'] : ['duration_ms', 'mimes', 'protocols', 'video_url']) {
    if (reader.has(field)) reader.fail('CONFLICT', field, `does not belong to a ${format} creative`);
  }
  return stated;
}

function isMime(text: string): boolean {
  return /^[a-z]+\/[a-z0-9.+-]+$/u.test(text);
}

function readUrl(reader: EntryReader, field: string, isSecure: boolean): string {
  const text = reader.text(field, urlCharsMax);
  if (text === '') return '';
  if (!/^https?:\/\/[!-~]+$/u.test(text) || /["'<>`\\]/u.test(text) || !URL.canParse(text))
    reader.fail('FIELD_VALUE', field, 'must be an absolute http or https URL, with anything unusual in it %-encoded');
  else if (isSecure && !text.startsWith('https://'))
    reader.fail('CONFLICT', field, 'must be https: the creative says that it is secure');
  return text;
}
