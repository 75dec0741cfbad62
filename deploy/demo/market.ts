import { closeSync, openSync, writeSync } from 'node:fs';
import { hash32, hashNormal, hashUniform } from './draws.ts';
import type { MarketLayout } from './layout.ts';
import {
  ages,
  categories,
  countries,
  devices,
  genders,
  languages,
  osNames,
  segments,
  segmentsPerUserMax,
  sizeClasses,
} from './words.ts';

/** Guesses that an advertiser brings along: the only thing the market takes from the truth, and it is rough. */
export type RoughPriors = { roughClickPrior(item: number): number; roughConversionPrior(item: number): number };

const kind = {
  budget: 501,
  pacing: 502,
  cap: 503,
  secure: 504,
  category: 505,
  quality: 506,
  duration: 507,
  attribute: 508,
  span: 509,
};
const writeChunkChars = 1 << 20;
const usdNanos = 1e9;
const budgetUsdMax = 20_000;
/** The least a line item may spend a day. 5,000 wins a second without a notice reserve some 400 USD at any time, over all of them. */
const budgetUsdMin = 150;
const trades = ['travel', 'motors', 'bank', 'shoes', 'games', 'foods', 'phones', 'homes', 'books', 'energy'];

/** Text in pieces of a megabyte: a market of a million ads never exists as one string. */
class TextFile {
  readonly #file: number;
  #pending = '';

  constructor(path: string) {
    this.#file = openSync(path, 'w');
  }

  write(text: string): void {
    this.#pending += text;
    if (this.#pending.length >= writeChunkChars) this.#flush();
  }

  #flush(): void {
    // writeSync may write less than it was given.
    const bytes = Buffer.from(this.#pending);
    for (let done = 0; done < bytes.length;) done += writeSync(this.#file, bytes, done);
    this.#pending = '';
  }

  close(): void {
    this.#flush();
    closeSync(this.#file);
  }
}

/** Writes the catalog file (auction/catalog-file.ts reads it): advertisers, line items, creatives. */
export function writeCatalog(path: string, layout: MarketLayout, priors: RoughPriors): void {
  const file = new TextFile(path);
  const list = (name: string, count: number, row: (index: number) => unknown): void => {
    file.write(`"${name}":[`);
    for (let index = 0; index < count; index += 1) file.write(`${index > 0 ? ',' : ''}\n${JSON.stringify(row(index))}`);
    file.write('\n]');
  };
  file.write('{"version":1,"currency":"USD",');
  list('advertisers', layout.advertiserCount, (advertiser) => advertiserEntry(layout, advertiser));
  file.write(',');
  let ad = 0;
  list('line_items', layout.lineItemCount, (item) => {
    const creativeIds: string[] = [];
    for (; ad < layout.adLineItem.length && layout.adLineItem[ad] === item; ad += 1)
      creativeIds.push(layout.creativeId(ad));
    return lineItemEntry(layout, priors, item, creativeIds);
  });
  file.write(',');
  list('creatives', layout.adLineItem.length, (each) => creativeEntry(layout, each));
  file.write('}\n');
  file.close();
}

function advertiserDomain(layout: MarketLayout, advertiser: number): string {
  return `${trades[advertiser % trades.length]!}${advertiser}.example`;
}

function advertiserEntry(layout: MarketLayout, advertiser: number): object {
  return {
    id: layout.advertiserId(advertiser),
    name: `${trades[advertiser % trades.length]!} ${advertiser}`,
    domain: advertiserDomain(layout, advertiser),
    category: categories[layout.advertiserCategory[advertiser]!],
  };
}

function lineItemEntry(
  layout: MarketLayout,
  priors: RoughPriors,
  item: number,
  creativeIds: readonly string[],
): object {
  const { seed } = layout.parameters;
  const priceType = layout.lineItemPriceType[item]!;
  const click = priors.roughClickPrior(item);
  const conversion = priors.roughConversionPrior(item);
  const perEvent = [1, click, click * conversion][priceType]!;
  // Zipf-like: a few brands could buy the whole market, most spend a few hundred a day.
  const rank = 1 + (hash32(seed, kind.budget, item) % layout.lineItemCount);
  const budgetUsd = Math.max(budgetUsdMin, Math.round(budgetUsdMax / rank ** 0.8));
  const targeting = targetingEntry(layout, item);
  const capped = hashUniform(seed, kind.cap, item);
  return {
    id: layout.lineItemId(item),
    campaign_id: layout.campaignId(item),
    advertiser_id: layout.advertiserId(layout.lineItemAdvertiser[item]!),
    status: layout.lineItemPaused[item] === 1 ? 'paused' : 'active',
    price_type: ['CPM', 'CPC', 'CPA'][priceType],
    bid_nanos: Math.round(layout.lineItemEcpmNanos[item]! / perEvent),
    budget_nanos: budgetUsd * usdNanos,
    // A third spend as fast as they may, so that there is demand in the first minutes of a day too.
    pacing: hashUniform(seed, kind.pacing, item) < 0.33 ? 'asap' : 'even',
    ...(capped < 0.2 ? { frequency_cap: { count: 3 + Math.floor(capped * 40), window_ms: 86_400_000 } } : {}),
    ...(hashUniform(seed, kind.quality, item) < 0.15
      ? { quality: Number((0.7 + 0.3 * hashUniform(seed, kind.quality + 50, item)).toFixed(2)) }
      : {}),
    prior_click: click,
    prior_conversion: conversion,
    ...(Object.keys(targeting).length > 0 ? { targeting } : {}),
    creative_ids: creativeIds,
  };
}

function words(list: readonly string[], mask: number): string[] {
  return list.filter((_, bit) => (mask & (1 << bit)) !== 0);
}

function targetingEntry(layout: MarketLayout, item: number): Record<string, unknown> {
  const entry: Record<string, unknown> = {};
  const masked = (name: string, list: readonly string[], mask: number): void => {
    if (mask !== 0) entry[name] = words(list, mask);
  };
  masked('countries', countries, layout.countryMask[item]!);
  masked('devices', devices, layout.deviceMask[item]!);
  masked('os', osNames, layout.osMask[item]!);
  masked('languages', languages, layout.languageMask[item]!);
  const positions = (mask: number): number[] =>
    Array.from({ length: 24 }, (_, bit) => bit).filter((bit) => (mask & (1 << bit)) !== 0);
  if (layout.hourMask[item] !== 0) entry['hours'] = positions(layout.hourMask[item]!);
  if (layout.dayMask[item] !== 0) entry['days'] = positions(layout.dayMask[item]!);
  const any = [layout.segmentsAny[2 * item]!, layout.segmentsAny[2 * item + 1]!].filter((segment) => segment > 0);
  if (any.length > 0) entry['segments_any'] = [...new Set(any)].map((segment) => segments[segment - 1]);
  if (layout.segmentNone[item]! > 0) entry['segments_none'] = [segments[layout.segmentNone[item]! - 1]];
  const sites = (first: number, isApp: number): string[] =>
    Array.from({ length: 10 }, (_, offset) => first - 1 + offset)
      .filter((site) => layout.siteIsApp[site] === isApp)
      .map((site) => layout.siteId(site));
  if (layout.sitesAllow[item]! > 0) {
    entry['sites_allow'] = sites(layout.sitesAllow[item]!, 0);
    entry['apps_allow'] = sites(layout.sitesAllow[item]!, 1);
  }
  if (layout.sitesDeny[item]! > 0) {
    entry['sites_deny'] = sites(layout.sitesDeny[item]!, 0);
    entry['apps_deny'] = sites(layout.sitesDeny[item]!, 1);
  }
  return entry;
}

function creativeEntry(layout: MarketLayout, ad: number): object {
  const { seed } = layout.parameters;
  const advertiser = layout.lineItemAdvertiser[layout.adLineItem[ad]!]!;
  const size = sizeClasses[layout.adSize[ad]!]!;
  const domain = advertiserDomain(layout, advertiser);
  const id = layout.creativeId(ad);
  const category = categories[layout.advertiserCategory[advertiser]!]!;
  const image = `https://cdn.${domain}/${id}.jpg`;
  const isLong = hashUniform(seed, kind.duration, ad) < 0.5;
  return {
    id,
    format: size.format,
    width: size.width,
    height: size.height,
    ...(size.format === 'video'
      ? {
          duration_ms: isLong ? 30_000 : 15_000,
          mimes: ['video/mp4'],
          protocols: [2, 3, 5, 6, 7, 8],
          video_url: `https://cdn.${domain}/${id}.mp4`,
        }
      : { image_url: image }),
    ...(size.format === 'native'
      ? { title: `Offer ${ad} from ${trades[advertiser % trades.length]!} ${advertiser}` }
      : {}),
    domain,
    categories: [`${category}-${1 + (hash32(seed, kind.category, ad) % 5)}`],
    // 6: in-banner video that plays by itself; 9: pops up expandable. Rare, and the first that publishers block.
    ...(hashUniform(seed, kind.attribute, ad) < 0.04
      ? { attributes: [hashNormal(seed, kind.attribute, ad) < 0 ? 6 : 9] }
      : {}),
    secure: hashUniform(seed, kind.secure, ad) < 0.95,
    landing_url: `https://www.${domain}/offers/${id}`,
  };
}

/** One JSON object a line: {"id","age","gender","segments"}. `age` is a bucket of words.ts, segments hold the interests (category ids). */
export function writeUsers(path: string, layout: MarketLayout): void {
  const file = new TextFile(path);
  for (let user = 0; user < layout.parameters.users; user += 1) {
    const start = user * segmentsPerUserMax;
    const held = layout.userSegments.subarray(start, start + segmentsPerUserMax);
    const profile = {
      id: layout.userId(user),
      age: ages[layout.userAge[user]!],
      gender: genders[layout.userGender[user]!],
      segments: [...held].filter((segment) => segment > 0).map((segment) => segments[segment - 1]),
    };
    file.write(`${JSON.stringify(profile)}\n`);
  }
  file.close();
}

/** {"sites":[{"domain"|"bundle","category"}]}: `bundle` for apps. */
export function writeSites(path: string, layout: MarketLayout): void {
  const file = new TextFile(path);
  const sites = Array.from({ length: layout.siteCount }, (_, site) => ({
    ...(layout.siteIsApp[site] === 1 ? { bundle: layout.siteId(site) } : { domain: layout.siteId(site) }),
    category: categories[layout.siteCategory[site]!],
  }));
  file.write(`${JSON.stringify({ sites })}\n`);
  file.close();
}
