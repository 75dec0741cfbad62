/**
 * How winners and prices are set. `bid` is the role of a bidder: the exchange clears, we answer with our best candidate and
 * its advertiser owes its own bid. The others clear among our own advertisers. The numbers are in the event log for ever.
 */
export const mechanismNumbers = { bid: 0, first: 1, second: 2, gsp: 3, vcg: 4 } as const;
export type MechanismName = keyof typeof mechanismNumbers;
export const mechanismNames: readonly MechanismName[] = ['bid', 'first', 'second', 'gsp', 'vcg'];

/** The money of a winner as exact integers: what one event is worth, as the ranking sees it. */
export type WinnerTerms = {
  /** Nanos per event of the winner's price type: the most it ever pays. */
  readonly bidNanos: bigint;
  /** Events per impression × 2^60. */
  readonly weightQ60: bigint;
  /** quality^a × 2^30. */
  readonly qualityQ30: bigint;
  /** Nanos per impression. */
  readonly floorNanos: bigint;
};

/** Rounds up, because what leaves here is a price that must still reach the floor or the runner-up. `divisor` > 0. */
export function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

/** The least price per event that reaches the floor: floor ÷ p, rounded up. */
export function reservePriceNanos({ weightQ60, floorNanos }: WinnerTerms): bigint {
  return divideUp(floorNanos << 60n, weightQ60);
}

/**
 * The least price per event with which the winner still ranks at the runner-up's score plus the increment, never below its
 * floor, never above its bid. Divides once. `runnerUpQ90` is bid × weight × quality of the runner-up; without one the floor
 * alone decides: a lone bidder pays the reserve and no increment on top.
 */
export function nextPriceNanos(winner: WinnerTerms, runnerUpQ90: bigint | undefined, incrementNanos: bigint): bigint {
  const { bidNanos, weightQ60, qualityQ30 } = winner;
  const reserve = reservePriceNanos(winner);
  const needed =
    runnerUpQ90 === undefined
      ? 0n
      : divideUp(runnerUpQ90 + (incrementNanos << 60n) * qualityQ30, weightQ60 * qualityQ30);
  const price = needed > reserve ? needed : reserve;
  return price < bidNanos ? price : bidNanos;
}

/**
 * What the winner of a slot takes away from the others (`externality`, in position factor × quality × nanos × 2^120), plus
 * its floor, per event. Never above its bid.
 */
export function externalityPriceNanos(winner: WinnerTerms, positionQ30: bigint, externality: bigint): bigint {
  const { bidNanos, weightQ60, qualityQ30, floorNanos } = winner;
  const perNano = positionQ30 * qualityQ30;
  const price = divideUp(externality + perNano * (floorNanos << 60n), perNano * weightQ60);
  return price < bidNanos ? price : bidNanos;
}
