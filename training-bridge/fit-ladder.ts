import { newAdKey } from '#auction/ad-keys.ts';
import { ClickRates, interests, type RatedAd, type RatedVisit } from '#auction/click-rates.ts';
import { fitScale, type VectorScale } from '#embeddings/quantisation.ts';
import type { Calibrator, LaterCalibratedRung } from '#inference/calibration.ts';
import { fieldPlace, placeCount, sameWordIds } from '#inference/field-places.ts';
import { UserSegments } from '#inference/user-segments.ts';
import type { ExportedScorer, HeadAnswer } from './exported-scorer.ts';
import { type CalibrationRows, fitCalibrator } from './fit-calibration.ts';
import type { ImpressionSet } from './impression-set.ts';
import type { RowRange, TrainingSplit } from './training-rows.ts';

export type LadderCalibrators = Readonly<
  Record<'click' | 'conversion', Partial<Record<LaterCalibratedRung, Calibrator>>>
>;

/** More rows than this add nothing to calibrators of 64 knots, and these are scored several times over. */
const rowCountMax = 100_000;
/** A kept prediction is a mean of the last ones of its segment: here of this many other requests. */
const keptCount = 4;
/** Steps in which a log's counts decay while rates are fitted. */
const decayStepMs = 6 * 3_600_000;
const pairCount = 262_144;

/**
 * Calibrators of the rungs that answer when something has failed, each fitted on what it would have said about the calibration rows:
 * the head with the average vector, the head with the vector alone, the light ranker without the user, what the head says of others of
 * the segment, counted rates. Who has no user id loses none, so the first three are fitted on the others.
 */
export async function fitLadder(
  set: ImpressionSet,
  split: TrainingSplit,
  scorer: ExportedScorer,
  average: Float32Array,
  random: () => number,
): Promise<LadderCalibrators> {
  const rows = rowsOf(split.calibrate);
  const known = rows.filter((row) => set.userIndex[row]! > 0);
  const ask = (row: number) => ({
    user: set.userIndex[row]!,
    contextRow: row,
    ad: set.adIndex[row]!,
    views: set.views[row]!,
  });
  const averaged: HeadAnswer[] = [];
  await scorer.ask(
    known.length,
    (index) => ({ ...ask(known[index]!), vector: average }),
    (index, said) => (averaged[index] = said),
  );
  const vectorOnly: HeadAnswer[] = [];
  await scorer.ask(
    known.length,
    (index) => ({ ...ask(known[index]!), isVectorOnly: true }),
    (index, said) => (vectorOnly[index] = said),
  );
  const unknown = known.map((row) => scorer.light(ask(row), 'nothing'));
  const kept = await keptPredictions(set, rows, scorer, random);
  const rates = countedRates(set, split.train, rows, scorer);
  const clicks = (of: readonly number[], logits: readonly number[]): Calibrator =>
    fitCalibrator(columns(set, of, logits, set.click));
  const conversions = (of: readonly number[], said: readonly HeadAnswer[]): Calibrator => {
    const places = [...of.keys()].filter((place) => set.click[of[place]!] === 1);
    const logits = places.map((place) => said[place]!.conversion);
    return fitCalibrator(
      columns(
        set,
        places.map((place) => of[place]!),
        logits,
        set.conversion,
      ),
    );
  };
  const click = (said: HeadAnswer): number => said.click;
  return {
    click: {
      'average-embedding': clicks(known, averaged.map(click)),
      'default-features': clicks(known, unknown.map(click)),
      'cached-prediction': clicks(kept.rows, kept.logits),
      'smoothed-rate': clicks(rows, rates),
      'vector-only': clicks(known, vectorOnly.map(click)),
    },
    conversion: {
      'average-embedding': conversions(known, averaged),
      'default-features': conversions(known, unknown),
      'vector-only': conversions(known, vectorOnly),
    },
  };
}

/** Range of the vectors of all users that the log knows, and their mean weighted by how often each of them came. */
export function userScale(
  set: ImpressionSet,
  { from, to }: RowRange,
  scorer: ExportedScorer,
  dimension: number,
): VectorScale {
  const visits = new Float64Array(set.users.ids.length);
  for (let row = from; row < to; row++) visits[set.userIndex[row]!]! += 1;
  // Nobody is no average person.
  visits[0] = 0;
  const seen = [...visits.keys()].filter((user) => visits[user]! > 0);
  const vectors = new Float32Array(Math.max(1, seen.length) * dimension);
  const sums = new Float64Array(dimension);
  let total = 0;
  for (const [index, user] of seen.entries()) {
    vectors.set(scorer.userVectors.subarray(user * dimension, (user + 1) * dimension), index * dimension);
    for (let place = 0; place < dimension; place++) sums[place]! += visits[user]! * vectors[index * dimension + place]!;
    total += visits[user]!;
  }
  const scale = fitScale(vectors, dimension);
  return { ...scale, mean: Float32Array.from(sums, (sum) => sum / Math.max(1, total)) };
}

/** Evenly over a range, at most `rowCountMax`. */
function rowsOf({ from, to }: RowRange): number[] {
  const count = Math.min(rowCountMax, to - from);
  return Array.from({ length: count }, (_, index) => from + Math.floor((index * (to - from)) / count));
}

/**
 * For each row whose segment others of these rows share: what the light ranker says of it, and what the head says above the light ranker
 * of this ad for some of those others, on average: as serving keeps it (server/kept-predictions.ts).
 */
async function keptPredictions(
  set: ImpressionSet,
  rows: readonly number[],
  scorer: ExportedScorer,
  random: () => number,
): Promise<{ readonly rows: readonly number[]; readonly logits: readonly number[] }> {
  const segments = new UserSegments(set.schema);
  const bySegment = new Map<number, number[]>();
  const segmentOf = (row: number): number => segments.of(scorer.userIds, set.userIndex[row]! * scorer.userWidth);
  for (const row of rows) {
    const held = bySegment.get(segmentOf(row));
    if (held === undefined) bySegment.set(segmentOf(row), [row]);
    else held.push(row);
  }
  // Earlier rows of the segment alone: what was kept when this one came.
  const others: number[] = [];
  const served: number[] = [];
  const places = new Map<number, number>();
  for (const row of rows) {
    const segment = segmentOf(row);
    const earlier = places.get(segment) ?? 0;
    places.set(segment, earlier + 1);
    if (earlier === 0) continue;
    served.push(row);
    for (let each = 0; each < keptCount; each++) others.push(bySegment.get(segment)![Math.floor(random() * earlier)]!);
  }
  const above = new Float64Array(served.length);
  const question = (index: number) => {
    const other = others[index]!;
    return {
      user: set.userIndex[other]!,
      contextRow: other,
      ad: set.adIndex[served[Math.floor(index / keptCount)]!]!,
      views: 0,
    };
  };
  await scorer.ask(others.length, question, (index, said) => {
    above[Math.floor(index / keptCount)]! += (said.click - scorer.light(question(index), 'ids').click) / keptCount;
  });
  const logits = served.map((row, index) => {
    const own = { user: set.userIndex[row]!, contextRow: row, ad: set.adIndex[row]! };
    return scorer.light(own, 'ids').click + above[index]!;
  });
  return { rows: served, logits };
}

/** Logits of smoothed rates as counted up to the end of training, beginning at the log's own rate: a log knows no line item's prior. */
function countedRates(set: ImpressionSet, train: RowRange, rows: readonly number[], scorer: ExportedScorer): number[] {
  const rates = new ClickRates(ClickRates.allocate({ singles: 2 * set.ads.ids.length + 4096, pairs: pairCount }));
  const visits = new LoggedVisits(set, scorer);
  let clicks = 0;
  for (let row = train.from; row < train.to; row++) clicks += set.click[row]!;
  const prior = clicks / (train.to - train.from);
  let decayedMs = set.timeMs[train.from]!;
  for (let row = train.from; row < train.to; row++) {
    const ad = visits.adOf(row, prior);
    const visit = visits.visitOf(row);
    if (set.timeMs[row]! - decayedMs >= decayStepMs) {
      rates.decay(set.timeMs[row]! - decayedMs);
      decayedMs = set.timeMs[row]!;
    }
    rates.recordView(ad, visit);
    if (set.click[row] === 1) rates.recordClick(ad, visit);
  }
  return rows.map((row) => {
    const ad = visits.adOf(row, prior);
    const visit = visits.visitOf(row);
    return rates.pairLogit(ad, visit.site, rates.adLogit(ad) + rates.visitLift(visit, ad.category));
  });
}

/** Rows of a log as click rates count them; ids of the vocabularies stand for words. */
class LoggedVisits {
  readonly #set: ImpressionSet;
  readonly #scorer: ExportedScorer;
  readonly #keys: readonly { readonly high: number; readonly low: number }[];
  readonly #advertisers: Uint32Array | undefined;
  readonly #categories: Uint32Array | undefined;
  readonly #sitePlace: number | undefined;
  readonly #contextWidth: number;
  /** Category by segment: the same word. */
  readonly #categoryOfSegment: Uint32Array;
  readonly #segmentPlace: number;
  readonly #segmentCount: number;

  constructor(set: ImpressionSet, scorer: ExportedScorer) {
    const { schema, ads } = set;
    this.#set = set;
    this.#scorer = scorer;
    const adKey = newAdKey();
    this.#keys = ads.ids.map((id) => {
      adKey.of(id);
      return { high: adKey.high, low: adKey.low };
    });
    const column = (name: string): Uint32Array | undefined => ads.values[fieldPlace(schema.ad, name)?.index ?? -1];
    this.#advertisers = column('advertiser');
    this.#categories = column('category');
    this.#sitePlace = fieldPlace(schema.context, 'site')?.place;
    this.#contextWidth = placeCount(schema.context);
    const segment = fieldPlace(schema.user, 'segment');
    this.#categoryOfSegment = sameWordIds(segment?.field, fieldPlace(schema.ad, 'category')?.field);
    this.#segmentPlace = (segment?.place ?? 0) - placeCount(schema.user.slice(0, 1));
    this.#segmentCount = segment?.field.width ?? 0;
  }

  adOf(row: number, prior: number): RatedAd {
    const ad = this.#set.adIndex[row]!;
    const { high, low } = this.#keys[ad]!;
    return {
      high,
      low,
      advertiser: this.#advertisers?.[ad] ?? 0,
      category: this.#categories?.[ad] ?? 0,
      prior,
    };
  }

  visitOf(row: number): RatedVisit {
    const { contextIds } = this.#set;
    const site = this.#sitePlace === undefined ? 0 : contextIds[row * this.#contextWidth + this.#sitePlace]!;
    return { site, interest: this.#interestOf(row) };
  }

  #interestOf(row: number): RatedVisit['interest'] {
    const { adIndex, userIndex } = this.#set;
    const category = this.#categories?.[adIndex[row]!] ?? 0;
    const { userIds, userWidth } = this.#scorer;
    const at = userIndex[row]! * userWidth + this.#segmentPlace;
    let held = 0;
    for (let place = at; place < at + this.#segmentCount; place++) {
      const segment = userIds[place]!;
      if (segment === 0) continue;
      held++;
      if (category > 0 && this.#categoryOfSegment[segment] === category) return interests.named;
    }
    return held === 0 ? interests.unknown : interests.other;
  }
}

function columns(
  set: ImpressionSet,
  rows: readonly number[],
  logits: readonly number[],
  outcomes: Uint8Array,
): CalibrationRows {
  return {
    logits: Float32Array.from(logits),
    outcomes: Uint8Array.from(rows, (row) => outcomes[row]!),
    weights: Float32Array.from(rows, (row) => set.weight[row]!),
  };
}
