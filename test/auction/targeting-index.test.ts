import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import type { CatalogSpec } from '#auction/catalog-spec.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import { type ImpQuery, newTargetingQuery, type TargetingQuery } from '#auction/targeting-query.ts';
import {
  advertiserEntry,
  bannerEntry,
  type CatalogEntries,
  catalogText,
  lineItemEntry,
  nativeEntry,
  videoEntry,
} from '../support/catalog-entries.ts';
import { naiveSelect } from '../support/naive-targeting.ts';
import { catalogs, imps, openQueries, queries } from '../support/targeting-worlds.ts';

function built(entries: CatalogEntries): { spec: CatalogSpec; writer: CatalogWriter; index: TargetingIndex } {
  const read = readCatalogText(catalogText(entries));
  if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
  const writer = buildCatalog(read.spec, { share: 0, rows: 40, textBytes: 65_536 });
  return { spec: read.spec, writer, index: new TargetingIndex(writer.indexShared, writer.catalog) };
}

function select(
  { writer, index }: { writer: CatalogWriter; index: TargetingIndex },
  query: TargetingQuery,
  imp: ImpQuery,
  limit = 1000,
): string[] {
  const out = new Uint32Array(1000);
  index.begin(query);
  const count = index.select(imp, limit, out);
  return [...out.subarray(0, count)].map((row) => writer.catalog.adId(row));
}

describe('against a filter that takes one ad at a time', () => {
  test('the same ads, in the same order', () => {
    let found = 0;
    let asked = 0;
    fc.assert(
      fc.property(
        catalogs(30),
        fc.array(fc.tuple(fc.oneof(openQueries, queries), imps), { minLength: 8, maxLength: 8 }),
        (entries, requests) => {
          const world = built(entries);
          for (const [query, imp] of requests) {
            const expected = naiveSelect(world.spec, query, imp);
            expect(select(world, query, imp)).toEqual(expected);
            asked++;
            if (expected.length > 0) found++;
          }
        },
      ),
      { numRuns: 300 },
    );
    // A comparison of empty lists says nothing.
    expect(found / asked).toBeGreaterThan(0.12);
  });

  test('a limit takes the first ones', () => {
    fc.assert(
      fc.property(catalogs(60), openQueries, imps, fc.integer({ min: 0, max: 12 }), (entries, query, imp, limit) => {
        const world = built(entries);
        expect(select(world, query, imp, limit)).toEqual(naiveSelect(world.spec, query, imp).slice(0, limit));
      }),
      { numRuns: 150 },
    );
  });

  test('what is asked for one imp says nothing about the next', () => {
    fc.assert(
      fc.property(catalogs(20), queries, fc.array(imps, { minLength: 2, maxLength: 5 }), (entries, query, list) => {
        const world = built(entries);
        const out = new Uint32Array(1000);
        world.index.begin(query);
        for (const imp of list) {
          const count = world.index.select(imp, 1000, out);
          const ids = [...out.subarray(0, count)].map((row) => world.writer.catalog.adId(row));
          expect(ids).toEqual(naiveSelect(world.spec, query, imp));
        }
      }),
      { numRuns: 100 },
    );
  });

  test('a block never adds an ad, and a wider slot never loses one', () => {
    const blockLists = ['blockedDomains', 'blockedCategories', 'blockedApps', 'blockedSeats'] as const;
    fc.assert(
      fc.property(catalogs(30), openQueries, queries, imps, imps, (entries, open, blocking, imp, other) => {
        const world = built(entries);
        const before = new Set(select(world, open, imp));
        for (const name of blockLists) {
          const after = select(world, { ...open, [name]: blocking[name] }, imp);
          expect(after.filter((id) => !before.has(id))).toEqual([]);
        }
        const attributes = [...imp.blockedAttributes, ...other.blockedAttributes];
        expect(select(world, open, { ...imp, blockedAttributes: attributes }).filter((id) => !before.has(id))).toEqual(
          [],
        );
        const sizes = [...(imp.banner?.sizes ?? []), ...(other.banner?.sizes ?? [])];
        const wider = new Set(select(world, open, { ...imp, banner: { sizes } }));
        expect([...before].filter((id) => !wider.has(id))).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });
});

describe('stories', () => {
  const banner: ImpQuery = {
    banner: { sizes: [{ width: 300, height: 250 }] },
    video: undefined,
    native: undefined,
    isSecure: false,
    blockedAttributes: [],
    isPrivateAuction: false,
  };
  const asked = (changes: Partial<TargetingQuery> = {}): TargetingQuery => ({ ...newTargetingQuery(), ...changes });
  const one = (creative = bannerEntry('crea'), lineItem = {}, advertiser = {}) =>
    built({
      advertisers: [advertiserEntry('adv1', advertiser)],
      line_items: [lineItemEntry('item', [String(creative['id'])], lineItem)],
      creatives: [creative],
    });

  test('a blocked domain blocks what is below it, in any place where the ad names one', () => {
    const ford = one(bannerEntry('crea', { domain: 'www.ford.com' }), {}, { domain: 'motors.co.uk' });
    expect(select(ford, asked(), banner)).toEqual(['item.crea']);
    expect(select(ford, asked({ blockedDomains: ['ford.com'] }), banner)).toEqual([]);
    expect(select(ford, asked({ blockedDomains: ['www.ford.com'] }), banner)).toEqual([]);
    expect(select(ford, asked({ blockedDomains: ['motors.co.uk'] }), banner)).toEqual([]);
    // Not the same company, and a suffix that is nobody's.
    expect(select(ford, asked({ blockedDomains: ['stanford.com', 'shop.ford.com', 'com', 'co.uk'] }), banner)).toEqual([
      'item.crea',
    ]);
    expect(
      select(one(bannerEntry('crea', { domain: 'ford.com' })), asked({ blockedDomains: ['www.ford.com'] }), banner),
    ).toEqual([]);
  });

  test('a parent category blocks its children, not its namesakes nor its parent', () => {
    const child = one(bannerEntry('crea', { categories: ['IAB2-3'] }));
    expect(select(child, asked({ blockedCategories: ['IAB2'] }), banner)).toEqual([]);
    expect(select(child, asked({ blockedCategories: ['IAB2-3'] }), banner)).toEqual([]);
    expect(select(child, asked({ blockedCategories: ['IAB2-33', 'IAB23', 'IAB2-2'] }), banner)).toEqual(['item.crea']);
    const parent = one(bannerEntry('crea', { categories: ['IAB2'] }));
    expect(select(parent, asked({ blockedCategories: ['IAB2-3'] }), banner)).toEqual(['item.crea']);
    expect(select(child, asked({ allowedCategories: ['IAB2'] }), banner)).toEqual(['item.crea']);
    expect(select(parent, asked({ allowedCategories: ['IAB2-3'] }), banner)).toEqual([]);
  });

  test('lists of another taxonomy are not compared with ours', () => {
    const ad = one();
    expect(select(ad, asked({ categoryTaxonomy: 6, blockedCategories: ['IAB2', 'IAB2-3'] }), banner)).toEqual([
      'item.crea',
    ]);
    expect(select(ad, asked({ categoryTaxonomy: 6, allowedCategories: ['IAB2'] }), banner)).toEqual([]);
  });

  test('an app that is advertised can be blocked by its store id', () => {
    const android = one(
      bannerEntry('crea', { landing_url: 'https://play.google.com/store/apps/details?id=com.game&hl=en' }),
    );
    expect(select(android, asked({ blockedApps: ['com.other'] }), banner)).toEqual(['item.crea']);
    expect(select(android, asked({ blockedApps: ['com.game'] }), banner)).toEqual([]);
    const apple = one(bannerEntry('crea', { landing_url: 'https://apps.apple.com/us/app/game/id123456789?mt=8' }));
    expect(select(apple, asked({ blockedApps: ['123456789'] }), banner)).toEqual([]);
  });

  test('a user without segments is met by ads that ask for none', () => {
    const wanted = one(bannerEntry('crea'), { targeting: { segments_any: ['seg1', 'seg2'] } });
    expect(select(wanted, asked(), banner)).toEqual([]);
    expect(select(wanted, asked({ storedSegments: ['seg2'] }), banner)).toEqual(['item.crea']);
    const spared = one(bannerEntry('crea'), { targeting: { segments_none: ['seg1'] } });
    expect(select(spared, asked(), banner)).toEqual(['item.crea']);
    expect(select(spared, asked({ segments: ['seg1'] }), banner)).toEqual([]);
  });

  test('a line item with a list of sites is shown on none but these, and in no app', () => {
    const listed = one(bannerEntry('crea'), { targeting: { sites_allow: ['news.example'] } });
    const at = (placeKind: TargetingQuery['placeKind'], place: string) =>
      select(listed, asked({ placeKind, place }), banner);
    expect(at('site', 'news.example')).toEqual(['item.crea']);
    expect(at('site', 'm.news.example')).toEqual(['item.crea']);
    expect(at('site', 'fakenews.example')).toEqual([]);
    expect(at('app', 'news.example')).toEqual([]);
    expect(at('none', '')).toEqual([]);
  });

  test('http ads stay out of secure slots, blocked attributes out of any', () => {
    const plain = one(bannerEntry('crea', { secure: false, attributes: [6] }));
    expect(select(plain, asked(), banner)).toEqual(['item.crea']);
    expect(select(plain, asked(), { ...banner, isSecure: true })).toEqual([]);
    expect(select(plain, asked(), { ...banner, blockedAttributes: [6] })).toEqual([]);
    expect(select(plain, asked(), { ...banner, blockedAttributes: [1, 16] })).toEqual(['item.crea']);
  });

  test('nothing for private auctions, for slots without a size, and for sizes that we do not have', () => {
    const ad = one();
    expect(select(ad, asked(), { ...banner, isPrivateAuction: true })).toEqual([]);
    expect(select(ad, asked(), { ...banner, banner: { sizes: [] } })).toEqual([]);
    expect(select(ad, asked(), { ...banner, banner: undefined })).toEqual([]);
    expect(select(ad, asked(), { ...banner, banner: { sizes: [{ width: 250, height: 300 }] } })).toEqual([]);
  });

  test('a film fits by type, protocol, length and size of the player', () => {
    const film = one(videoEntry('crea'));
    const slot = {
      mimes: ['VIDEO/MP4'],
      protocols: [3],
      durationMsMin: 5000,
      durationMsMax: 15_000,
      durationsMs: [] as number[],
      width: 640,
      height: 480,
    };
    const at = (changes: Partial<typeof slot>) =>
      select(film, asked(), { ...banner, banner: undefined, video: { ...slot, ...changes } }).length;
    expect(at({})).toBe(1);
    expect(at({ mimes: ['video/webm'] })).toBe(0);
    expect(at({ protocols: [7] })).toBe(0);
    expect(at({ protocols: [] })).toBe(1);
    expect(at({ durationMsMax: 14_999 })).toBe(0);
    expect(at({ durationMsMin: 15_001 })).toBe(0);
    expect(at({ durationsMs: [6000, 30_000] })).toBe(0);
    expect(at({ durationsMs: [15_000], durationMsMax: Number.POSITIVE_INFINITY })).toBe(1);
    expect(at({ width: 300 })).toBe(0);
    expect(at({ width: 0, height: 0 })).toBe(1);
  });

  test('a native ad is shown where everything required can be filled', () => {
    const native = one(nativeEntry('crea', { title: 'Twelve chars' }), {}, { name: 'Brand' });
    const title = { isRequired: true, kind: 'title' as const, type: 0, charsMax: 12 };
    const sponsor = { isRequired: true, kind: 'data' as const, type: 1, charsMax: 5 };
    const price = { isRequired: true, kind: 'data' as const, type: 6, charsMax: 0 };
    const film = { isRequired: true, kind: 'video' as const, type: 0, charsMax: 0 };
    const at = (...assets: (typeof title | typeof sponsor | typeof film)[]) =>
      select(native, asked(), { ...banner, banner: undefined, native: { assets } }).length;
    expect(at(title, sponsor)).toBe(1);
    expect(at({ ...title, charsMax: 11 })).toBe(0);
    expect(at({ ...title, charsMax: 11, isRequired: false })).toBe(1);
    expect(at(title, { ...sponsor, charsMax: 4 })).toBe(0);
    expect(at(title, price)).toBe(0);
    expect(at(title, { ...price, isRequired: false })).toBe(1);
    expect(at(title, film)).toBe(0);
    expect(at({ ...film, isRequired: false })).toBe(0);
    expect(at()).toBe(0);
  });

  test('the best by value come first, whatever their place in the file', () => {
    const world = built({
      line_items: [
        lineItemEntry('cheap', ['crea1'], { bid_nanos: 1_000_000 }),
        lineItemEntry('click', ['crea2'], { price_type: 'CPC', bid_nanos: 500_000_000, prior_click: 0.02 }),
        lineItemEntry('poor', ['crea3'], { bid_nanos: 9_000_000, quality: 0.2 }),
        lineItemEntry('sale', ['crea4'], {
          price_type: 'CPA',
          bid_nanos: 2e9,
          prior_click: 0.02,
          prior_conversion: 0.05,
        }),
      ],
      creatives: ['crea1', 'crea2', 'crea3', 'crea4'].map((id) => bannerEntry(id)),
    });
    // Per impression: 10 M, 2 M, 1.8 M, 1 M nanos.
    expect(select(world, asked(), banner)).toEqual(['click.crea2', 'sale.crea4', 'poor.crea3', 'cheap.crea1']);
    expect(select(world, asked(), banner, 2)).toEqual(['click.crea2', 'sale.crea4']);
  });
});
