import { type LookupTicket, outcomeNumbers, sourceNumbers, unknownAge } from '#embeddings/lookup/lookup-table.ts';
import { decodeUserProfile } from '#embeddings/users/user-profile.ts';
import { userStateInto, userStateNames, UserWindow } from '#embeddings/users/user-window.ts';
import type { BidRequest } from './bid-request.ts';
import { lookupShareMax } from './deadline.ts';
import type { Flight } from './flight.ts';
import type { ServingModel, UsersPort } from './pipeline-ports.ts';
import { lossBits } from './rung-after.ts';
import { userTables, windowKey } from './user-tables.ts';

/** What it asks of embeddings/lookup/lookup.ts. */
export type LookupPort = {
  begin(ticket: LookupTicket, cutoffMs: number, done: (ticket: LookupTicket) => void): boolean;
};

export type UserLookupContext = {
  readonly lookup: LookupPort;
  readonly now: () => number;
  /** What a lookup may take. */
  readonly lookupMs: number;
  /** How much of a user's events is read, and how far back they count. */
  readonly windowCountMax: number;
  readonly windowMs: number;
};

/** What a request loses with a table. Windows are missed, but nothing is decided by them. */
const lossOf: Readonly<Record<number, number>> = {
  [userTables.profile]: lossBits.profile,
  [userTables.embedding]: lossBits.vector,
  [userTables.window]: 0,
};
const unknownUserRow = 0;
const noRow = 0xffff_ffff;
const noSegments: readonly string[] = [];

/**
 * Who is it: one lookup for everything a request wants to know of its user. Whoever is in the process's own table needs the
 * stores for his window alone. What did not come is filled with defaults, and `flight.lost` says what was lost to a failure; that a
 * store simply knows nobody of that name is no failure. One per serving thread.
 */
export class UserLookup implements UsersPort {
  readonly #context: UserLookupContext;
  readonly #window: UserWindow;

  constructor(context: UserLookupContext) {
    this.#context = context;
    this.#window = new UserWindow(context.windowCountMax);
  }

  begin(
    flight: Flight,
    request: BidRequest,
    model: ServingModel,
    nowMs: number,
    arrived: (flight: Flight) => void,
  ): boolean {
    const { key } = request.user;
    const { draft, ticket } = flight;
    const row = key === '' ? unknownUserRow : model.users.rowOf(key);
    flight.userRow = row;
    flight.userIds.set(model.users.idsOf(row));
    flight.userVector = model.users.vectorOf(row, flight.ownVector);
    flight.storedSegments = noSegments;
    draft.userRow = row === unknownUserRow ? noRow : row;
    draft.userKey = key;
    draft.userIdCount = 0;
    ticket.clear();
    if (key === '') return true;

    if (row === unknownUserRow) {
      ticket.ask(userTables.profile, Buffer.from(key));
      if (model.userRows !== undefined) ticket.ask(userTables.embedding, model.userRows.keyOf(key));
    } else {
      flight.storedSegments = model.segmentWordsOf(row);
      const ageMs = nowMs - model.sinceMs;
      draft.noteLookup(userTables.profile, outcomeNumbers.found, sourceNumbers.process, ageMs);
      draft.noteLookup(userTables.embedding, outcomeNumbers.found, sourceNumbers.process, ageMs);
    }
    ticket.ask(userTables.window, windowKey(flight.userHashHigh, flight.userHashLow));
    const { lookup, lookupMs } = this.#context;
    const cutoffMs = nowMs + Math.max(0, Math.min(lookupMs, (flight.deadlineMs - nowMs) * lookupShareMax));
    return lookup.begin(ticket, cutoffMs, () => arrived(flight));
  }

  take(flight: Flight, request: BidRequest, model: ServingModel): void {
    const { draft, ticket } = flight;
    if (ticket.count === 0) return;
    this.#window.clear();
    let hasOwnVector = false;
    for (let place = 0; place < ticket.count; place++) {
      const table = ticket.tables[place]!;
      const outcome = ticket.outcomes[place]!;
      const value = outcome === outcomeNumbers.found ? ticket.values[place] : undefined;
      const isSound = value === undefined || this.#use(table, value, flight, request, model);
      if (table === userTables.embedding && value !== undefined && isSound) hasOwnVector = true;
      // A window says by its events how old it is.
      const ageMs = table === userTables.window ? this.#windowAgeMs() : ticket.ageMs[place]!;
      draft.noteLookup(table, isSound ? outcome : outcomeNumbers.invalid, ticket.sources[place]!, ageMs);
      if (outcome === outcomeNumbers.late || outcome === outcomeNumbers.failed) flight.lost |= lossOf[table]!;
    }
    // In place of a lost profile only the user's own vector can say who it is.
    if ((flight.lost & lossBits.profile) !== 0 && !hasOwnVector) flight.lost |= lossBits.vector;
    draft.userIds.set(flight.userIds);
    draft.userIdCount = model.users.idsPerUser;
  }

  #windowAgeMs(): number {
    const { count, timesMs } = this.#window;
    return count === 0 ? unknownAge : Math.max(0, this.#context.now() - timesMs[count - 1]!);
  }

  /** False for bytes that are sound in their envelope and yet not what the table holds. */
  #use(table: number, value: Buffer, flight: Flight, request: BidRequest, model: ServingModel): boolean {
    switch (table) {
      case userTables.profile: {
        const profile = decodeUserProfile(value);
        if (profile === undefined) return false;
        model.profileIdsInto(profile, flight.userIds);
        flight.storedSegments = profile.segments;
        return true;
      }
      case userTables.embedding:
        if (model.userRows?.decodeInto(flight.ownVector, value) !== true) return false;
        flight.userVector = flight.ownVector;
        return true;
      default: {
        const nowMs = this.#context.now();
        const { draft } = flight;
        this.#window.fill(value, nowMs, this.#context.windowMs);
        userStateInto(draft.userState, this.#window, nowMs, request.device.type, request.device.country);
        draft.userStateCount = userStateNames.length;
        return true;
      }
    }
  }
}
