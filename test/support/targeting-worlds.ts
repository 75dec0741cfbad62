import fc from 'fast-check';
import type { ImpQuery, TargetingQuery } from '#auction/targeting-query.ts';
import {
  advertiserEntry,
  bannerEntry,
  type CatalogEntries,
  type Entry,
  lineItemEntry,
  nativeEntry,
  videoEntry,
} from './catalog-entries.ts';

/** Few words, so that conditions and requests meet often. */
const countries = ['USA', 'GBR', 'DEU'];
const devices = ['phone', 'desktop', 'tv'];
const systems = ['ios', 'android'];
const languages = ['en', 'de', 'fr'];
const segments = ['IAB1', 'IAB2', 'seg1', 'seg2', 'seg3'];
const sites = ['a.example', 'news.a.example', 'b.example'];
const apps = ['com.a', 'com.b', '123'];
const advertiserIds = ['adv1', 'adv2', 'adv3'];
const domains = ['adv1.example', 'shop.adv1.example', 'adv2.example', 'adv3.example', 'com.b'];
const categories = ['IAB1', 'IAB2', 'IAB2-1', 'IAB2-2', 'IAB20', 'IAB3-1'];
const sizes = [
  { width: 300, height: 250 },
  { width: 320, height: 50 },
  { width: 728, height: 90 },
];

const some = <Word>(words: readonly Word[]): fc.Arbitrary<Word[]> =>
  fc.uniqueArray(fc.constantFrom(...words), { maxLength: 3 });
const someOf = <Word>(words: readonly Word[]): fc.Arbitrary<Word[]> =>
  fc.uniqueArray(fc.constantFrom(...words), { minLength: 1, maxLength: 3 });

export const targetingEntries: fc.Arbitrary<Entry> = fc.record(
  {
    countries: someOf(countries),
    devices: someOf(devices),
    os: someOf(systems),
    languages: someOf(languages),
    hours: fc.uniqueArray(fc.integer({ min: 0, max: 23 }), { minLength: 1 }),
    days: someOf([0, 1, 5]),
    segments_any: someOf(segments),
    segments_none: someOf(segments),
    sites_allow: someOf(sites),
    sites_deny: someOf(sites),
    apps_allow: someOf(apps),
    apps_deny: someOf(apps),
  },
  { requiredKeys: [] },
);
/** Most line items have few conditions, else hardly anything would ever match. */
const targetings = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  {
    weight: 3,
    arbitrary: targetingEntries.chain((entry) =>
      fc
        .subarray(Object.keys(entry), { maxLength: Math.min(2, Object.keys(entry).length) })
        .map((kept) => Object.fromEntries(kept.map((name) => [name, entry[name]]))),
    ),
  },
);

const creativeFacts = fc.record({
  categories: someOf(categories),
  domain: fc.constantFrom(...domains),
  secure: fc.boolean(),
  landing_url: fc.constantFrom('https://adv.example/x', 'https://play.google.com/store/apps/details?id=com.a'),
  attributes: someOf([6, 9]),
  hasAttributes: fc.boolean(),
  language: fc.constantFrom('en', 'de', undefined),
});

function creativeEntries(id: string): fc.Arbitrary<Entry> {
  const banner = fc.constantFrom(...sizes).map((size) => bannerEntry(id, size));
  const video = fc
    .record({
      duration_ms: fc.constantFrom(6000, 15_000, 30_000),
      mimes: someOf(['video/mp4', 'video/webm']),
      protocols: someOf([2, 3, 6]),
      width: fc.constantFrom(320, 640),
    })
    .map((facts) => videoEntry(id, facts));
  const native = fc.constantFrom('Buy', 'A title of thirty characters.').map((title) => nativeEntry(id, { title }));
  return fc.tuple(fc.oneof({ weight: 4, arbitrary: banner }, video, native), creativeFacts).map(([entry, facts]) => {
    const { hasAttributes, attributes, ...rest } = facts;
    return { ...entry, ...rest, ...(hasAttributes ? { attributes } : {}) };
  });
}

const terms = fc.record({
  status: fc.constantFrom('active', 'active', 'active', 'paused'),
  price_type: fc.constantFrom('CPM', 'CPC', 'CPA'),
  bid_nanos: fc.integer({ min: 1, max: 5 }).map((steps) => steps * 1_000_000),
  quality: fc.constantFrom(1, 0.5),
});

/** One line item of the given id, with one to three of the creatives. */
export function lineItemEntries(id: string, creativeIds: readonly string[]): fc.Arbitrary<Entry> {
  return fc
    .tuple(
      terms,
      targetings,
      fc.constantFrom(...advertiserIds),
      fc.uniqueArray(fc.constantFrom(...creativeIds), { minLength: 1, maxLength: 3 }),
    )
    .map(([facts, targeting, advertiser_id, creatives]) =>
      lineItemEntry(id, creatives, {
        ...facts,
        advertiser_id,
        ...(Object.keys(targeting).length > 0 ? { targeting } : {}),
      }),
    );
}

/** Up to `lineItemCountMax` line items over a dozen creatives. */
export function catalogs(lineItemCountMax: number): fc.Arbitrary<Required<CatalogEntries>> {
  const creativeIds = Array.from({ length: 12 }, (_, index) => `crea${index}`);
  const advertisers = advertiserIds.map((id) =>
    advertiserEntry(id, { name: id === 'adv2' ? 'A brand with a long name' : 'Brand' }),
  );
  return fc
    .tuple(
      fc.tuple(...creativeIds.map(creativeEntries)),
      fc
        .integer({ min: 1, max: lineItemCountMax })
        .chain((count) =>
          fc.tuple(...Array.from({ length: count }, (_, index) => lineItemEntries(`item${index}`, creativeIds))),
        ),
    )
    .map(([creatives, line_items]) => ({ advertisers, creatives, line_items }));
}

export const queries: fc.Arbitrary<TargetingQuery> = fc.record({
  hour: fc.integer({ min: 0, max: 23 }),
  day: fc.integer({ min: 0, max: 6 }),
  country: fc.constantFrom(...countries, 'FRA', ''),
  device: fc.constantFrom(...devices, ''),
  os: fc.constantFrom(...systems, 'linux', ''),
  language: fc.constantFrom(...languages, ''),
  placeKind: fc.constantFrom('site', 'site', 'app', 'dooh', 'none'),
  place: fc.constantFrom(...sites, ...apps, 'm.news.a.example', 'xa.example', ''),
  segments: some(segments),
  storedSegments: some([...segments, 'unheard of']),
  blockedDomains: some([...domains, 'www.adv2.example', 'example', 'blocked.example']),
  blockedCategories: some([...categories, 'IAB25']),
  allowedCategories: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, some(categories)),
  categoryTaxonomy: fc.constantFrom(1, 1, 1, 6),
  blockedApps: some(apps),
  allowedSeats: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, some([...advertiserIds, 'nobody'])),
  blockedSeats: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, some(advertiserIds)),
  allowedLanguages: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, some(languages)),
});
/** A query that blocks nothing, so that what is found does not get too little to tell anything. */
export const openQueries: fc.Arbitrary<TargetingQuery> = queries.map((query) => ({
  ...query,
  blockedDomains: [],
  blockedCategories: [],
  allowedCategories: [],
  categoryTaxonomy: 1,
  blockedApps: [],
  allowedSeats: [],
  blockedSeats: [],
  allowedLanguages: [],
}));

const assets = fc.record({
  isRequired: fc.boolean(),
  kind: fc.constantFrom('title' as const, 'image' as const, 'data' as const, 'video' as const),
  type: fc.constantFrom(0, 1, 2, 3),
  charsMax: fc.constantFrom(0, 5, 25, 90),
});
const orNone = <Slot>(slot: fc.Arbitrary<Slot>): fc.Arbitrary<Slot | undefined> =>
  fc.option(slot, { nil: undefined, freq: 3 });

export const imps: fc.Arbitrary<ImpQuery> = fc.record({
  banner: orNone(fc.record({ sizes: some([...sizes, { width: 1, height: 1 }]) })),
  video: orNone(
    fc.record({
      mimes: someOf(['video/mp4', 'video/webm', 'video/ogg']),
      protocols: some([2, 3, 7]),
      durationMsMin: fc.constantFrom(0, 7000),
      durationMsMax: fc.constantFrom(Number.POSITIVE_INFINITY, 20_000),
      durationsMs: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, some([6000, 15_000])),
      width: fc.constantFrom(0, 480, 640),
      height: fc.constantFrom(0, 360, 480),
    }),
  ),
  native: orNone(fc.record({ assets: fc.array(assets, { maxLength: 3 }) })),
  isSecure: fc.boolean(),
  blockedAttributes: some([6, 9, 16]),
  isPrivateAuction: fc.integer({ min: 0, max: 19 }).map((draw) => draw === 0),
});
