export const auctionFaults = {
  AUCTION_TOO_LARGE:
    'The auction has more candidates or imps than the decider was sized for, or a candidate for an imp it lacks.',
  AUCTION_MECHANISM_UNKNOWN: 'The auction names a mechanism that is not in the table.',
  AUCTION_SETTING_INVALID: 'A quality exponent, an increment or a table of position factors is out of its range.',
  CURRENCY_RATE_INVALID: 'A currency rate is not a positive ratio of whole numbers.',
  LEDGER_LINE_ITEM_UNKNOWN: 'The line item number is outside the budget ledger.',
  LEDGER_AMOUNT_INVALID: 'An amount is not a whole number of nanos between 0 and 2^53.',
  SEEN_NOTICES_FULL: 'The set of notice ids holds as many live ids as it was sized for.',
  SHARED_LOCK_STUCK: 'Another thread has held a lock in shared memory for too long; it has probably died.',
} as const;
export type AuctionFault = keyof typeof auctionFaults;

export class AuctionError extends Error {
  override readonly name = 'AuctionError';
  readonly code: AuctionFault;

  constructor(code: AuctionFault, options?: ErrorOptions & { detail?: string }) {
    super(options?.detail === undefined ? auctionFaults[code] : `${auctionFaults[code]} ${options.detail}`, options);
    this.code = code;
  }
}
