import type { UserHash } from '#auction/user-hash.ts';
import type { AppendingStore } from '#embeddings/stores/store.ts';
import { encodeUserEvent, type UserEvent, windowDevices } from '#embeddings/users/user-window.ts';
import type { BidRequest } from './bid-request.ts';
import type { NoticeClaims } from './notice-claims.ts';
import { counterIndex, type Telemetry } from './telemetry.ts';
import { userTablePrefixes, windowKey } from './user-tables.ts';

export type UserEventsContext = {
  readonly store: Pick<AppendingStore, 'append'>;
  /** Names the subjects of events; the same on all pods. */
  readonly subjectHash: UserHash;
  readonly telemetry: Telemetry;
  readonly windowCountMax: number;
  readonly windowMs: number;
};

/** Appends under way at once: a second of the busiest pod's clicks. Beyond it events are dropped and counted. */
const underWayMax = 2000;
const prefix = Buffer.from(userTablePrefixes.window);

/**
 * What a user does enters his window: a click with its notice, a query with the request that carries it. Nobody waits for that; a
 * store that does not take it costs the event, which is counted and stays in the event log.
 */
export class UserEvents {
  readonly #context: UserEventsContext;
  #underWay = 0;

  constructor(context: UserEventsContext) {
    this.#context = context;
  }

  get underWay(): number {
    return this.#underWay;
  }

  /** The first time that a click is told. Whoever gave no consent has no hash, and no window. */
  clicked(claims: NoticeClaims, nowMs: number): void {
    this.#append(claims.userHashHigh, claims.userHashLow, 'click', claims.adId, 0, '', nowMs);
  }

  /** The search that led to the page of a request. */
  queried({ place, device, isTest }: BidRequest, userHashHigh: number, userHashLow: number, nowMs: number): void {
    if (place.search === '' || isTest) return;
    const deviceNumber = windowDevices.indexOf(device.type);
    this.#append(userHashHigh, userHashLow, 'query', place.search, deviceNumber, device.country, nowMs);
  }

  #append(
    userHashHigh: number,
    userHashLow: number,
    kind: UserEvent['kind'],
    subject: string,
    device: number,
    country: string,
    timeMs: number,
  ): void {
    if (userHashHigh === 0 && userHashLow === 0) return;
    const { store, subjectHash, telemetry, windowCountMax, windowMs } = this.#context;
    if (this.#underWay >= underWayMax) return telemetry.count(counterIndex.user_events_dropped);
    subjectHash.of(subject);
    const { high: subjectHigh, low: subjectLow } = subjectHash;
    const record = encodeUserEvent({ kind, timeMs, subjectHigh, subjectLow, device, country });
    const key = Buffer.concat([prefix, windowKey(userHashHigh, userHashLow)]);
    this.#underWay++;
    store
      .append(key, record, windowCountMax, windowMs)
      .then(
        () => telemetry.count(counterIndex.user_events),
        () => telemetry.count(counterIndex.user_events_dropped),
      )
      .finally(() => {
        this.#underWay--;
      });
  }
}
