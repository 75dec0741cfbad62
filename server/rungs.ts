import type { CalibratedRung } from '#inference/calibration.ts';

/** What an answer can be made with, and lose: `lossBits` has a bit for each. */
export const rungNeeds = ['profile', 'vector', 'head', 'cache', 'ranker', 'rates'] as const;
export type RungNeed = (typeof rungNeeds)[number];

export type RungName =
  | 'full'
  | 'reduced'
  | 'light-ranker'
  | 'prior'
  | 'cached-prediction'
  | 'default-features'
  | 'average-embedding'
  | 'smoothed-rate'
  | 'cpm-only'
  | 'vector-only';

/**
 * One way to answer. Who is pressed for time takes the rung that `cheaper` names, and with it its shares of the work; who has lost
 * something takes the one that `after` names, with the shares of the rung that he was let in on: a failure is no lack of time.
 */
export type Rung = {
  readonly name: RungName;
  /** Where click probabilities come from; 'none': only bids per impression take part. */
  readonly scorer: 'head' | 'cache' | 'light' | 'rates' | 'none';
  /** How the user is seen: as looked up, with the average vector in place of the own, by their vector alone, or as somebody unknown. */
  readonly user: 'known' | 'average-vector' | 'vector-only' | 'unknown';
  /** Share of the configured candidate count that is scored and auctioned. */
  readonly candidateShare: number;
  /** Share of the configured pre-cut that is ranked. */
  readonly precutShare: number;
  /** Calibrator in the bundle; undefined: the line items' own priors are probabilities as they stand. */
  readonly calibrator: CalibratedRung | undefined;
  /**
   * What a request costs on it, as a share of the full rung, before it has served anything: measured where load leads (SPEED.md,
   * `overload`), worked out from their parts for the others.
   */
  readonly costShare: number;
  /** The next cheaper rung; undefined: there is none. */
  readonly cheaper: RungName | undefined;
  /** What it cannot do without, and which rung answers when that is lost. */
  readonly after: Readonly<Partial<Record<RungNeed, RungName>>>;
};

/** The one table of rungs. A rung's index is its number in the log, for ever: new ones are appended, none is taken out. */
export const rungs: readonly Rung[] = [
  {
    name: 'full',
    scorer: 'head',
    user: 'known',
    candidateShare: 1,
    precutShare: 1,
    calibrator: 'full',
    costShare: 1,
    cheaper: 'reduced',
    after: {
      profile: 'vector-only',
      vector: 'average-embedding',
      head: 'cached-prediction',
      ranker: 'smoothed-rate',
    },
  },
  {
    name: 'reduced',
    scorer: 'head',
    user: 'known',
    candidateShare: 0.5,
    precutShare: 0.5,
    calibrator: 'reduced',
    costShare: 0.6,
    cheaper: 'light-ranker',
    after: {
      profile: 'vector-only',
      vector: 'average-embedding',
      head: 'cached-prediction',
      ranker: 'smoothed-rate',
    },
  },
  {
    name: 'light-ranker',
    scorer: 'light',
    user: 'known',
    candidateShare: 0.25,
    precutShare: 0.25,
    calibrator: 'light-ranker',
    costShare: 0.3,
    cheaper: 'smoothed-rate',
    after: { profile: 'default-features', ranker: 'smoothed-rate' },
  },
  // Not served any more: logs of earlier releases hold it. `smoothed-rate` begins at the same priors and learns.
  {
    name: 'prior',
    scorer: 'rates',
    user: 'unknown',
    candidateShare: 0.1,
    precutShare: 0.02,
    calibrator: undefined,
    costShare: 0.2,
    cheaper: undefined,
    after: {},
  },
  {
    name: 'cached-prediction',
    scorer: 'cache',
    user: 'known',
    candidateShare: 1,
    precutShare: 1,
    calibrator: 'cached-prediction',
    costShare: 0.5,
    cheaper: 'light-ranker',
    after: { profile: 'default-features', cache: 'light-ranker', ranker: 'smoothed-rate' },
  },
  {
    name: 'default-features',
    scorer: 'light',
    user: 'unknown',
    candidateShare: 1,
    precutShare: 1,
    calibrator: 'default-features',
    costShare: 0.5,
    cheaper: 'smoothed-rate',
    after: { ranker: 'smoothed-rate' },
  },
  {
    name: 'average-embedding',
    scorer: 'head',
    user: 'average-vector',
    candidateShare: 1,
    precutShare: 1,
    calibrator: 'average-embedding',
    costShare: 1,
    cheaper: 'light-ranker',
    after: { profile: 'default-features', head: 'cached-prediction', ranker: 'smoothed-rate' },
  },
  {
    name: 'smoothed-rate',
    scorer: 'rates',
    user: 'unknown',
    candidateShare: 0.1,
    precutShare: 0.02,
    calibrator: 'smoothed-rate',
    costShare: 0.2,
    cheaper: undefined,
    after: { rates: 'cpm-only' },
  },
  {
    name: 'cpm-only',
    scorer: 'none',
    user: 'unknown',
    candidateShare: 0.1,
    precutShare: 0.02,
    calibrator: undefined,
    costShare: 0.2,
    cheaper: undefined,
    after: {},
  },
  {
    name: 'vector-only',
    scorer: 'head',
    user: 'vector-only',
    candidateShare: 1,
    precutShare: 1,
    calibrator: 'vector-only',
    costShare: 1,
    cheaper: 'light-ranker',
    after: { vector: 'default-features', head: 'default-features', ranker: 'smoothed-rate' },
  },
];

export const rungNames: readonly RungName[] = rungs.map((rung) => rung.name);

export function rungNumber(name: RungName): number {
  return rungNames.indexOf(name);
}

/** By rung, the number of its next cheaper one; −1: there is none. */
export const cheaperRung: readonly number[] = rungs.map(({ cheaper }) =>
  cheaper === undefined ? -1 : rungNumber(cheaper),
);
