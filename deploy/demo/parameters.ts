import { createHash } from 'node:crypto';

/** What makes one demo world: the same four numbers give the same world, market and log on every machine. */
export type DemoParameters = {
  /** Line item × creative pairs on sale: 100 to 1,000,000. */
  readonly ads: number;
  /** People with a profile: 100 to 1,000,000. */
  readonly users: number;
  /** Logged impressions to train on. */
  readonly rows: number;
  readonly seed: number;
};

export const demoDefaults: DemoParameters = { ads: 10_000, users: 100_000, rows: 1_000_000, seed: 1 };

/** Raised when files made by older code must not be reused. */
const demoVersion = 1;

/** Names the folder of a world: different parameters never share files. */
export function parametersKey({ ads, users, rows, seed }: DemoParameters): string {
  const canonical = JSON.stringify([demoVersion, ads, users, rows, seed]);
  return createHash('sha256').update(canonical).digest('hex').slice(0, 12);
}

/** Reads `--ads N --users N --rows N --seed N` and friends from a command line; a missing name keeps its fallback. */
export function numberArgument(words: readonly string[], name: string, fallback: number): number {
  const at = words.indexOf(`--${name}`);
  if (at < 0) return fallback;
  const value = Number(words[at + 1]);
  if (!Number.isFinite(value)) throw new Error(`--${name} needs a number, got "${words[at + 1] ?? ''}"`);
  return value;
}
