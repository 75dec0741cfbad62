/**
 * How a candidate ended. The numbers are in the event log for ever: new ones go behind, none changes its meaning. The server takes
 * ads over a cap or held back by pacing out before they become candidates, so its auctions never say `cap` or `pacing`: the record
 * has their counts. They are for callers of the decider that keep such ads in (`candidateVerdict`).
 */
export const reasonNumbers = {
  undecided: 0,
  won: 1,
  belowFloor: 2,
  outbid: 3,
  lostTie: 4,
  budget: 5,
  cap: 6,
  pacing: 7,
  separation: 8,
  noProbability: 9,
  noBid: 10,
} as const;
export type ReasonName = keyof typeof reasonNumbers;

export type Reason = {
  readonly number: number;
  readonly name: ReasonName;
  /** OpenRTB 2.6 loss reason; from 500 on our own. */
  readonly lossCode: number;
  /** OpenRTB 2.6 no-bid reason, if this is why nothing was offered; from 500 on our own. */
  readonly nbr: number;
  readonly text: string;
};

const facts: Readonly<Record<ReasonName, readonly [lossCode: number, nbr: number, text: string]>> = {
  undecided: [1, 0, 'The auction was never decided.'],
  won: [0, 0, 'Won.'],
  belowFloor: [100, 501, 'Its expected value per impression is below the floor.'],
  outbid: [102, 0, 'Another candidate ranked higher.'],
  lostTie: [102, 0, 'It ranked level with the winner, and the draw by the hash of the auction went to the other.'],
  budget: [502, 502, 'Its line item has no budget left for this bid.'],
  cap: [503, 9, 'The user has seen its line item as often as the frequency cap allows.'],
  pacing: [504, 504, 'Its line item is held back so that the budget lasts for the day.'],
  separation: [505, 505, 'Its advertiser already wins another place on the same page.'],
  noProbability: [506, 506, 'The model gave it no usable probability or quality.'],
  noBid: [507, 507, 'Its bid is not a positive whole number of nanos.'],
};

/** By number. */
export const reasons: readonly Reason[] = (Object.keys(reasonNumbers) as ReasonName[]).map((name) => {
  const [lossCode, nbr, text] = facts[name];
  return { number: reasonNumbers[name], name, lossCode, nbr, text };
});

/** Anything unknown (a log of a later version) reads as undecided. */
export function reasonOf(number: number): Reason {
  return reasons[number] ?? reasons[reasonNumbers.undecided]!;
}
