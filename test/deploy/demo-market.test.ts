import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { tmpdir } from 'node:os';
import { afterAll, describe, expect, test } from 'vitest';
import { newContext } from '#deploy/demo/context.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { writeCatalog, writeSites, writeUsers } from '#deploy/demo/market.ts';
import { countries, sizeClasses } from '#deploy/demo/words.ts';
import { World } from '#deploy/demo/world.ts';

type LineItem = {
  id: string;
  price_type: 'CPM' | 'CPC' | 'CPA';
  bid_nanos: number;
  budget_nanos: number;
  prior_click: number;
  prior_conversion: number;
  creative_ids: string[];
  advertiser_id: string;
};
type CatalogJson = { advertisers: { id: string }[]; line_items: LineItem[]; creatives: { id: string }[] };

const layout = new MarketLayout({ ads: 10_000, users: 2000, rows: 0, seed: 1 });
const world = new World(layout);
const folder = mkdtempSync(join(tmpdir(), 'gavelin-market-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
writeCatalog(join(folder, 'catalog.json'), layout, world);
writeUsers(join(folder, 'users.jsonl'), layout);
writeSites(join(folder, 'sites.json'), layout);
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
const catalog = JSON.parse(read('catalog.json')) as CatalogJson;

describe('the catalog', () => {
  test('has every ad once and whole references', () => {
    const creatives = new Set(catalog.creatives.map(({ id }) => id));
    const advertisers = new Set(catalog.advertisers.map(({ id }) => id));
    const used = catalog.line_items.flatMap((item) => item.creative_ids);
    expect(used).toHaveLength(10_000);
    expect(new Set(used).size).toBe(10_000);
    expect(used.every((id) => creatives.has(id))).toBe(true);
    expect(catalog.line_items.every((item) => advertisers.has(item.advertiser_id))).toBe(true);
    expect(`${catalog.line_items[0]!.id}.${catalog.line_items[0]!.creative_ids[0]!}`).toBe(layout.adId(0));
  });

  test('bids 0.2 to 7 USD CPM by its own guess, in integers', () => {
    for (const item of catalog.line_items) {
      const perEvent = { CPM: 1, CPC: item.prior_click, CPA: item.prior_click * item.prior_conversion }[
        item.price_type
      ];
      const ecpmUsd = (item.bid_nanos * perEvent) / 1e6;
      expect(Number.isSafeInteger(item.bid_nanos) && item.bid_nanos < 2 ** 44).toBe(true);
      expect(ecpmUsd).toBeGreaterThan(0.2);
      expect(ecpmUsd).toBeLessThan(7);
    }
  });

  test('carries a minute of 5,000 unanswered wins a second on what may spend at any hour', () => {
    const asap = catalog.line_items.filter(
      (item) => item.price_type === 'CPM' && JSON.stringify(item).includes('"asap"'),
    );
    const reserveNanos = 5000 * 60 * 6e6;
    expect(asap.reduce((total, item) => total + item.budget_nanos, 0)).toBeGreaterThan(10 * reserveNanos);
    expect(catalog.line_items.every((item) => Number.isSafeInteger(item.budget_nanos))).toBe(true);
  });
});

test('ordinary slots meet hundreds of ads from anyone anywhere, 300x250 over 2,000', () => {
  for (const country of ['USA', 'GBR', 'DEU'] as const) {
    for (const [word, device, least] of [
      ['banner:300x250', 2, 2000],
      ['banner:320x50', 0, 1000],
      ['banner:728x90', 2, 700],
    ] as const) {
      const size = sizeClasses.findIndex((each) => each.word === word);
      const context = {
        ...newContext(),
        site: -1,
        country: countries.indexOf(country),
        device,
        os: device === 2 ? 2 : 1,
        size,
      };
      const eligible = [...layout.adSize.keys()].filter(
        (ad) => layout.adSize[ad] === size && layout.isEligible(layout.adLineItem[ad]!, context, -1),
      );
      expect(eligible.length, `${country} ${word}`).toBeGreaterThanOrEqual(least);
    }
  }
});

describe('no truth leaves the simulator', () => {
  test('the market files hold only what their format names', () => {
    const keys = new Set(catalog.line_items.flatMap((item) => Object.keys(item)));
    expect([...keys].toSorted()).toEqual(
      [
        'advertiser_id',
        'bid_nanos',
        'budget_nanos',
        'campaign_id',
        'creative_ids',
        'frequency_cap',
        'id',
        'pacing',
        'price_type',
        'prior_click',
        'prior_conversion',
        'quality',
        'status',
        'targeting',
      ].toSorted(),
    );
    const [firstUser] = read('users.jsonl').split('\n');
    expect(Object.keys(JSON.parse(firstUser!) as object)).toEqual(['id', 'age', 'gender', 'segments']);
    const { sites } = JSON.parse(read('sites.json')) as { sites: object[] };
    expect([...new Set(sites.flatMap((site) => Object.keys(site)))].toSorted()).toEqual([
      'bundle',
      'category',
      'domain',
    ]);
  });

  test('priors are rough: their logarithm is off by a third or more of its own spread', () => {
    const context = { ...newContext(), site: -1 };
    const errors = catalog.line_items.slice(0, 300).map((item, index) => {
      const ad = layout.adLineItem.indexOf(index);
      return Math.log(item.prior_click / world.trueClickProbability(-1, ad, context, 0));
    });
    const mean = errors.reduce((total, each) => total + each, 0) / errors.length;
    const deviation = Math.sqrt(errors.reduce((total, each) => total + (each - mean) ** 2, 0) / errors.length);
    expect(deviation).toBeGreaterThan(0.3);
  });

  test('nothing that a server loads imports the world', () => {
    const root = resolve(import.meta.dirname, '../..');
    const seen = new Set<string>();
    const walk = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      const text = readFileSync(file, 'utf8');
      for (const [, specifier] of text.matchAll(/(?:from|import)\s*\(?\s*'([#.][^']+)'/gu)) {
        walk(specifier!.startsWith('#') ? join(root, specifier!.slice(1)) : resolve(dirname(file), specifier!));
      }
    };
    walk(join(root, 'deploy/demo/ensure-demo.ts'));
    expect([...seen].filter((file) => /demo\/(world|simulate|traffic)/u.test(file))).toEqual([]);
  });
});
