import { expect, test } from 'vitest';
import { type LookupTicket, outcomeNumbers, sourceNumbers } from '#embeddings/lookup/lookup-table.ts';
import { encodeUserProfile } from '#embeddings/users/user-profile.ts';
import { encodeUserEvent, userStateNames } from '#embeddings/users/user-window.ts';
import { Flight } from '#server/flight.ts';
import { lossBits } from '#server/rung-after.ts';
import type { ServingModel } from '#server/pipeline-ports.ts';
import { type LookupPort, UserLookup } from '#server/user-lookup.ts';
import { userTables } from '#server/user-tables.ts';
import { plainRequest } from './plain-request.ts';

const nowMs = 1_900_000_000_000;
const hotVector = new Float32Array(64).fill(1);
const unknownVector = new Float32Array(64);

/** A model that knows one user by itself and reads stored vectors of which the first byte says all. */
const model = {
  users: {
    idsPerUser: 10,
    rowOf: (key: string) => (key === 'hot' ? 1 : 0),
    vectorOf: (row: number) => (row === 1 ? hotVector : unknownVector),
    idsOf: (row: number) => new Uint32Array(10).fill(row),
  },
  sinceMs: nowMs - 60_000,
  segmentWordsOf: () => ['hot-segment'],
  profileIdsInto: (profile: { segments: readonly string[] }, ids: Uint32Array) => ids.fill(profile.segments.length),
  userRows: {
    keyOf: (key: string) => Buffer.from(`tower-v1${key}`),
    decodeInto: (target: Float32Array, row: Buffer) => {
      if (row.length !== 64) return false;
      target.fill(row[0]!);
      return true;
    },
  },
} as unknown as ServingModel;

type Value = { outcome: keyof typeof outcomeNumbers; value?: Buffer; ageMs?: number };

/** Stores that say what a test wants them to say. */
class Answers implements LookupPort {
  asked: string[] = [];
  cutoffMs = 0;
  readonly #byTable: Readonly<Record<number, Value>>;
  readonly #isLater: boolean;
  finish: () => void = () => {};

  constructor(byTable: Readonly<Record<number, Value>>, isLater = false) {
    this.#byTable = byTable;
    this.#isLater = isLater;
  }

  begin(ticket: LookupTicket, cutoffMs: number, done: (ticket: LookupTicket) => void): boolean {
    this.cutoffMs = cutoffMs;
    for (let place = 0; place < ticket.count; place++) {
      const table = ticket.tables[place]!;
      this.asked.push(`${table}:${ticket.keys[place]!.toString('latin1')}`);
      const { outcome, value, ageMs = -1 } = this.#byTable[table] ?? { outcome: 'absent' };
      ticket.outcomes[place] = outcomeNumbers[outcome];
      ticket.sources[place] = outcome === 'found' ? sourceNumbers.store : sourceNumbers.none;
      ticket.values[place] = value;
      ticket.ageMs[place] = ageMs;
    }
    this.finish = () => done(ticket);
    return !this.#isLater;
  }
}

function look(key: string, answers: Answers, deadlineMs = nowMs + 100, serving = model) {
  const flight = new Flight();
  flight.reset();
  flight.deadlineMs = deadlineMs;
  flight.userHashHigh = key === '' ? 0 : 0x4142_4344;
  flight.userHashLow = key === '' ? 0 : 0x4546_4748;
  const request = { ...plainRequest, user: { ...plainRequest.user, key } };
  let knownCount = 0;
  const users = new UserLookup({
    lookup: answers,
    now: () => nowMs,
    lookupMs: 3,
    windowCountMax: 50,
    windowMs: 86_400_000,
  });
  const isKnown = users.begin(flight, request, serving, nowMs, () => {
    knownCount++;
    users.take(flight, request, serving);
  });
  if (isKnown) users.take(flight, request, serving);
  return { flight, isKnown, knownCount: () => knownCount };
}

const profile: Value = {
  outcome: 'found',
  value: encodeUserProfile({ age: '25-34', gender: 'f', segments: ['a', 'b', 'c'] }),
  ageMs: 5000,
};
const embedding: Value = { outcome: 'found', value: Buffer.alloc(64, 7), ageMs: 1000 };
const click = encodeUserEvent({
  kind: 'click',
  timeMs: nowMs - 1000,
  subjectHigh: 1,
  subjectLow: 2,
  device: 1,
  country: 'USA',
});

test('somebody without a key is nobody: nothing is asked', () => {
  const answers = new Answers({});
  const { flight, isKnown } = look('', answers);
  expect([isKnown, answers.asked, flight.draft.lookupCount, flight.draft.userIdCount]).toEqual([true, [], 0, 0]);
  expect(flight.userVector).toBe(unknownVector);
});

test('a table of int8 fills the numbers of the flight, whose own they are', () => {
  const int8 = { ...model.users, vectorOf: (row: number, own: Float32Array) => own.fill(row + 3) };
  const { flight } = look('hot', new Answers({}), nowMs + 100, { ...model, users: int8 });
  expect(flight.userVector).toBe(flight.ownVector);
  expect(flight.userVector[63]).toBe(4);
});

test('nobody has a vector of his own just because a table of int8 filled the numbers of the flight', () => {
  const int8 = { ...model.users, vectorOf: (row: number, own: Float32Array) => own.fill(row + 3) };
  const answers = new Answers({ [userTables.profile]: { outcome: 'failed' } });
  const { flight } = look('stranger', answers, nowMs + 100, { ...model, users: int8 });
  expect(flight.lost).toBe(lossBits.profile | lossBits.vector);
});

test('who is in the process needs the stores for the window alone', () => {
  const answers = new Answers({ [userTables.window]: { outcome: 'found', value: click, ageMs: 1000 } });
  const { flight, isKnown } = look('hot', answers);
  expect(isKnown).toBe(true);
  expect(answers.asked).toEqual(['2:DCBAHGFE']);
  expect([flight.userVector, flight.storedSegments, flight.lost]).toEqual([hotVector, ['hot-segment'], 0]);
  expect(lookupsOf(flight)).toEqual([
    [userTables.profile, 'found', 'process', 60_000],
    [userTables.embedding, 'found', 'process', 60_000],
    [userTables.window, 'found', 'store', 1000],
  ]);
  expect(flight.draft.userStateCount).toBe(userStateNames.length);
  expect(flight.draft.userState[0]).toBe(1);
});

test('anybody else is asked for with one ticket, and comes from the stores', () => {
  const answers = new Answers({ [userTables.profile]: profile, [userTables.embedding]: embedding });
  const { flight } = look('cold', answers);
  expect(answers.asked).toEqual(['0:cold', '1:tower-v1cold', '2:DCBAHGFE']);
  expect(flight.storedSegments).toEqual(['a', 'b', 'c']);
  expect([...flight.userIds.subarray(0, 10)]).toEqual(Array.from({ length: 10 }, () => 3));
  expect([...flight.draft.userIds.subarray(0, 10)]).toEqual([...flight.userIds.subarray(0, 10)]);
  expect(flight.userVector[63]).toBe(7);
  expect(flight.draft.userStateCount).toBe(0);
  expect(lookupsOf(flight)).toEqual([
    [userTables.profile, 'found', 'store', 5000],
    [userTables.embedding, 'found', 'store', 1000],
    [userTables.window, 'absent', 'none', 0xffff_ffff],
  ]);
});

test('what no store knows is no loss: the defaults of somebody unknown', () => {
  const { flight } = look('stranger', new Answers({}));
  expect([flight.lost, flight.userVector, flight.storedSegments]).toEqual([0, unknownVector, []]);
});

test.each(['late', 'failed'] as const)('what is %s is lost, and said to be', (outcome) => {
  const vectorLost = look('cold', new Answers({ [userTables.profile]: profile, [userTables.embedding]: { outcome } }));
  expect(vectorLost.flight.lost).toBe(lossBits.vector);
  const profileLost = look(
    'cold',
    new Answers({ [userTables.profile]: { outcome }, [userTables.embedding]: embedding }),
  );
  expect(profileLost.flight.lost).toBe(lossBits.profile);
  expect(profileLost.flight.userVector[0]).toBe(7);
  // With neither there is nothing to know somebody by.
  expect(look('stranger', new Answers({ [userTables.profile]: { outcome } })).flight.lost).toBe(
    lossBits.profile | lossBits.vector,
  );
  const windowLost = look('hot', new Answers({ [userTables.window]: { outcome } }));
  expect(windowLost.flight.lost).toBe(0);
});

test('bytes that are sound and yet nothing we know count as invalid, not as lost', () => {
  const { flight } = look(
    'cold',
    new Answers({
      [userTables.profile]: { outcome: 'found', value: Buffer.of(200) },
      [userTables.embedding]: { outcome: 'found', value: Buffer.alloc(3) },
    }),
  );
  expect(lookupsOf(flight).map(([, outcome]) => outcome)).toEqual(['invalid', 'invalid', 'absent']);
  expect([flight.lost, flight.userVector]).toEqual([0, unknownVector]);
});

test('an answer that comes later is taken once, and a flight that was somebody else before keeps nothing of him', () => {
  const answers = new Answers({ [userTables.profile]: profile, [userTables.embedding]: embedding }, true);
  const { flight, isKnown, knownCount } = look('cold', answers);
  expect([isKnown, knownCount(), flight.userVector]).toEqual([false, 0, unknownVector]);
  answers.finish();
  expect([knownCount(), flight.userVector[0]]).toEqual([1, 7]);
});

test('the stores get what the setting says, and at most a third of what is left', () => {
  const answers = new Answers({});
  look('cold', answers, nowMs + 100);
  expect(answers.cutoffMs).toBe(nowMs + 3);
  look('cold', answers, nowMs + 6);
  expect(answers.cutoffMs).toBe(nowMs + 2);
  look('cold', answers, nowMs - 6);
  expect(answers.cutoffMs).toBe(nowMs);
});

function lookupsOf({ draft }: Flight): unknown[][] {
  const outcomes = Object.keys(outcomeNumbers);
  const sources = Object.keys(sourceNumbers);
  return Array.from({ length: draft.lookupCount }, (_, place) => [
    draft.lookupTable[place],
    outcomes[draft.lookupOutcome[place]!],
    sources[draft.lookupSource[place]!],
    draft.lookupAgeMs[place],
  ]);
}
