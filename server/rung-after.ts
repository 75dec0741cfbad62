import { type RungNeed, rungNeeds, rungNumber, rungs } from './rungs.ts';

/** What a request has lost so far: a sum of these. Lost is what failed or came too late, not what was never there. */
export const lossBits: Readonly<Record<RungNeed, number>> = Object.fromEntries(
  rungNeeds.map((need, place) => [need, 1 << place]),
) as Record<RungNeed, number>;

/**
 * Which rung answers when all of `lost` is missing: follows `after` from the current one until nothing that its rung needs is lost.
 * The order of the losses makes no difference, whether they come at once or one by one.
 */
export function rungAfter(current: number, lost: number): number {
  return nextRungs[current]![lost & everything]!;
}

const everything = (1 << rungNeeds.length) - 1;

function follow(current: number, lost: number): number {
  const { after } = rungs[current]!;
  const missing = rungNeeds.find((need) => after[need] !== undefined && (lost & lossBits[need]) !== 0);
  return missing === undefined ? current : follow(rungNumber(after[missing]!), lost);
}

/** [rung][losses]: asked once or more per request. */
const nextRungs: readonly Uint8Array[] = rungs.map((_, rung) =>
  Uint8Array.from({ length: everything + 1 }, (__, lost) => follow(rung, lost)),
);
