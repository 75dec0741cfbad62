import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Catalog } from '#auction/catalog.ts';
import { buildCatalog, type Headroom } from '#auction/catalog-build.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import { type ImpQuery, newTargetingQuery, type TargetingQuery } from '#auction/targeting-query.ts';
import {
  advertiserEntry,
  bannerEntry,
  type CatalogEntries,
  catalogText,
  type Entry,
  lineItemEntry,
  nativeEntry,
} from '../support/catalog-entries.ts';
import { naiveSelect } from '../support/naive-targeting.ts';
import { catalogs, imps, lineItemEntries, openQueries, queries } from '../support/targeting-worlds.ts';

const roomy: Headroom = { share: 0, rows: 64, textBytes: 65_536 };

function specOf(entries: CatalogEntries) {
  const read = readCatalogText(catalogText(entries));
  if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
  return read.spec;
}

function writerOf(entries: CatalogEntries, headroom = roomy): CatalogWriter {
  return buildCatalog(specOf(entries), headroom);
}

const banner: ImpQuery = {
  banner: { sizes: [{ width: 300, height: 250 }] },
  video: undefined,
  native: undefined,
  isSecure: false,
  blockedAttributes: [],
  isPrivateAuction: false,
};

function shown(
  writer: CatalogWriter,
  index: TargetingIndex,
  query: Partial<TargetingQuery> = {},
  imp = banner,
): string[] {
  const out = new Uint32Array(1000);
  index.begin({ ...newTargetingQuery(), ...query });
  const count = index.select(imp, 1000, out);
  return [...out.subarray(0, count)].map((row) => writer.catalog.adId(row));
}

function applied(writer: CatalogWriter, change: object) {
  const result = writer.apply(change);
  if (result.kind === 'problems') throw new Error(JSON.stringify(result.problems));
  return result;
}

const small = {
  advertisers: [advertiserEntry('adv1'), advertiserEntry('adv2')],
  line_items: [lineItemEntry('li1', ['crea1', 'crea2']), lineItemEntry('li2', ['crea3'], { bid_nanos: 2_000_000 })],
  creatives: ['crea1', 'crea2', 'crea3', 'crea4'].map((id) => bannerEntry(id)),
};

describe('what was read is what the catalog says', () => {
  test('ids, numbers and terms', () => {
    const writer = writerOf(small);
    const { catalog } = writer;
    expect([catalog.adCount, catalog.lineItemCount, catalog.advertiserCount]).toEqual([3, 2, 2]);
    // li2 bids more, so its ad comes first.
    expect([0, 1, 2].map((row) => catalog.adId(row))).toEqual(['li2.crea3', 'li1.crea1', 'li1.crea2']);
    expect(writer.rowOfAd('li1.crea2')).toBe(2);
    expect(['li1.crea3', 'li1', 'li9.crea1', '', '.', 'li1.'].map((id) => writer.rowOfAd(id))).toEqual([
      -1, -1, -1, -1, -1, -1,
    ]);
    const lineItem = writer.lineItemOf('li2');
    expect(catalog.liBidNanos[lineItem]).toBe(2_000_000);
    expect(catalog.liPriorClickQ30[lineItem]).toBe(Math.round(0.02 * 2 ** 30));
    expect(catalog.adWords(1)).toEqual(['li1.crea1', 'li1', 'adv1', 'IAB2', 'banner:300x250']);
  });

  test('every text of an ad comes back as it was written, from any thread', () => {
    fc.assert(
      fc.property(catalogs(10), (entries) => {
        const writer = writerOf(entries);
        const catalog = new Catalog(structuredClone(writer.shared));
        const creatives = new Map(entries.creatives.map((each) => [String(each['id']), each]));
        for (let row = 0; row < catalog.adCount; row++) {
          const card = catalog.card(row);
          const from = creatives.get(card.creativeId)!;
          expect(card).toMatchObject({
            format: from['format'],
            width: from['width'],
            height: from['height'],
            durationMs: from['duration_ms'] ?? 0,
            mimes: from['mimes'] ?? [],
            protocols: from['protocols'] ?? [],
            imageUrl: from['image_url'] ?? '',
            videoUrl: from['video_url'] ?? '',
            title: from['title'] ?? '',
            domain: from['domain'],
            landingUrl: from['landing_url'],
            categories: from['categories'],
            attributes: from['attributes'] ?? [],
            isSecure: from['secure'],
            language: from['language'] ?? '',
          });
          expect(writer.rowOfAd(card.adId)).toBe(row);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('a line item is shown in the words of the file', () => {
    const full = lineItemEntry('li1', ['crea1', 'crea2'], {
      frequency_cap: { count: 3, window_ms: 3_600_000 },
      quality: 0.85,
      targeting: { countries: ['USA'], hours: [1, 2], sites_deny: ['a.example'] },
    });
    const writer = writerOf({ ...small, line_items: [full] });
    expect(writer.entryOfLineItem('li1')).toEqual(full);
    expect(writer.entryOfLineItem('li9')).toBeUndefined();
  });
});

describe('changes', () => {
  test('a new ad is not shown before it is published, and then first', () => {
    const writer = writerOf(small);
    const index = new TargetingIndex(writer.indexShared, writer.catalog);
    const { addedRows, changedLineItems, version } = applied(writer, {
      line_items: [lineItemEntry('li3', ['crea4', 'crea9'])],
      creatives: [bannerEntry('crea9')],
    });
    expect(version).toBe(2);
    expect(changedLineItems).toEqual([writer.lineItemOf('li3')]);
    expect(addedRows).toEqual([3, 4]);
    expect(shown(writer, index)).toEqual(['li2.crea3', 'li1.crea1', 'li1.crea2']);
    expect(writer.rowOfAd('li3.crea9')).toBe(-1);
    writer.publish(addedRows);
    // Newest first, then the order of value.
    expect(shown(writer, index)).toEqual(['li3.crea9', 'li3.crea4', 'li2.crea3', 'li1.crea1', 'li1.crea2']);
    expect(writer.rowOfAd('li3.crea9')).toBe(4);
  });

  test('what came later takes at most a quarter while others are waiting', () => {
    const writer = writerOf({
      ...small,
      line_items: [
        lineItemEntry(
          'old',
          Array.from({ length: 8 }, (_, index) => `crea${index}`),
        ),
      ],
      creatives: Array.from({ length: 16 }, (_, index) => bannerEntry(`crea${index}`)),
    });
    const index = new TargetingIndex(writer.indexShared, writer.catalog);
    const creative_ids = Array.from({ length: 8 }, (_, at) => `crea${at + 8}`);
    writer.publish(applied(writer, { line_items: [lineItemEntry('new', creative_ids)] }).addedRows);
    const out = new Uint32Array(16);
    index.begin(newTargetingQuery());
    expect(index.select(banner, 8, out)).toBe(8);
    expect([...out.subarray(0, 8)]).toEqual([15, 14, 0, 1, 2, 3, 4, 5]);
    expect(index.select(banner, 12, out)).toBe(12);
    expect([...out.subarray(0, 12)]).toEqual([15, 14, 13, 0, 1, 2, 3, 4, 5, 6, 7, 12]);
  });

  test('a patch changes what it names and nothing else', () => {
    const writer = writerOf(small);
    const index = new TargetingIndex(writer.indexShared, writer.catalog);
    const before = writer.entryOfLineItem('li1');
    expect(writer.patchLineItem('li1', { bid_nanos: 7, frequency_cap: { count: 2, window_ms: 5000 } })).toMatchObject({
      kind: 'applied',
      version: 2,
      addedRows: [],
    });
    expect(writer.entryOfLineItem('li1')).toEqual({
      ...before,
      bid_nanos: 7,
      frequency_cap: { count: 2, window_ms: 5000 },
    });
    writer.patchLineItem('li1', { frequency_cap: null, status: 'paused', targeting: { countries: ['FRA'] } });
    expect(writer.entryOfLineItem('li1')).toEqual({
      ...before,
      bid_nanos: 7,
      status: 'paused',
      targeting: { countries: ['FRA'] },
    });
    expect(shown(writer, index, { country: 'FRA' })).toEqual(['li2.crea3']);
    writer.patchLineItem('li1', { status: 'active' });
    expect(shown(writer, index, { country: 'FRA' })).toEqual(['li2.crea3', 'li1.crea1', 'li1.crea2']);
    expect(shown(writer, index, { country: 'USA' })).toEqual(['li2.crea3']);
    writer.patchLineItem('li1', { targeting: null });
    expect(shown(writer, index, { country: 'USA' })).toEqual(['li2.crea3', 'li1.crea1', 'li1.crea2']);
  });

  test.each([
    ['money as text', 'li1', { bid_nanos: '5' }, ['FIELD_TYPE line_item.bid_nanos']],
    ['a required term taken away', 'li1', { bid_nanos: null }, ['FIELD_MISSING line_item.bid_nanos']],
    ['a misspelt field', 'li1', { bid: 5 }, ['FIELD_VALUE line_item.bid']],
    ['creatives', 'li1', { creative_ids: ['crea1'] }, ['FIELD_VALUE line_item.creative_ids']],
    ['an unknown line item', 'li9', { status: 'paused' }, ['UNKNOWN_REFERENCE line_item']],
    ['no object', 'li1', [], ['FIELD_TYPE line_item']],
    [
      'several at once',
      'li1',
      { quality: 2, pacing: 'slow' },
      ['FIELD_VALUE line_item.pacing', 'FIELD_RANGE line_item.quality'],
    ],
  ])('a patch is refused whole: %s', (_, id, patch, places) => {
    const writer = writerOf(small);
    const before = writer.entryOfLineItem('li1');
    const result = writer.patchLineItem(id, patch);
    expect(result.kind === 'problems' && result.problems.map(({ code, path }) => `${code} ${path}`)).toEqual(places);
    expect(writer.entryOfLineItem('li1')).toEqual(before);
    expect(writer.catalog.version).toBe(1);
  });

  test('a change is refused whole, with everything that is wrong', () => {
    const writer = writerOf(small);
    const index = new TargetingIndex(writer.indexShared, writer.catalog);
    const result = writer.apply({
      advertisers: [advertiserEntry('adv1', { category: 'IAB3' })],
      line_items: [
        lineItemEntry('li1', ['crea1'], { advertiser_id: 'adv2' }),
        lineItemEntry('li5', ['crea7'], { bid_nanos: 0 }),
      ],
      creatives: [bannerEntry('crea1', { width: 320 }), nativeEntry('crea2')],
      remove_line_items: ['li1', 'li9'],
    });
    expect(result.kind === 'problems' && result.problems.map(({ code, path }) => `${code} ${path}`).toSorted()).toEqual(
      [
        'CONFLICT advertisers[0].category',
        'CONFLICT creatives[0]',
        'CONFLICT creatives[1].format',
        'CONFLICT line_items[0].advertiser_id',
        'CONFLICT remove_line_items[0]',
        'FIELD_RANGE line_items[1].bid_nanos',
        'UNKNOWN_REFERENCE line_items[1].creative_ids[0]',
        'UNKNOWN_REFERENCE remove_line_items[1]',
      ],
    );
    expect(shown(writer, index)).toEqual(['li2.crea3', 'li1.crea1', 'li1.crea2']);
    expect(writer.catalog.version).toBe(1);
  });

  test('a creative changes in place, for every line item that shows it', () => {
    const writer = writerOf({ ...small, line_items: [...small.line_items, lineItemEntry('li3', ['crea3'])] });
    const index = new TargetingIndex(writer.indexShared, writer.catalog);
    applied(writer, { creatives: [bannerEntry('crea3', { secure: false, domain: 'other.example', title: 'x' })] });
    expect(writer.catalog.card(writer.rowOfAd('li3.crea3'))).toMatchObject({
      domain: 'other.example',
      isSecure: false,
    });
    expect(shown(writer, index, {}, { ...banner, isSecure: true })).toEqual(['li1.crea1', 'li1.crea2']);
    expect(shown(writer, index, { blockedDomains: ['other.example'] })).toEqual(['li1.crea1', 'li1.crea2']);
  });

  test('a line item that loses a creative stops showing it; one that is removed and returns keeps its number', () => {
    const writer = writerOf(small);
    const index = new TargetingIndex(writer.indexShared, writer.catalog);
    const number = writer.lineItemOf('li1');
    applied(writer, { line_items: [lineItemEntry('li1', ['crea2'])] });
    expect(shown(writer, index)).toEqual(['li2.crea3', 'li1.crea2']);
    expect(writer.rowOfAd('li1.crea1')).toBe(-1);
    expect(applied(writer, { remove_line_items: ['li1'] }).changedLineItems).toEqual([number]);
    expect(shown(writer, index)).toEqual(['li2.crea3']);
    expect(writer.entryOfLineItem('li1')).toBeUndefined();
    expect(writer.isRemoved(number)).toBe(true);
    expect(writer.catalog.liIsActive[number]).toBe(0);
    const { addedRows } = applied(writer, { line_items: [lineItemEntry('li1', ['crea1'])] });
    writer.publish(addedRows);
    expect(writer.lineItemOf('li1')).toBe(number);
    expect(shown(writer, index)).toEqual(['li1.crea1', 'li2.crea3']);
  });

  test('a withdrawn row is used again after its grace, not before', () => {
    const writer = writerOf(small, { share: 0, rows: 0, textBytes: 65_536 });
    const capacity = writer.catalog.adCapacity;
    const creative_ids = Array.from({ length: capacity - 3 }, (_, index) => `fill${index}`);
    const creatives = creative_ids.slice(0, 20).map((id) => bannerEntry(id));
    const lineItem = (id: string, count: number) => lineItemEntry(id, creative_ids.slice(0, count));
    applied(writer, { creatives, line_items: [lineItem('li5', 20)] });
    applied(writer, { line_items: [lineItem('li6', capacity - 23)] });
    expect(writer.apply({ line_items: [lineItem('li7', 2)] })).toMatchObject({
      kind: 'problems',
      problems: [{ code: 'CATALOG_FULL', message: 'no room for 2 more ads, only for 0' }],
    });
    applied(writer, { remove_line_items: ['li1'] });
    expect(writer.reclaim(1000)).toBe(0);
    expect(writer.reclaim(60_999)).toBe(0);
    expect(writer.apply({ line_items: [lineItem('li7', 2)] }).kind).toBe('problems');
    expect(writer.reclaim(61_000)).toBe(2);
    // The rows of li1: 1 and 2, best first.
    const { addedRows } = applied(writer, { line_items: [lineItem('li7', 2)] });
    expect(addedRows).toEqual([1, 2]);
    writer.publish(addedRows);
    expect(writer.rowOfAd('li7.fill1')).toBe(2);
  });

  test('a change of many creatives needs room for each list of words once, and none for what is there', () => {
    const writer = writerOf(small, { share: 0, rows: 3000, textBytes: 1 << 20 });
    const creatives = Array.from({ length: 2000 }, (_, index) =>
      bannerEntry(`many-${index}`, { categories: [`IAB${1 + (index % 3)}-1`], title: 'The same' }),
    );
    applied(writer, { creatives });
    // Not a byte of text for the same again.
    const before = writer.shared.texts.used.slice(0);
    applied(writer, { creatives });
    expect(new Uint32Array(writer.shared.texts.used)[0]).toBe(new Uint32Array(before)[0]);
  });

  test('room that runs out is told before anything is written', () => {
    const writer = writerOf(small, { share: 0, rows: 0, textBytes: 3000 });
    const changes: [object, RegExp][] = [
      [
        { line_items: Array.from({ length: 40 }, (_, index) => lineItemEntry(`x${index}`, ['crea1'])) },
        /40 more ads.*40 more line items/u,
      ],
      [{ advertisers: Array.from({ length: 40 }, (_, index) => advertiserEntry(`x${index}`)) }, /40 more advertisers/u],
      [
        {
          creatives: [
            nativeEntry('x', {
              title: 'x'.repeat(256),
              landing_url: `https://x.example/${'y'.repeat(1900)}`,
              image_url: `https://x.example/${'z'.repeat(1900)}`,
            }),
          ],
        },
        /bytes of text/u,
      ],
    ];
    for (const [change, message] of changes) {
      const result = writer.apply(change);
      expect(result.kind === 'problems' && result.problems.map((each) => each.message).join()).toMatch(message);
      expect(writer.catalog.version).toBe(1);
    }
    applied(writer, { line_items: [lineItemEntry('y', ['crea1'])] });
  });

  test('after any changes the index finds what a catalog built anew would find', () => {
    const ids = Array.from({ length: 9 }, (_, index) => `item${index}`);
    const creativeIds = Array.from({ length: 12 }, (_, index) => `crea${index}`);
    const step = fc.oneof(
      fc.record({ upsert: fc.constantFrom(...ids).chain((id) => lineItemEntries(id, creativeIds)) }),
      fc.record({ remove: fc.constantFrom(...ids) }),
    );
    fc.assert(
      fc.property(
        catalogs(6),
        fc.array(step, { maxLength: 8 }),
        fc.array(fc.tuple(fc.oneof(openQueries, queries), imps), { minLength: 6, maxLength: 6 }),
        (entries, steps, requests) => {
          const writer = writerOf(entries);
          const index = new TargetingIndex(writer.indexShared, writer.catalog);
          const held = new Map<string, Entry>(entries.line_items.map((each) => [String(each['id']), each]));
          for (const each of steps) {
            if ('remove' in each) {
              const isApplied = writer.apply({ remove_line_items: [each.remove] }).kind === 'applied';
              if (isApplied !== held.delete(each.remove)) throw new Error(`removing ${each.remove}: ${isApplied}`);
              continue;
            }
            const id = String(each.upsert['id']);
            // A line item does not change hands.
            const number = writer.lineItemOf(id);
            const owner =
              number < 0
                ? each.upsert['advertiser_id']
                : writer.catalog.advertiserId(writer.catalog.liAdvertiser[number]!);
            const upsert = { ...each.upsert, advertiser_id: owner };
            writer.publish(applied(writer, { line_items: [upsert] }).addedRows);
            held.set(id, upsert);
          }
          const spec = specOf({ ...entries, line_items: [...held.values()] });
          for (const [query, imp] of requests)
            expect(shown(writer, index, query, imp).toSorted()).toEqual(naiveSelect(spec, query, imp).toSorted());
        },
      ),
      { numRuns: 150 },
    );
  });
});
