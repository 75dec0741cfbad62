import { seededRandom } from '#inference/seeded-random.ts';
import {
  adFieldNames,
  type CategoricalField,
  contextFieldNames,
  crossFeatureNames,
  type FeatureSchema,
  userFieldNames,
} from '#inference/feature-schema.ts';
import type { EntityTable, ImpressionSet } from '#training-bridge/impression-set.ts';
import { AudienceSampler, newContext } from './context.ts';
import type { MarketLayout } from './layout.ts';
import { LoggingPolicy } from './logging-policy.ts';
import { ViewCounts } from './view-counts.ts';
import {
  ages,
  categories,
  countries,
  devices,
  genders,
  hourWeights,
  languages,
  osNames,
  segments,
  segmentsPerUserMax,
  sizeClasses,
} from './words.ts';
import type { World } from './world.ts';

const dayMs = 86_400_000;
const loggedDays = 7;
/** Monday, 2 March 2026, 00:00 UTC: the log ends a week later, always. */
const logStartMs = Date.UTC(2026, 2, 2);

export type SimulatedLog = {
  readonly impressions: ImpressionSet;
  /** The click probability that each row was drawn with. For benches and tests: never written beside the market. */
  readonly clickProbability: Float32Array;
};

/** A week of logged impressions under the logging policy, in the order of time; clicks and conversions drawn from the truth. */
export function simulateLog(world: World, onProgress: (done: number, total: number) => void = () => {}): SimulatedLog {
  const { layout } = world;
  const { rows, seed } = layout.parameters;
  const random = seededRandom(seed ^ 0x10_66ed);
  const audience = new AudienceSampler(layout, random);
  const policy = new LoggingPolicy(layout, random);
  const views = new ViewCounts(rows);
  const context = newContext();
  const width = contextFieldNames.length;
  const impressions: ImpressionSet = {
    schema: demoSchema(layout),
    rowCount: rows,
    users: userTable(layout),
    ads: adTable(layout),
    userIndex: new Uint32Array(rows),
    adIndex: new Uint32Array(rows),
    contextIds: new Uint32Array(rows * width),
    views: new Uint8Array(rows),
    timeMs: new Float64Array(rows),
    click: new Uint8Array(rows),
    conversion: new Uint8Array(rows),
    weight: new Float32Array(rows).fill(1),
  };
  const clickProbability = new Float32Array(rows);
  const clock = weekClock(rows);
  for (let row = 0; row < rows; row += 1) {
    const timeMs = clock(row);
    let user = -1;
    let ad = -1;
    // A slot that nothing fits logs no impression: the next visitor takes its place.
    for (let visit = 0; visit < 100 && ad < 0; visit += 1) {
      user = audience.drawUser();
      audience.drawContext(user, timeMs, context);
      ad = policy.choose(user, context);
    }
    if (ad < 0) throw new Error('No ad of this market is eligible for ordinary traffic: it has too few ads.');
    const seen = user < 0 ? 0 : views.add(user, layout.adLineItem[ad]!, Math.floor(timeMs / dayMs));
    const p = world.trueClickProbability(user, ad, context, seen);
    const clicked = random() < p;
    impressions.timeMs[row] = timeMs;
    impressions.userIndex[row] = user + 1;
    impressions.adIndex[row] = ad + 1;
    impressions.views[row] = seen;
    clickProbability[row] = p;
    if (clicked) {
      impressions.click[row] = 1;
      if (random() < world.trueConversionProbability(user, ad, context)) impressions.conversion[row] = 1;
    }
    // The order of contextFieldNames; 0 is unknown.
    const at = row * width;
    const ids = impressions.contextIds;
    ids[at] = context.site + 1;
    ids[at + 1] = context.site < 0 ? 0 : layout.siteCategory[context.site]! + 1;
    ids[at + 2] = context.site >= 0 && layout.siteIsApp[context.site] === 1 ? 2 : 1;
    ids[at + 3] = context.hour + 1;
    ids[at + 4] = context.day + 1;
    ids[at + 5] = context.device + 1;
    ids[at + 6] = context.os + 1;
    ids[at + 7] = context.country + 1;
    ids[at + 8] = context.size + 1;
    ids[at + 9] = context.language + 1;
    if (row % 50_000 === 0) onProgress(row, rows);
  }
  onProgress(rows, rows);
  return { impressions, clickProbability };
}

/** Row → time: rows fill the hours of the week by their usual share, evenly within an hour. */
function weekClock(rows: number): (row: number) => number {
  const hours = Array.from({ length: loggedDays * 24 }, (_, hour) => hourWeights[hour % 24]!);
  const total = hours.reduce((sum, each) => sum + each, 0);
  let hour = 0;
  let before = 0;
  return (row) => {
    const at = ((row + 0.5) / rows) * total;
    while (hour < hours.length - 1 && at >= before + hours[hour]!) {
      before += hours[hour]!;
      hour += 1;
    }
    return logStartMs + (hour + (at - before) / hours[hour]!) * 3_600_000;
  };
}

function field(name: string, vocabulary: readonly string[], width = 1): CategoricalField {
  return { name, size: vocabulary.length + 1, width, vocabulary };
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index));
}

/** The schema of this market: vocabularies are its ids and words, in the order of their numbers. */
export function demoSchema(layout: MarketLayout): FeatureSchema {
  const list = (count: number, word: (index: number) => string): string[] =>
    Array.from({ length: count }, (_, index) => word(index));
  const sizes = sizeClasses.map(({ word }) => word);
  const words: Readonly<Record<string, readonly string[]>> = {
    user: list(layout.parameters.users, (user) => layout.userId(user)),
    age: ages,
    gender: genders,
    segment: segments,
    ad: list(layout.parameters.ads, (ad) => layout.adId(ad)),
    line_item: list(layout.lineItemCount, (item) => layout.lineItemId(item)),
    advertiser: list(layout.advertiserCount, (advertiser) => layout.advertiserId(advertiser)),
    category: categories,
    size: sizes,
    site: list(layout.siteCount, (site) => layout.siteId(site)),
    site_category: categories,
    surface: ['site', 'app'],
    hour: numbers(24),
    day: numbers(7),
    device: devices,
    os: osNames,
    country: countries,
    language: languages,
  };
  const fields = (names: readonly string[]): CategoricalField[] =>
    names.map((name) => field(name, words[name]!, name === 'segment' ? segmentsPerUserMax : 1));
  return {
    version: 1,
    user: fields(userFieldNames),
    ad: fields(adFieldNames),
    context: fields(contextFieldNames),
    cross: crossFeatureNames,
  };
}

function userTable(layout: MarketLayout): EntityTable {
  const { users } = layout.parameters;
  const segmentIds = new Uint32Array((users + 1) * segmentsPerUserMax);
  segmentIds.set(layout.userSegments, segmentsPerUserMax);
  return {
    ids: ['', ...Array.from({ length: users }, (_, user) => layout.userId(user))],
    values: [
      Uint32Array.from({ length: users + 1 }, (_, row) => row),
      Uint32Array.from({ length: users + 1 }, (_, row) => (row === 0 ? 0 : layout.userAge[row - 1]! + 1)),
      Uint32Array.from({ length: users + 1 }, (_, row) => (row === 0 ? 0 : layout.userGender[row - 1]! + 1)),
      segmentIds,
    ],
  };
}

function adTable(layout: MarketLayout): EntityTable {
  const { ads } = layout.parameters;
  const column = (value: (ad: number) => number): Uint32Array =>
    Uint32Array.from({ length: ads + 1 }, (_, row) => (row === 0 ? 0 : value(row - 1) + 1));
  return {
    ids: ['', ...Array.from({ length: ads }, (_, ad) => layout.adId(ad))],
    values: [
      column((ad) => ad),
      column((ad) => layout.adLineItem[ad]!),
      column((ad) => layout.lineItemAdvertiser[layout.adLineItem[ad]!]!),
      column((ad) => layout.adCategory(ad)),
      column((ad) => layout.adSize[ad]!),
    ],
  };
}
