import type { UserEmbeddingRows } from '#embeddings/users/user-embedding-row.ts';
import type { UserProfile } from '#embeddings/users/user-profile.ts';
import type { CalibratedRung } from '#inference/calibration.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import type { BidRequest } from './bid-request.ts';
import type { ContextVocabulary } from './context-words.ts';
import type { Flight } from './flight.ts';

/**
 * What the pipeline asks of the floors below, as small ports, so that a test can hand in its own and the pipeline can be read
 * without them. `serving-thread.ts` fills them with the real ones.
 */

/** Requests to the scoring threads; a slot is one imp's candidates. See inference/scoring-client.ts. */
export type ScoringPort = {
  /** −1 when the ring is full. */
  begin(rowCount: number): number;
  userOf(slot: number): Float32Array;
  adIdsOf(slot: number): Int32Array;
  crossOf(slot: number): Float32Array;
  submit(slot: number, modelSlot: number, deadlineMs: number): void;
  /** rowCount × 2: click, conversion. Valid until `release`. */
  logitsOf(slot: number): Float32Array;
  claimedMsOf(slot: number): number;
  release(slot: number): void;
  predictedWaitMs(rowCount: number): number;
};

/** How a slot ended. */
export type ScoringOutcome = 'SCORED' | 'TOO_LATE' | 'FAILED';

/** Who is it: one lookup in process and stores. See user-lookup.ts. */
export type UsersPort = {
  /**
   * Fills the flight with what the process knows of its user, and asks the stores for the rest. False: `arrived` is called, once, when
   * they have answered or their time is over. Either way `take` comes next.
   */
  begin(
    flight: Flight,
    request: BidRequest,
    model: ServingModel,
    nowMs: number,
    arrived: (flight: Flight) => void,
  ): boolean;
  /** What the stores said becomes part of the flight, and what was lost is noted. */
  take(flight: Flight, request: BidRequest, model: ServingModel): void;
};

/** The users that the process itself knows. */
export type UserPort = {
  readonly idsPerUser: number;
  /** 0 = unknown. */
  rowOf(key: string): number;
  /** The row of a table, or `own`, which it was decoded into. */
  vectorOf(row: number, own: Float32Array): Float32Array;
  /** age, gender, 8 segments: vocabulary ids, in the order of the schema's user fields after the identity. */
  idsOf(row: number): Uint32Array;
};

/** Gives thousands of ads a click logit each. */
export type CandidateScorer = { score(rows: Uint32Array, count: number, logits: Float32Array): void };

/** The light ranker of the model in service. `vector`: of a user of whom nothing else is known. */
export type RankerPort = CandidateScorer & {
  prepare(contextIds: Uint32Array, userIds: Uint32Array, vector?: Float32Array): void;
};

/** Click rates as counted, without any model: see auction/click-rates.ts. */
export type RatesPort = CandidateScorer & {
  /** Once per request: where it comes from, and what its user's profile names. */
  begin(flight: Flight): void;
  /** As `score`, with what is known of ad and place together: for the few that are auctioned. From `first` on, to the same places. */
  scorePairs(rows: Uint32Array, first: number, count: number, logits: Float32Array): void;
  /** Conversions per click of an ad, at least 1. */
  conversionQ30(row: number): number;
};

/** What the head said lately of people like this one: see inference/prediction-cache.ts. */
export type PredictionsPort = {
  /** Click logits of the rows from `first` on, NaN where there is none; returns how many there are. `light`: the light ranker's. */
  read(
    model: ServingModel,
    userIds: Uint32Array,
    rows: Uint32Array,
    first: number,
    count: number,
    light: Float32Array,
    logits: Float32Array,
  ): number;
  /** Keeps what the head has said: `logits` as the scoring threads give them, click and conversion by turns. */
  keep(
    model: ServingModel,
    userIds: Uint32Array,
    rows: Uint32Array,
    first: number,
    count: number,
    light: Float32Array,
    logits: Float32Array,
  ): void;
};

/** The model in service, as one serving thread sees it; swapped as a whole. */
export type ServingModel = {
  readonly slot: number;
  readonly modelId: string;
  readonly calibratorId: string;
  /** Profiles and vectors under this model's tower and vocabulary. */
  readonly users: UserPort;
  /** 32 bits that no two models share, and the segment that a user's predictions are kept by: see inference/user-segments.ts. */
  readonly predictionKey: number;
  userSegmentOf(userIds: Uint32Array): number;
  /** Of all users, in place of a vector that could not be had. */
  readonly averageUserVector: Float32Array;
  /** Epoch ms since when it serves: so old is what its tables say of users. */
  readonly sinceMs: number;
  /** How user vectors lie in a store; undefined when the model came without their scale, and none can be read. */
  readonly userRows: UserEmbeddingRows | undefined;
  /** Segments of a known user's profile, as the words that line items target. */
  segmentWordsOf(row: number): readonly string[];
  /** A stored profile in this model's vocabulary. */
  profileIdsInto(profile: UserProfile, ids: Uint32Array): void;
  readonly vocabulary: ContextVocabulary;
  readonly ranker: RankerPort;
  /** u = stored user vector + Σ context embeddings. */
  requestVectorInto(target: Float32Array, userVector: Float32Array, contextIds: Uint32Array): void;
  /** The 16 numbers of each of `count` candidates, after `ranker.prepare`. */
  crossInto(target: Float32Array, rows: Uint32Array, from: number, count: number, facts: CrossFacts): void;
  /** Calibrated probabilities as Q30, at least 1; NaN logits give 0, which no auction sells. From `first` on, to the same places. */
  clicksQ30Into(rung: CalibratedRung, logits: Float32Array, first: number, count: number, target: Uint32Array): void;
  clickQ30(rung: CalibratedRung, logit: number): number;
  conversionQ30(rung: CalibratedRung, logit: number): number;
  /** Conversion logit of the light ranker, for the rungs without a head. */
  lightConversionLogit(row: number): number;
};

/** What cross features need beside the ranker's parts. */
export type CrossFacts = {
  readonly contextIds: Uint32Array;
  readonly userIds: Uint32Array;
  /** Line items that this user has viewed in their windows, and how often. */
  readonly viewCount: number;
  readonly viewLineItems: Uint32Array;
  readonly views: Uint32Array;
};

/** Finds what may be shown for one imp. */
export type RetrievalPort = {
  /** Prepares what holds for the whole request (blocks, user segments, place). */
  begin(request: BidRequest, nowMs: number, storedSegments: readonly string[]): void;
  /** Ad rows for one imp, at most `limit`, in static rank order. */
  select(impIndex: number, limit: number, out: Uint32Array): number;
};

/** Auction and money. */
export type AuctionPort = {
  /** Places of the ads whose line items take part in this auction: see auction/pacing.ts. `places` has room for all of them. */
  passingPacing(rows: Uint32Array, count: number, auctionHash: number, places: Uint32Array): number;
  /** Decides every imp of the draft: fills impWinner, impPriceNanos, reservations, candidateReason and verdicts. */
  decide(draft: AuctionDraft, userHashHigh: number, userHashLow: number): void;
  /** Gives back what a bid had reserved that will never be shown (late answer, test). */
  giveBack(draft: AuctionDraft, imp: number): void;
};
