import { expect, test } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import { TargetingIndex } from '#auction/targeting-index.ts';
import type { BidRequest } from '#server/bid-request.ts';
import { Retrieval } from '#server/retrieval.ts';
import { plainImp as imp, plainRequest as request } from './plain-request.ts';
import {
  bannerEntry,
  catalogText,
  type Entry,
  lineItemEntry,
  nativeEntry,
  videoEntry,
} from '../support/catalog-entries.ts';

const noon = Date.UTC(2026, 0, 7, 12, 30);

/** A catalog of one line item per condition, each with a creative of its own. */
function market(
  lineItems: Record<string, Entry>,
  storedSegments: readonly string[] = [],
  creative: (id: string) => Entry = bannerEntry,
) {
  const ids = Object.keys(lineItems);
  const read = readCatalogText(
    catalogText({
      line_items: ids.map((id) => lineItemEntry(id, [`${id}-creative`], lineItems[id])),
      creatives: ids.map((id) => creative(`${id}-creative`)),
    }),
  );
  if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
  const writer = buildCatalog(read.spec);
  const retrieval = new Retrieval(new TargetingIndex(writer.indexShared, writer.catalog));
  const out = new Uint32Array(100);
  return (changes: Partial<BidRequest> = {}, nowMs = noon, impIndex = 0): string[] => {
    retrieval.begin({ ...request, ...changes }, nowMs, storedSegments);
    const count = retrieval.select(impIndex, 100, out);
    return [...out.subarray(0, count)]
      .map((row) => writer.catalog.lineItemId(writer.catalog.adLineItem[row]!))
      .toSorted();
  };
}

test('where, when and with what: each part of a request reaches the condition of its name', () => {
  const find = market({
    all: {},
    country: { targeting: { countries: ['USA'] } },
    device: { targeting: { devices: ['phone'] } },
    os: { targeting: { os: ['ios'] } },
    language: { targeting: { languages: ['en'] } },
    // 7 January 2026 is a Wednesday.
    hour: { targeting: { hours: [12] } },
    day: { targeting: { days: [3] } },
    site: { targeting: { sites_allow: ['news.example'] } },
  });
  expect(find()).toEqual(['all', 'country', 'day', 'device', 'hour', 'language', 'os', 'site']);
  expect(find({ device: { type: '', os: '', country: '', language: '' } })).toEqual(['all', 'day', 'hour', 'site']);
  expect(find({}, Date.UTC(2026, 0, 7, 13))).not.toContain('hour');
  expect(find({}, Date.UTC(2026, 0, 7, 11, 59, 59, 999))).not.toContain('hour');
  expect(find({}, Date.UTC(2026, 0, 8, 12))).not.toContain('day');
  expect(find({ place: { ...request.place, kind: 'none', domain: '' } })).not.toContain('site');
});

test('an app goes by its bundle, a site by its domain, and either by its id when it has no other name', () => {
  const find = market({
    all: {},
    app: { targeting: { apps_allow: ['com.news'] } },
    site: { targeting: { sites_allow: ['news.example'] } },
    numbered: { targeting: { apps_allow: ['17'] } },
  });
  const app = { ...request.place, kind: 'app' as const, domain: 'news.example', bundle: 'com.news' };
  expect(find()).toEqual(['all', 'site']);
  expect(find({ place: app })).toEqual(['all', 'app']);
  expect(find({ place: { ...app, bundle: '' } })).toEqual(['all', 'numbered']);
});

test('segments come from the request and from the profile, and from neither without consent', () => {
  const find = market(
    { wire: { targeting: { segments_any: ['wire'] } }, profile: { targeting: { segments_any: ['profile'] } } },
    ['profile'],
  );
  const user = { ...request.user, segments: ['wire'] };
  expect(find({ user })).toEqual(['profile', 'wire']);
  expect(find({ user: { ...user, key: '' } })).toEqual(['wire']);
  expect(find({ user: { ...user, isKeyAllowed: false, refusal: 'GDPR_NO_CONSENT' } })).toEqual([]);
});

test('each block of a request keeps out what it names', () => {
  const find = market({ one: {} });
  const without = (changes: Partial<BidRequest['blocked']>): string[] =>
    find({ blocked: { ...request.blocked, ...changes } });
  expect(without({})).toEqual(['one']);
  expect(without({ advertiserDomains: ['adv1.example'] })).toEqual([]);
  expect(without({ categories: ['IAB2'] })).toEqual([]);
  expect(without({ categories: ['IAB2'], categoryTaxonomy: 2 })).toEqual(['one']);
  expect(without({ allowedCategories: ['IAB3'] })).toEqual([]);
  expect(without({ allowedSeats: ['adv2'] })).toEqual([]);
  expect(without({ allowedSeats: ['adv1'] })).toEqual(['one']);
  expect(without({ blockedSeats: ['adv1'] })).toEqual([]);
  expect(without({ appBundles: ['adv1.example'] })).toEqual([]);
});

test('each imp is answered for itself', () => {
  const creative = (id: string): Entry =>
    id.startsWith('film') ? videoEntry(id) : id.startsWith('card') ? nativeEntry(id) : bannerEntry(id);
  const find = market({ film: {}, card: {}, picture: {} }, undefined, creative);
  const video = {
    mimes: ['video/mp4'],
    protocols: [2],
    durationMsMin: 0,
    durationMsMax: 30_000,
    durationsMs: [],
    width: 640,
    height: 360,
  };
  const title = { id: 1, isRequired: true, kind: 'title' as const, type: 0, charsMax: 90 };
  const native = { version: '1.2', assets: [title] };
  const imps = [
    imp,
    { ...imp, banner: undefined, video },
    { ...imp, video, native },
    { ...imp, banner: undefined },
    { ...imp, isPrivateAuction: true },
  ].map((each, index) => ({ ...each, index }));
  expect(imps.map((_, index) => find({ imps }, noon, index))).toEqual([
    ['picture'],
    ['film'],
    ['card', 'film', 'picture'],
    [],
    [],
  ]);
  expect(find({ imps }, noon, 9)).toEqual([]);
});
