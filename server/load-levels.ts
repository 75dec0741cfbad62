import { type RungName, rungNumber } from './rungs.ts';
import { type ValueTier, valueTiers } from './value-tiers.ts';

export const loadLevelNames = ['normal', 'elevated', 'high', 'critical'] as const;
/** How loaded a serving thread is. */
export type LoadLevelName = (typeof loadLevelNames)[number];

export type LoadLevel = {
  readonly name: LoadLevelName;
  /** Queue delays (ms) at which the level is entered and left again. */
  readonly enterAtMs: number;
  readonly leaveAtMs: number;
  /** Where requests start. A basic one is never worth the whole head; a premium one keeps a model at every level. */
  readonly startsOn: Readonly<Record<ValueTier, RungName>>;
};

/** Calmest first. */
export const loadLevels: readonly LoadLevel[] = [
  {
    name: 'normal',
    enterAtMs: 0,
    leaveAtMs: 0,
    startsOn: { premium: 'full', standard: 'full', basic: 'reduced' },
  },
  {
    name: 'elevated',
    enterAtMs: 8,
    leaveAtMs: 2,
    startsOn: { premium: 'full', standard: 'reduced', basic: 'light-ranker' },
  },
  {
    name: 'high',
    enterAtMs: 16,
    leaveAtMs: 5,
    startsOn: { premium: 'reduced', standard: 'light-ranker', basic: 'smoothed-rate' },
  },
  {
    name: 'critical',
    enterAtMs: 40,
    leaveAtMs: 15,
    startsOn: { premium: 'light-ranker', standard: 'smoothed-rate', basic: 'smoothed-rate' },
  },
];

/** Number of the rung on which a request starts, by level and tier. */
export function startRungAt(level: number, tier: ValueTier): number {
  return startRungs[level]![tier];
}

const startRungs: readonly Readonly<Record<ValueTier, number>>[] = loadLevels.map(
  ({ startsOn }) =>
    Object.fromEntries(valueTiers.map((tier) => [tier, rungNumber(startsOn[tier])])) as Record<ValueTier, number>,
);
