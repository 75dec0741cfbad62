/** The parts of a bid that an exchange acts on. Prices are CPM in the currency of the request. */
export type WireBid = {
  readonly price: number;
  readonly adid?: string;
  readonly adm?: string;
  readonly nurl?: string;
  readonly burl?: string;
  readonly lurl?: string;
};

export type Verdict = {
  readonly isWon: boolean;
  /** CPM. */ readonly clearingPrice: number;
  readonly minimumToWin: number;
};

/** First bid of the first seat, or undefined: every legal way to say "no bid", and everything malformed, is no bid. */
export function firstBid(answer: string): WireBid | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(answer);
  } catch {
    return undefined;
  }
  const bid = (parsed as { seatbid?: { bid?: WireBid[] }[] } | null)?.seatbid?.[0]?.bid?.[0];
  return typeof bid?.price === 'number' && bid.price > 0 ? bid : undefined;
}

/** The highest rival price of one auction: lognormal, median `medianCpm`; four times as much is asked about once in fifty. */
export function rivalPrice(medianCpm: number, random: () => number): number {
  // The sum of twelve uniforms is close enough to a normal.
  let sum = -6;
  for (let draw = 0; draw < 12; draw += 1) sum += random();
  return medianCpm * Math.exp(0.7 * sum);
}

/** Second price against the rival, never under the floor and never over the bid. */
export function clear(bidCpm: number, rivalCpm: number, floorCpm: number): Verdict {
  const minimumToWin = Math.max(rivalCpm, floorCpm);
  if (bidCpm < minimumToWin) return { isWon: false, clearingPrice: 0, minimumToWin };
  return { isWon: true, clearingPrice: Math.min(bidCpm, minimumToWin), minimumToWin };
}

/** One pass of plain replacement: what is filled in is never expanded again. */
export function expandMacros(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{(AUCTION_[A-Z_]+)\}/gu, (_, name: string) => values[name] ?? '');
}

export type MarkupNotices = { readonly view: string | undefined; readonly click: string | undefined };

/** The view pixel and the click address in markup of any kind: HTML, VAST or native JSON. */
export function noticesIn(markup: string): MarkupNotices {
  // HTML and XML escape "&", JSON may escape "/".
  const plain = markup
    .replaceAll('\\/', '/')
    .replaceAll('&amp;', '&')
    .replaceAll('\\u0026', '&')
    .replaceAll('\\"', '"');
  const find = (what: string): string | undefined =>
    new RegExp(`https?://[^\\s"'<>\\]\\\\)]*/notice/${what}[^\\s"'<>\\]\\\\)]*`, 'u').exec(plain)?.[0];
  return { view: find('view'), click: find('click') };
}

/** The conversion token that a click redirect hands to the landing page, if it does. */
export function conversionToken(location: string | undefined): string | undefined {
  if (location === undefined || !URL.canParse(location)) return undefined;
  return new URL(location).searchParams.get('gavelin_ct') ?? undefined;
}
