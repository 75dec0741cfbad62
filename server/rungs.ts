/** How loaded a serving thread is; each level starts requests on a cheaper rung. */
export type LoadLevel = 'normal' | 'elevated' | 'high' | 'critical';
export const loadLevels: readonly LoadLevel[] = ['normal', 'elevated', 'high', 'critical'];

export type RungName = 'full' | 'reduced' | 'light-ranker' | 'prior';

/**
 * One way to answer. `calibrator` names the calibrator of that rung in the bundle. `costShare` is what a request costs on
 * it, as a share of the full rung (measured: see SPEED.md, `overload`), used before a rung has served anything.
 */
export type Rung = {
  readonly name: RungName;
  readonly scorer: 'head' | 'light' | 'prior';
  /** Share of the configured candidate count that is scored and auctioned. */
  readonly candidateShare: number;
  /** Share of the configured pre-cut that reaches the light ranker. */
  readonly precutShare: number;
  readonly calibrator: RungName;
  readonly costShare: number;
  /** The level that starts here, and the queue delays (ms) at which that level is entered and left again. */
  readonly level: LoadLevel;
  readonly enterAtMs: number;
  readonly leaveAtMs: number;
};

/** The one table of rungs, dearest first; its index is the rung's number in the log. */
export const rungs: readonly Rung[] = [
  {
    name: 'full',
    scorer: 'head',
    candidateShare: 1,
    precutShare: 1,
    calibrator: 'full',
    costShare: 1,
    level: 'normal',
    enterAtMs: 0,
    leaveAtMs: 0,
  },
  {
    name: 'reduced',
    scorer: 'head',
    candidateShare: 0.5,
    precutShare: 0.5,
    calibrator: 'reduced',
    costShare: 0.6,
    level: 'elevated',
    enterAtMs: 8,
    leaveAtMs: 2,
  },
  {
    name: 'light-ranker',
    scorer: 'light',
    candidateShare: 0.25,
    precutShare: 0.25,
    calibrator: 'light-ranker',
    costShare: 0.3,
    level: 'high',
    enterAtMs: 16,
    leaveAtMs: 5,
  },
  {
    name: 'prior',
    scorer: 'prior',
    candidateShare: 0.1,
    precutShare: 0.02,
    calibrator: 'prior',
    costShare: 0.2,
    level: 'critical',
    enterAtMs: 40,
    leaveAtMs: 15,
  },
];

export const rungNames: readonly RungName[] = rungs.map((rung) => rung.name);
