/**
 * What the event log holds. Ids of schemas are for ever: a changed meaning gets a new id, a new field goes behind the old
 * ones (readers skip by lengths). Money is integer nanos of `currency`, probabilities are Q30 (p = q ÷ 2^30), times are
 * epoch ms.
 */
export const schemaIds = {
  processStart: 1,
  dictionary: 2,
  ledgerCheckpoint: 3,
  auction: 16,
  win: 32,
  bill: 33,
  loss: 34,
  view: 35,
  click: 36,
  conversion: 37,
} as const;

/** Named bounds of one auction record. A pipeline that has more cuts before it logs, and the draft refuses nothing silently: see `AuctionDraft`. */
export const auctionLimits = {
  candidateCountMax: 4096,
  impCountMax: 16,
  contextIdCountMax: 16,
  userIdCountMax: 12,
  userDimension: 64,
  /** Values that one auction looks up for its user: see server/user-tables.ts. */
  lookupCountMax: 8,
  /** Numbers of window and session: see embeddings/users/user-window.ts. */
  userStateCountMax: 16,
  crossDimension: 16,
  /** Candidates whose cross features and logit are kept: every winner, then a seeded sample of losers. */
  featureRowCountMax: 32,
  stageCountMax: 12,
  /** UTF-8 bytes of any one text; longer ones are cut at a whole character. */
  textBytesMax: 512,
  /** More than any record can take: what a producer reserves in the ring. */
  recordBytesMax: 192 * 1024,
} as const;

/** Where an auction came from. */
export const surfaceNumbers = { openrtb: 0, auction: 1, predict: 2 } as const;
/**
 * Bits of `candidateVerdict`: why a candidate that the model liked could not compete. 0 = it competed. Only `budget` is set: ads over
 * a cap or held back by pacing never become candidates (`cappedCount`, `throttledCount`). The decider honours all three.
 */
export const verdictBits = { budget: 1, cap: 2, pacing: 4 } as const;

/** Age of a looked-up value that does not say when it was written. */
export const unknownAgeMs = 0xffff_ffff;

/**
 * One auction as columns: the pipeline owns one per request in flight (about 140 KB at 4096 candidates), fills it without
 * allocating and hands it to `encodeAuction`; `decodeAuction` fills one from bytes. Counts say how much of each column is
 * meant. `reset()` before each use.
 */
export class AuctionDraft {
  readonly candidateCapacity: number;

  auctionIdHigh = 0;
  auctionIdLow = 0;
  /** When the auction was decided, and when the first byte of the request arrived. */
  timeMs = 0;
  arrivalMs = 0;
  /** See `surfaceNumbers`. */
  surface = 0;
  /** `test=1`: answers the same, changes nothing, never trained on. */
  test = false;
  /** The exploration draw hit: some imp may show an ad that did not win by value (see `impExplored`). */
  explore = false;
  /** Index into server/rungs.ts; 0 is the full rung. */
  rung = 0;
  /** Number of the mechanism in auction/mechanisms; the log only carries it. */
  mechanism = 0;
  requestId = '';
  callerId = '';
  /** '' without consent: then nothing that identifies a person is in the record (`userRow`, `userIds` are unknown too). */
  userKey = '';
  /** Row of the user table; 0xffffffff when unknown. */
  userRow = 0xffff_ffff;
  modelId = '';
  calibratorId = '';
  /** `TABLE@VERSION` of the stores that were read, comma-separated. */
  tableVersions = '';
  catalogVersion = 0;
  incrementNanos = 0;
  marginPpm = 0;
  qualityExponent = 0;
  tieSeedHigh = 0;
  tieSeedLow = 0;
  currency = 'USD';
  /** Rate of the request's currency to the catalog's, as it was used: numerator ÷ denominator. */
  rateNumerator = 1;
  rateDenominator = 1;
  tmaxMs = 0;

  contextIdCount = 0;
  readonly contextIds = new Uint32Array(auctionLimits.contextIdCountMax);
  userIdCount = 0;
  readonly userIds = new Uint32Array(auctionLimits.userIdCountMax);
  /** u as the head saw it; `userVectorCount` 0 when no head ran. */
  userVectorCount = 0;
  readonly userVector = new Float32Array(auctionLimits.userDimension);
  /** The imp that `userVector` is of: the first that had candidates. Another imp's u is this one less its context rows and plus the other's. */
  userVectorImp = 0;
  /** With several imps: of how many there are context ids of their own, `contextIdCount` each (they differ in the size); `contextIds` are the first imp's. */
  impContextCount = 0;
  readonly impContextIds = new Uint32Array(auctionLimits.impCountMax * auctionLimits.contextIdCountMax);

  /**
   * What was looked up, in the order of the tables: number of the table, what became of it, where it came from (see
   * embeddings/lookup/lookup-table.ts) and how many ms ago it was written (0xffffffff unknown).
   */
  lookupCount = 0;
  readonly lookupTable = new Uint8Array(auctionLimits.lookupCountMax);
  readonly lookupOutcome = new Uint8Array(auctionLimits.lookupCountMax);
  readonly lookupSource = new Uint8Array(auctionLimits.lookupCountMax);
  readonly lookupAgeMs = new Uint32Array(auctionLimits.lookupCountMax);
  /** What the user just did, as the numbers of `userStateNames`; none without a user. */
  userStateCount = 0;
  readonly userState = new Float32Array(auctionLimits.userStateCountMax);

  impCount = 0;
  readonly impId: string[] = Array.from({ length: auctionLimits.impCountMax }, () => '');
  readonly impFloorNanos = new Float64Array(auctionLimits.impCountMax);
  readonly impWidth = new Uint16Array(auctionLimits.impCountMax);
  readonly impHeight = new Uint16Array(auctionLimits.impCountMax);
  /** 0 banner, 1 video, 2 native. */
  readonly impFormat = new Uint8Array(auctionLimits.impCountMax);
  readonly impSecure = new Uint8Array(auctionLimits.impCountMax);
  /** 1 when the ad shown was chosen by exploration. */
  readonly impExplored = new Uint8Array(auctionLimits.impCountMax);
  /** Index into the candidates, or -1: unsold. */
  readonly impWinner = new Int32Array(auctionLimits.impCountMax);
  /** What the mechanism decided, per event of the winner's price type. */
  readonly impPriceNanos = new Float64Array(auctionLimits.impCountMax);
  readonly impReservation = new Uint32Array(auctionLimits.impCountMax);
  readonly impReservedNanos = new Float64Array(auctionLimits.impCountMax);
  /** Chance that this ad was shown here, given the candidates: 2^30 when nothing was drawn. */
  readonly impPropensityQ30 = new Uint32Array(auctionLimits.impCountMax);

  /**
   * Ads that the targeting index found, summed over the imps, and how many of them pacing held back or this user's frequency caps
   * ruled out before any became a candidate.
   */
  eligibleCount = 0;
  throttledCount = 0;
  cappedCount = 0;

  candidateCount = 0;
  readonly candidateImp: Uint8Array;
  readonly candidateAdRow: Uint32Array;
  readonly candidateClickQ30: Uint32Array;
  /** Kept in the log for CPA candidates and feature rows only, unless `keepAllScores`. */
  readonly candidateConversionQ30: Uint32Array;
  /** Per event of the price type; integer below 2^48. */
  readonly candidateBidNanos: Float64Array;
  /** 0 CPM, 1 CPC, 2 CPA. */
  readonly candidatePriceType: Uint8Array;
  readonly candidateQualityQ30: Uint32Array;
  /** Before calibration. Kept for feature rows only, unless `keepAllScores`. */
  readonly candidateClickLogit: Float32Array;
  /** Number of the auction floor's reason. */
  readonly candidateReason: Uint8Array;
  /** See `verdictBits`. */
  readonly candidateVerdict: Uint8Array;
  /** Keeps every candidate's conversion probability and logit: 8 bytes a candidate more. */
  keepAllScores = false;

  /** Filled by `keepFeatures`. */
  featureRowCount = 0;
  readonly featureCandidate = new Uint16Array(auctionLimits.featureRowCountMax);
  readonly featureCross = new Float32Array(auctionLimits.featureRowCountMax * auctionLimits.crossDimension);

  stageCount = 0;
  /** Microseconds per stage, in the order of server/telemetry.ts `stages`. */
  readonly stageUs = new Uint32Array(auctionLimits.stageCountMax);

  constructor(candidateCapacity: number = auctionLimits.candidateCountMax) {
    this.candidateCapacity = candidateCapacity;
    this.candidateImp = new Uint8Array(candidateCapacity);
    this.candidateAdRow = new Uint32Array(candidateCapacity);
    this.candidateClickQ30 = new Uint32Array(candidateCapacity);
    this.candidateConversionQ30 = new Uint32Array(candidateCapacity);
    this.candidateBidNanos = new Float64Array(candidateCapacity);
    this.candidatePriceType = new Uint8Array(candidateCapacity);
    this.candidateQualityQ30 = new Uint32Array(candidateCapacity);
    this.candidateClickLogit = new Float32Array(candidateCapacity);
    this.candidateReason = new Uint8Array(candidateCapacity);
    this.candidateVerdict = new Uint8Array(candidateCapacity);
  }

  /** Scalars back to their defaults, counts to 0. Columns keep old numbers beyond the counts: nobody reads them. */
  reset(): void {
    this.auctionIdHigh = 0;
    this.auctionIdLow = 0;
    this.timeMs = 0;
    this.arrivalMs = 0;
    this.surface = 0;
    this.test = false;
    this.explore = false;
    this.rung = 0;
    this.mechanism = 0;
    this.requestId = '';
    this.callerId = '';
    this.userKey = '';
    this.userRow = 0xffff_ffff;
    this.modelId = '';
    this.calibratorId = '';
    this.tableVersions = '';
    this.catalogVersion = 0;
    this.incrementNanos = 0;
    this.marginPpm = 0;
    this.qualityExponent = 0;
    this.tieSeedHigh = 0;
    this.tieSeedLow = 0;
    this.currency = 'USD';
    this.rateNumerator = 1;
    this.rateDenominator = 1;
    this.tmaxMs = 0;
    this.contextIdCount = 0;
    this.userIdCount = 0;
    this.userVectorCount = 0;
    this.userVectorImp = 0;
    this.impContextCount = 0;
    this.lookupCount = 0;
    this.userStateCount = 0;
    this.eligibleCount = 0;
    this.throttledCount = 0;
    this.cappedCount = 0;
    this.impCount = 0;
    this.candidateCount = 0;
    this.keepAllScores = false;
    this.featureRowCount = 0;
    this.stageCount = 0;
  }

  /** The context ids of one imp of several. `ids` has room for as many as the draft's `contextIds`. */
  setImpContext(imp: number, ids: Uint32Array): void {
    this.impContextIds.set(ids, imp * auctionLimits.contextIdCountMax);
    this.impContextCount = Math.max(this.impContextCount, imp + 1);
  }

  /** Where the context ids of an imp lie: its own, or those that the whole request shares. */
  contextIdsOf(imp: number): Uint32Array {
    if (imp >= this.impContextCount) return this.contextIds.subarray(0, this.contextIdCount);
    const from = imp * auctionLimits.contextIdCountMax;
    return this.impContextIds.subarray(from, from + this.contextIdCount);
  }

  /** Notes one looked-up value; beyond `lookupCountMax` nothing is noted. `ageMs` below 0: unknown. */
  noteLookup(table: number, outcome: number, source: number, ageMs: number): void {
    const place = this.lookupCount;
    if (place === auctionLimits.lookupCountMax) return;
    this.lookupTable[place] = table;
    this.lookupOutcome[place] = outcome;
    this.lookupSource[place] = source;
    this.lookupAgeMs[place] = ageMs < 0 ? unknownAgeMs : Math.min(Math.round(ageMs), unknownAgeMs - 1);
    this.lookupCount = place + 1;
  }

  /**
   * Chooses whose cross features go into the record: every winner, then `loserCount` losers drawn by the auction's id, so
   * that a rerun draws the same. `cross` holds candidateCount × 16 numbers from `crossOffset` on.
   */
  keepFeatures(cross: Float32Array, crossOffset: number, loserCount: number): void {
    this.featureRowCount = 0;
    for (let imp = 0; imp < this.impCount; imp++) this.#keep(this.impWinner[imp]!, cross, crossOffset);
    const rowCountMax = Math.min(auctionLimits.featureRowCountMax, this.featureRowCount + loserCount);
    let state = (this.auctionIdLow ^ Math.imul(this.auctionIdHigh, 0x9e3779b1)) >>> 0;
    // A repeated draw is lost, not redrawn: bounded work, and a few rows fewer when there are hardly any losers.
    for (let draw = 0; draw < loserCount && this.featureRowCount < rowCountMax && this.candidateCount > 0; draw++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      this.#keep(Math.floor((state / 4_294_967_296) * this.candidateCount), cross, crossOffset);
    }
  }

  #keep(candidate: number, cross: Float32Array, crossOffset: number): void {
    if (candidate < 0 || candidate >= this.candidateCount) return;
    const row = this.featureRowCount;
    if (row >= auctionLimits.featureRowCountMax) return;
    for (let other = 0; other < row; other++) if (this.featureCandidate[other] === candidate) return;
    this.featureCandidate[row] = candidate;
    const from = crossOffset + candidate * auctionLimits.crossDimension;
    const to = row * auctionLimits.crossDimension;
    for (let index = 0; index < auctionLimits.crossDimension; index++) {
      this.featureCross[to + index] = cross[from + index]!;
    }
    this.featureRowCount = row + 1;
  }
}

export type NoticeKind = 'win' | 'bill' | 'loss' | 'view' | 'click' | 'conversion';

/** Bits of `NoticeRecord.flags`. */
export const noticeFlags = {
  /** From a `test=1` auction: moves nothing. */
  test: 1,
  /** Came after its reservation had expired. */
  late: 2,
  /** The reported price was above the bid and was cut to it. */
  clamped: 4,
  /** `${AUCTION_PRICE}` came unexpanded: charged nothing. */
  unexpanded: 8,
} as const;

/**
 * What happened to an ad after its auction. Bill, click and conversion may charge; all six are deduplicated by the 64-bit
 * notice id, so a record that reached the log twice counts once. Ids are text: rows do not outlive a process, money does.
 */
export type NoticeRecord = {
  kind: NoticeKind;
  noticeIdHigh: number;
  noticeIdLow: number;
  auctionIdHigh: number;
  auctionIdLow: number;
  impIndex: number;
  timeMs: number;
  /** Until then a repetition must be recognised. */
  expiresMs: number;
  /** Reported by the exchange, or the price that the notice's token carries. */
  priceNanos: number;
  /** What the ledger took from the advertiser: min(price, what was left). */
  chargedNanos: number;
  /** The rest of the price: served, never charged. */
  overDeliveredNanos: number;
  /** What the exchange bills us. */
  costNanos: number;
  /** OpenRTB loss reason; 0 otherwise. */
  lossReason: number;
  /** See `noticeFlags`. */
  flags: number;
  currency: string;
  adId: string;
  lineItemId: string;
  /** Keyed hash of the user, in two halves; 0, 0 without consent. Views that carry one count towards caps. */
  userHashHigh: number;
  userHashLow: number;
};

export function emptyNotice(kind: NoticeKind): NoticeRecord {
  return {
    kind,
    noticeIdHigh: 0,
    noticeIdLow: 0,
    auctionIdHigh: 0,
    auctionIdLow: 0,
    impIndex: 0,
    timeMs: 0,
    expiresMs: 0,
    priceNanos: 0,
    chargedNanos: 0,
    overDeliveredNanos: 0,
    costNanos: 0,
    lossReason: 0,
    flags: 0,
    currency: 'USD',
    adId: '',
    lineItemId: '',
    userHashHigh: 0,
    userHashLow: 0,
  };
}

/** What an ad row means, from here in the log until a later row says otherwise. */
export type DictionaryRow = {
  readonly adRow: number;
  readonly adId: string;
  readonly lineItemId: string;
  readonly advertiserId: string;
  readonly campaignId: string;
};

/** Sums of one line item on one UTC day (whole days since the epoch), over everything before this record in the log. */
export type LedgerLine = {
  readonly lineItemId: string;
  readonly day: number;
  readonly chargedNanos: bigint;
  readonly overDeliveredNanos: bigint;
  readonly costNanos: bigint;
  readonly chargeCount: number;
};

export type LedgerCheckpoint = { readonly timeMs: number; readonly lines: readonly LedgerLine[] };

export type ProcessStart = {
  readonly timeMs: number;
  readonly pid: number;
  readonly version: string;
  readonly hostname: string;
};

/** Any record but an auction, which is decoded into a draft. */
export type EventRecord =
  | { readonly kind: 'notice'; readonly notice: NoticeRecord }
  | { readonly kind: 'dictionary'; readonly rows: readonly DictionaryRow[] }
  | { readonly kind: 'ledger-checkpoint'; readonly checkpoint: LedgerCheckpoint }
  | { readonly kind: 'process-start'; readonly start: ProcessStart };
