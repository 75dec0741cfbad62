import { LookupTicket } from '#embeddings/lookup/lookup-table.ts';
import { noPass } from '#embeddings/lookup/breaker.ts';
import { AuctionDraft, auctionLimits } from '#training-bridge/event-records.ts';
import type { BidRequest } from './bid-request.ts';
import type { Caller } from './callers.ts';
import { newContextWords } from './context-words.ts';
import type { HttpRequest, Respond } from './http-listener.ts';
import type { CrossFacts } from './pipeline-ports.ts';
import type { Rate } from './rates.ts';

/** Candidates of one request over all its imps: what the scoring ring takes in one go. */
export const flightCandidateMax = 1000;
/** Line items with views that a request looks at; who has seen more has his rarest forgotten. */
export const viewedLineItemMax = 64;
/** One key for each table of a user. */
const lookupCountMax = 8;

/**
 * Everything one request needs while it is under way. A serving thread makes a fixed number of them at start and reuses
 * them, so that a bid allocates next to nothing. About 230 KB each.
 */
export class Flight implements CrossFacts {
  readonly draft = new AuctionDraft(flightCandidateMax);
  readonly words = newContextWords();
  /** Per imp: slot in the scoring ring (−1 none), where its candidates begin in the draft, and how many there are. */
  readonly slots = new Int32Array(auctionLimits.impCountMax);
  readonly firstCandidate = new Uint32Array(auctionLimits.impCountMax);
  readonly candidateCounts = new Uint32Array(auctionLimits.impCountMax);
  readonly lightLogits = new Float32Array(flightCandidateMax);
  /** Cross features of all candidates: the log keeps those of the winner and of some losers after the ring's rows are given back. */
  readonly cross = new Float32Array(flightCandidateMax * auctionLimits.crossDimension);
  readonly viewLineItems = new Uint32Array(viewedLineItemMax);
  readonly views = new Uint32Array(viewedLineItemMax);
  /** Line items that this user may not see again yet. */
  readonly cappedLineItems = new Uint32Array(viewedLineItemMax);
  readonly userIds = new Uint32Array(auctionLimits.userIdCountMax);
  /** What is asked of the stores for its user. */
  readonly ticket = new LookupTicket(lookupCountMax);
  /** The user's vector: a row of a table, the average one, or `ownVector`, filled from a store or a table of int8. */
  userVector: Float32Array = new Float32Array(auctionLimits.userDimension);
  readonly ownVector = new Float32Array(auctionLimits.userDimension);
  /** Segments of the stored profile, as words. */
  storedSegments: readonly string[] = [];
  readonly contextIds = new Uint32Array(auctionLimits.contextIdCountMax);

  /** 1 where an imp may not be sold whatever is bid: no rate for its floor's currency. */
  readonly closedImps = new Uint8Array(auctionLimits.impCountMax);
  /** The ads to score when the caller names them itself; then nothing is retrieved and nothing is auctioned. */
  readonly namedRows = new Uint32Array(flightCandidateMax);
  namedRowCount = 0;

  request: BidRequest | undefined;
  /** Who asked, and the way back to him; undefined between two requests. */
  http: HttpRequest | undefined;
  respond: Respond | undefined;
  caller: Caller | undefined;
  /** From the answer's currency to the catalog's. */
  rate: Rate | undefined;
  /** Lent by its pool. */
  isOut = false;
  rung = 0;
  /** Where it was let in: its share of the work, whatever it loses later. */
  entryRung = 0;
  /** What it has lost to failures so far: bits of `lossBits`. */
  lost = 0;
  /** No other request was under way when it came. */
  cameAlone = false;
  /** When the answer must be on its way, epoch ms. */
  deadlineMs = 0;
  arrivalMs = 0;
  userRow = 0;
  userHashHigh = 0;
  userHashLow = 0;
  viewCount = 0;
  cappedCount = 0;
  /** Its pass through the breaker of the scoring threads, and whether any of its imps was let down. */
  headPass = noPass;
  isLetDown = false;
  /** Imps whose scores are still awaited. */
  pendingSlots = 0;
  submittedMs = 0;
  /** When it began to ask who its user is. */
  lookupStartedMs = 0;
  /** What that took, the wait for stores included. */
  lookupMs = 0;
  /** When the handler took it up, and what it then waited for a scoring thread. */
  startedMs = 0;
  queueWaitMs = 0;
  /** Called once when the auction is decided, or could not be. */
  done: (flight: Flight) => void = () => {};
  /** Called in its place when finishing the auction threw, long after the handler had returned. */
  failed: (flight: Flight, error: unknown) => void = () => {};

  reset(): void {
    this.draft.reset();
    this.slots.fill(-1);
    this.candidateCounts.fill(0);
    this.closedImps.fill(0);
    this.namedRowCount = 0;
    this.queueWaitMs = 0;
    this.request = undefined;
    this.rung = 0;
    this.userRow = 0;
    this.lookupMs = 0;
    this.lost = 0;
    this.headPass = noPass;
    this.isLetDown = false;
    this.userHashHigh = 0;
    this.userHashLow = 0;
    this.viewCount = 0;
    this.cappedCount = 0;
    this.pendingSlots = 0;
  }
  /** What was chosen is to be chosen anew. */
  dropCandidates(): void {
    const { draft } = this;
    draft.candidateCount = 0;
    draft.eligibleCount = 0;
    draft.throttledCount = 0;
    draft.cappedCount = 0;
    this.candidateCounts.fill(0);
  }
  /** Drops what belongs to the request, so that a waiting flight keeps no body alive. */
  letGo(): void {
    this.request = undefined;
    this.http = undefined;
    this.respond = undefined;
    this.caller = undefined;
    this.rate = undefined;
    this.ticket.clear();
  }
}
