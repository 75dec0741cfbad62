/** 1 as a Q30 probability. */
export const q30One = 2 ** 30;
/** What an advertiser pays for; the numbers are those of the catalog and the event log. */
export const priceTypes = { cpm: 0, cpc: 1, cpa: 2 } as const;
/** 281,474 units of a currency for one event: keeps every product below within its named width. */
export const bidNanosMax = 2 ** 48;

const q60One = 2 ** 60;
/** Two roundings of a product and one of a sum are below 3 × 2^-53 of it. */
const roundingShare = 2 ** -51;

/**
 * Expected value per impression in nanos, rounded down: CPM the bid itself, CPC bid × click, CPA bid × click × conversion.
 * Exact for whole bids up to `bidNanosMax`. Because it rounds down a whole floor holds against it exactly when it holds
 * against the exact product.
 */
export function expectedValueNanos(
  bidNanos: number,
  priceType: number,
  clickQ30: number,
  conversionQ30: number,
): number {
  if (priceType === priceTypes.cpm) return bidNanos;
  const isPerClick = priceType === priceTypes.cpc;
  const product = isPerClick ? bidNanos * clickQ30 : bidNanos * clickQ30 * conversionQ30;
  const approximate = product / (isPerClick ? q30One : q60One);
  // Below 2^53 the product was exact, and dividing by a power of two is.
  if (product < 2 ** 53) return Math.floor(approximate);
  const error = approximate * roundingShare;
  const low = Math.floor(approximate - error);
  if (low === Math.floor(approximate + error)) return low;
  return Number((BigInt(bidNanos) * eventWeightQ60(priceType, clickQ30, conversionQ30)) >> 60n);
}

/** Events of the price type per impression, × 2^60. */
export function eventWeightQ60(priceType: number, clickQ30: number, conversionQ30: number): bigint {
  if (priceType === priceTypes.cpm) return 1n << 60n;
  if (priceType === priceTypes.cpc) return BigInt(clickQ30) << 30n;
  return BigInt(clickQ30) * BigInt(conversionQ30);
}
