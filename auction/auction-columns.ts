/**
 * One auction as the decider reads and writes it: candidates and imps as columns, counts saying how much of each is meant. The
 * draft of the event log fits this type, so that a replay runs the same code on what was logged.
 */
export type AuctionColumns = {
  /** See `mechanismNumbers`. */
  readonly mechanism: number;
  /** Second price: what is paid on top of the runner-up, in nanos per impression. */
  readonly incrementNanos: number;
  /** a of quality^a, 0 to 4: 0 leaves quality out. */
  readonly qualityExponent: number;
  readonly tieSeedHigh: number;
  readonly tieSeedLow: number;

  readonly impCount: number;
  /** Per impression, in the catalog's currency, rounded up. */
  readonly impFloorNanos: Float64Array;
  /** Written: the winner's index among the candidates, or −1: unsold. */
  readonly impWinner: Int32Array;
  /** Written: per event of the winner's price type; 0 when unsold, and then it means nothing. */
  readonly impPriceNanos: Float64Array;

  readonly candidateCount: number;
  readonly candidateImp: Uint8Array;
  readonly candidateAdRow: Uint32Array;
  /** Per event of the price type: whole nanos up to 2^48. */
  readonly candidateBidNanos: Float64Array;
  /** See `priceTypes`. */
  readonly candidatePriceType: Uint8Array;
  readonly candidateClickQ30: Uint32Array;
  /** Read for CPA only. */
  readonly candidateConversionQ30: Uint32Array;
  readonly candidateQualityQ30: Uint32Array;
  /** 0: may compete; bits 1 budget, 2 cap, 4 pacing. Written: the budget bit, when `onWin` refuses. */
  readonly candidateVerdict: Uint8Array;
  /** Written: see `reasonNumbers`. */
  readonly candidateReason: Uint8Array;
};
