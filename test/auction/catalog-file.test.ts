import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readCatalogFile, readCatalogText } from '#auction/catalog-file.ts';
import { problemCountMax } from '#auction/catalog-problems.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { writeCatalog } from '#deploy/demo/market.ts';
import {
  advertiserEntry,
  bannerEntry,
  catalogText,
  type Entry,
  lineItemEntry,
  nativeEntry,
  videoEntry,
} from '../support/catalog-entries.ts';

function problemsOf(text: string): { code: string; path: string; message: string }[] {
  const read = readCatalogText(text);
  if (read.kind !== 'problems') throw new Error('the catalog was taken without a complaint');
  expect(read.total).toBeGreaterThanOrEqual(read.problems.length);
  return [...read.problems];
}

function placesOf(text: string): string[] {
  return problemsOf(text).map(({ code, path }) => `${code} ${path}`);
}

const sound = { line_items: [lineItemEntry('li1', ['cr1'])], creatives: [bannerEntry('cr1')] };

test('a sound catalog becomes a spec with its defaults filled in', () => {
  const read = readCatalogText(catalogText(sound));
  expect(read.kind).toBe('catalog');
  if (read.kind !== 'catalog') return;
  expect(read.warnings).toEqual([]);
  expect(read.spec.lineItems[0]).toMatchObject({ quality: 1, cap: undefined, targeting: undefined, pacesEvenly: true });
  expect(read.spec.creatives[0]).toMatchObject({
    attributes: [],
    durationMs: 0,
    videoUrl: '',
    title: '',
    language: '',
  });
});

test('what the demo market writes is read without a warning', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gavelin-catalog-'));
  try {
    const layout = new MarketLayout({ ads: 3000, users: 100, rows: 100, seed: 7 });
    const path = join(folder, 'catalog.json');
    writeCatalog(path, layout, { roughClickPrior: () => 0.02, roughConversionPrior: () => 0.05 });
    const progress: number[] = [];
    const read = readCatalogFile(path, (done, total) => progress.push(done / total));
    expect(read).toMatchObject({ kind: 'catalog', warnings: [] });
    if (read.kind !== 'catalog') return;
    expect(read.spec.creatives).toHaveLength(3000);
    expect(read.spec.lineItems).toHaveLength(layout.lineItemCount);
    expect(read.spec.advertisers).toHaveLength(layout.advertiserCount);
    expect(read.spec.lineItems.flatMap(({ creativeIds }) => creativeIds)).toEqual(
      Array.from({ length: 3000 }, (_, ad) => layout.creativeId(ad)),
    );
    expect(progress.at(-1)).toBe(1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const lineItemMistakes: [string, Entry, string][] = [
  ['a bid that is not whole', { bid_nanos: 1.5 }, 'FIELD_TYPE line_items[0].bid_nanos'],
  ['a bid of nothing', { bid_nanos: 0 }, 'FIELD_RANGE line_items[0].bid_nanos'],
  ['a negative bid', { bid_nanos: -5 }, 'FIELD_RANGE line_items[0].bid_nanos'],
  ['a bid beyond 2^44', { bid_nanos: 2 ** 44 + 1 }, 'FIELD_RANGE line_items[0].bid_nanos'],
  ['money as text', { budget_nanos: '1000' }, 'FIELD_TYPE line_items[0].budget_nanos'],
  ['a budget beyond 2^50', { budget_nanos: 2 ** 50 + 2 }, 'FIELD_RANGE line_items[0].budget_nanos'],
  ['an unknown price type', { price_type: 'CPV' }, 'FIELD_VALUE line_items[0].price_type'],
  ['an unknown status', { status: 'on' }, 'FIELD_VALUE line_items[0].status'],
  ['an unknown pacing', { pacing: 'fast' }, 'FIELD_VALUE line_items[0].pacing'],
  ['a prior of one', { prior_click: 1 }, 'FIELD_RANGE line_items[0].prior_click'],
  ['a prior of zero', { prior_conversion: 0 }, 'FIELD_RANGE line_items[0].prior_conversion'],
  ['a quality above one', { quality: 1.01 }, 'FIELD_RANGE line_items[0].quality'],
  ['a quality of zero', { quality: 0 }, 'FIELD_RANGE line_items[0].quality'],
  [
    'a cap of nothing',
    { frequency_cap: { count: 0, window_ms: 1000 } },
    'FIELD_RANGE line_items[0].frequency_cap.count',
  ],
  [
    'a cap above 16',
    { frequency_cap: { count: 17, window_ms: 1000 } },
    'FIELD_RANGE line_items[0].frequency_cap.count',
  ],
  [
    'a window of half a second',
    { frequency_cap: { count: 1, window_ms: 500 } },
    'FIELD_RANGE line_items[0].frequency_cap.window_ms',
  ],
  [
    'a window of 31 days',
    { frequency_cap: { count: 1, window_ms: 31 * 86_400_000 } },
    'FIELD_RANGE line_items[0].frequency_cap.window_ms',
  ],
  ['a cap without window', { frequency_cap: { count: 1 } }, 'FIELD_MISSING line_items[0].frequency_cap.window_ms'],
  ['no creatives', { creative_ids: [] }, 'FIELD_RANGE line_items[0].creative_ids'],
  ['a creative twice', { creative_ids: ['cr1', 'cr1'] }, 'DUPLICATE_ID line_items[0].creative_ids[1]'],
  ['an unknown creative', { creative_ids: ['cr1', 'cr9'] }, 'UNKNOWN_REFERENCE line_items[0].creative_ids[1]'],
  ['an unknown advertiser', { advertiser_id: 'adv9' }, 'UNKNOWN_REFERENCE line_items[0].advertiser_id'],
  ['a dot in the id', { id: 'li.1' }, 'FIELD_VALUE line_items[0].id'],
  ['a space in the id', { id: 'li 1' }, 'FIELD_VALUE line_items[0].id'],
  ['an hour that is none', { targeting: { hours: [0, 24] } }, 'FIELD_RANGE line_items[0].targeting.hours[1]'],
  ['a day that is none', { targeting: { days: [7] } }, 'FIELD_RANGE line_items[0].targeting.days[0]'],
  ['an hour twice', { targeting: { hours: [3, 3] } }, 'DUPLICATE_ID line_items[0].targeting.hours[1]'],
  [
    'a country of two letters',
    { targeting: { countries: ['US'] } },
    'FIELD_VALUE line_items[0].targeting.countries[0]',
  ],
  ['a country that is none', { targeting: { countries: ['XYZ'] } }, 'FIELD_VALUE line_items[0].targeting.countries[0]'],
  ['a language that is none', { targeting: { languages: ['xx'] } }, 'FIELD_VALUE line_items[0].targeting.languages[0]'],
  ['a device that is none', { targeting: { devices: ['fridge'] } }, 'FIELD_VALUE line_items[0].targeting.devices[0]'],
  ['a system that is none', { targeting: { os: ['iOS'] } }, 'FIELD_VALUE line_items[0].targeting.os[0]'],
  [
    'a site with a path',
    { targeting: { sites_deny: ['a.example/x'] } },
    'FIELD_VALUE line_items[0].targeting.sites_deny[0]',
  ],
  ['an empty condition', { targeting: { segments_any: [] } }, 'FIELD_RANGE line_items[0].targeting.segments_any'],
  [
    'a segment that is no text',
    { targeting: { segments_none: [7] } },
    'FIELD_TYPE line_items[0].targeting.segments_none[0]',
  ],
  ['targeting that is a list', { targeting: [] }, 'FIELD_TYPE line_items[0].targeting'],
];

test.each(lineItemMistakes)('of a line item: %s', (_, change, place) => {
  const line_items = [lineItemEntry('li1', ['cr1'], change)];
  expect(placesOf(catalogText({ ...sound, line_items }))).toEqual([place]);
});

const creativeMistakes: [string, Entry, string][] = [
  ['an unknown format', bannerEntry('cr1', { format: 'audio' }), 'FIELD_VALUE creatives[0].format'],
  ['no width', bannerEntry('cr1', { width: 0 }), 'FIELD_RANGE creatives[0].width'],
  ['a side beyond 16 bits', bannerEntry('cr1', { height: 70_000 }), 'FIELD_RANGE creatives[0].height'],
  ['http when secure', bannerEntry('cr1', { image_url: 'http://a.example/1.jpg' }), 'CONFLICT creatives[0].image_url'],
  [
    'an http landing page when secure',
    bannerEntry('cr1', { landing_url: 'http://a.example/' }),
    'CONFLICT creatives[0].landing_url',
  ],
  ['a relative URL', bannerEntry('cr1', { secure: false, image_url: '/1.jpg' }), 'FIELD_VALUE creatives[0].image_url'],
  [
    'a URL that runs scripts',
    bannerEntry('cr1', { secure: false, landing_url: 'javascript:alert(1)' }),
    'FIELD_VALUE creatives[0].landing_url',
  ],
  [
    'a URL that breaks out of an attribute',
    bannerEntry('cr1', { image_url: 'https://a.example/"onload=x' }),
    'FIELD_VALUE creatives[0].image_url',
  ],
  ['a domain in capitals', bannerEntry('cr1', { domain: 'Adv1.example' }), 'FIELD_VALUE creatives[0].domain'],
  [
    'a category of another taxonomy',
    bannerEntry('cr1', { categories: ['483'] }),
    'FIELD_VALUE creatives[0].categories[0]',
  ],
  ['no category', bannerEntry('cr1', { categories: [] }), 'FIELD_RANGE creatives[0].categories'],
  ['an attribute of zero', bannerEntry('cr1', { attributes: [0] }), 'FIELD_RANGE creatives[0].attributes[0]'],
  ['secure as a number', bannerEntry('cr1', { secure: 1 }), 'FIELD_TYPE creatives[0].secure'],
  [
    'a banner with a film',
    bannerEntry('cr1', { video_url: 'https://a.example/1.mp4' }),
    'CONFLICT creatives[0].video_url',
  ],
  ['a film without media types', videoEntry('cr1', { mimes: [] }), 'FIELD_RANGE creatives[0].mimes'],
  ['a film without length', videoEntry('cr1', { duration_ms: undefined }), 'FIELD_MISSING creatives[0].duration_ms'],
  ['a native ad without title', nativeEntry('cr1', { title: undefined }), 'FIELD_MISSING creatives[0].title'],
  ['half a surrogate pair', nativeEntry('cr1', { title: 'x\ud800' }), 'FIELD_VALUE creatives[0].title'],
  ['a control character', nativeEntry('cr1', { title: 'x\u0001' }), 'FIELD_VALUE creatives[0].title'],
  ['a language that is none', bannerEntry('cr1', { language: 'EN' }), 'FIELD_VALUE creatives[0].language'],
];

test.each(creativeMistakes)('of a creative: %s', (_, creative, place) => {
  expect(placesOf(catalogText({ ...sound, creatives: [creative] }))).toEqual([place]);
});

test('ids are unique in their list', () => {
  const text = catalogText({
    advertisers: [advertiserEntry('adv1'), advertiserEntry('adv1')],
    line_items: [lineItemEntry('li1', ['cr1']), lineItemEntry('li1', ['cr1'])],
    creatives: [bannerEntry('cr1'), bannerEntry('cr1')],
  });
  expect(placesOf(text)).toEqual([
    'DUPLICATE_ID advertisers[1].id',
    'DUPLICATE_ID creatives[1].id',
    'DUPLICATE_ID line_items[1].id',
  ]);
});

test('every mistake is told at once, with the number of the entry', () => {
  const text = catalogText({
    advertisers: [advertiserEntry('adv1', { domain: 'no domain', category: 'Sports' })],
    line_items: [lineItemEntry('li1', ['cr1']), lineItemEntry('li2', ['cr2'], { bid_nanos: 0, price_type: 'CPX' })],
    creatives: [bannerEntry('cr1', { width: -1, landing_url: 'nowhere' })],
  });
  expect(placesOf(text)).toEqual([
    'FIELD_VALUE advertisers[0].domain',
    'FIELD_VALUE advertisers[0].category',
    'FIELD_VALUE line_items[1].price_type',
    'FIELD_RANGE line_items[1].bid_nanos',
    'FIELD_RANGE creatives[0].width',
    'FIELD_VALUE creatives[0].landing_url',
    'UNKNOWN_REFERENCE line_items[1].creative_ids[0]',
  ]);
});

test('a thousand mistakes are counted, a hundred told', () => {
  const line_items = Array.from({ length: 1000 }, (_, index) => lineItemEntry(`li${index}`, ['cr1'], { bid_nanos: 0 }));
  const read = readCatalogText(catalogText({ ...sound, line_items }));
  expect(read).toMatchObject({ kind: 'problems', total: 1000 });
  expect(read.kind === 'problems' && read.problems.length).toBe(problemCountMax);
});

test('unknown fields are ignored, and said so once per field', () => {
  const line_items = ['li1', 'li2', 'li3'].map((id) =>
    lineItemEntry(id, ['cr1'], { colour: 'red', targeting: { moon: 1 } }),
  );
  const read = readCatalogText(catalogText({ ...sound, line_items }).replace('{', '{"made_by":"hand",'));
  expect(read).toMatchObject({ kind: 'catalog' });
  expect(read.warnings.map(({ path, count }) => [path, count])).toEqual([
    ['made_by', 1],
    ['line_items[0].colour', 3],
    ['line_items[0].targeting.moon', 3],
  ]);
});

test.each([
  ['nothing', '', ''],
  ['a list', '[]', ''],
  ['text after the end', `${catalogText(sound)} x`, ''],
  ['a file that was cut', catalogText(sound).slice(0, -40), 'creatives[0]'],
  ['a missing comma', catalogText(sound).replace('},{', '} {').replace('],"creatives"', '] "creatives"'), 'line_items'],
])('not the JSON that was expected: %s', (_, text, path) => {
  expect(problemsOf(text)).toMatchObject([{ code: 'CATALOG_NOT_JSON', path }]);
});

test('an entry that is not JSON is named, and the others are still checked', () => {
  const text = catalogText({
    ...sound,
    line_items: [lineItemEntry('li1', ['cr1']), lineItemEntry('li2', ['cr1'], { quality: 3 })],
  });
  expect(placesOf(text.replace('"li1","campaign_id":', '"li1","campaign_id";'))).toEqual([
    'CATALOG_NOT_JSON line_items[0]',
    'FIELD_RANGE line_items[1].quality',
  ]);
});

test.each([
  ['an unknown version', '"version":1', '"version":2', ['CATALOG_UNSUPPORTED version']],
  ['another currency', '"USD"', '"EUR"', ['CATALOG_UNSUPPORTED currency']],
  ['no currency', '"currency":"USD",', '', ['FIELD_MISSING currency']],
  [
    'a list under another name',
    '"creatives"',
    '"creative"',
    ['FIELD_MISSING creatives', 'UNKNOWN_REFERENCE line_items[0].creative_ids[0]'],
  ],
  ['a list twice', '"version":1', '"version":1,"creatives":[]', ['CONFLICT creatives']],
  [
    'an object for a list',
    '"version":1',
    '"version":1,"advertisers":{}',
    ['FIELD_TYPE advertisers', 'CONFLICT advertisers'],
  ],
])('at the top: %s', (_, from, to, places) => {
  expect(placesOf(catalogText(sound).replace(from, to))).toEqual(places);
});

test('a byte order mark does no harm, a missing file is a problem and not a crash', () => {
  expect(readCatalogText(`\ufeff${catalogText(sound)}`).kind).toBe('catalog');
  expect(readCatalogFile('/nowhere/catalog.json')).toMatchObject({
    kind: 'problems',
    problems: [{ code: 'CATALOG_UNREADABLE' }],
  });
});

test('a file larger than a piece is read like a small one, wherever the pieces end', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gavelin-catalog-'));
  try {
    // 2.5 MB in one line: two cuts inside entries.
    const creatives = Array.from({ length: 9000 }, (_, index) => bannerEntry(`cr${index}`));
    const line_items = [
      lineItemEntry(
        'li1',
        creatives.slice(0, 900).map(({ id }) => String(id)),
      ),
    ];
    const path = join(folder, 'catalog.json');
    writeFileSync(path, catalogText({ line_items, creatives }));
    const read = readCatalogFile(path);
    expect(read.kind).toBe('catalog');
    const ids = read.kind === 'catalog' ? read.spec.creatives.map(({ id }) => id) : [];
    expect(ids).toEqual(creatives.map(({ id }) => id));
    expect(read.warnings).toMatchObject([{ count: 8100, message: 'no line item shows this creative' }]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
