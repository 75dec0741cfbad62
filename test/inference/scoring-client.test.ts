import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { ScoringClient, type ScoringOutcome } from '#inference/scoring-client.ts';
import { headerWords, pieceRows, requestState, ScoringMemory, stateWord } from '#inference/scoring-shared.ts';

const piecesPerClient = 12;
const clients: ScoringClient[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.stop();
});

/** A client whose scoring thread is the test: it changes states as a thread would, and rings. */
function setup(options: { clientIndex?: number } = {}) {
  const clientIndex = options.clientIndex ?? 0;
  const shared = ScoringMemory.allocate(2, { piecesPerClient });
  const memory = new ScoringMemory(shared);
  const told: [slot: number, outcome: ScoringOutcome][] = [];
  const clock = { ms: 1000 };
  const listener = { onFinished: (slot: number, outcome: ScoringOutcome) => void told.push([slot, outcome]) };
  const client = new ScoringClient(
    shared,
    clientIndex,
    () => clock.ms,
    (slot, outcome) => listener.onFinished(slot, outcome),
  );
  clients.push(client);
  const piece = (slot: number): number => clientIndex * piecesPerClient + slot;
  const set = (slot: number, state: number): void => {
    Atomics.store(memory.headers, piece(slot) * headerWords + stateWord, state);
  };
  return {
    client,
    shared,
    memory,
    told,
    clock,
    listener,
    claim: (slot: number) => set(slot, requestState.claimed | (5 << 8)),
    answer: (slot: number, state: number) => {
      set(slot, state);
      memory.ringBell(memory.clientBell(clientIndex), 1);
    },
    stateOf: (slot: number) => memory.stateOf(piece(slot)),
  };
}

const turn = (ms = 0): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
/** Long enough for the sweep to have come by. */
const sweep = (): Promise<void> => turn(30);

describe('memory of requests', () => {
  test('never overlaps, is one run for a large request, and comes back whole', () => {
    const step = fc.record({ rows: fc.integer({ min: 1, max: 1000 }), releases: fc.boolean(), pick: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const { client } = setup({ clientIndex: 1 });
        const taken: { slot: number; pieces: number }[] = [];
        for (const { rows, releases, pick } of steps) {
          if (releases && taken.length > 0) {
            client.release(taken.splice(pick % taken.length, 1)[0]!.slot);
            continue;
          }
          const slot = client.begin(rows);
          const pieces = Math.ceil(rows / pieceRows);
          const used = new Set(taken.flatMap((each) => Array.from({ length: each.pieces }, (_, at) => each.slot + at)));
          const run = (from: number): boolean =>
            from + pieces <= piecesPerClient && Array.from({ length: pieces }).every((_, at) => !used.has(from + at));
          // Refused only when no run of pieces is free.
          const fits = Array.from({ length: piecesPerClient }).some((_, from) => run(from));
          expect(slot < 0 ? !fits : run(slot)).toBe(true);
          if (slot < 0) continue;
          expect(client.adIdsOf(slot).length).toBe(pieces * pieceRows);
          expect(client.crossOf(slot).length).toBe(pieces * pieceRows * 16);
          expect(client.logitsOf(slot).length).toBe(pieces * pieceRows * 2);
          expect(client.userOf(slot).length).toBe(64);
          taken.push({ slot, pieces });
        }
        for (const { slot } of taken) client.release(slot);
        for (let slot = 0; slot < piecesPerClient; slot++) expect(client.begin(200)).toBe(slot);
        expect(client.begin(1)).toBe(-1);
      }),
    );
  });

  test('refuses sizes that no request has, slots that are free, and a second submission', () => {
    const { client } = setup();
    for (const rows of [0, -1, 1001, Number.NaN]) expect(() => client.begin(rows)).toThrow(RangeError);
    expect(() => client.release(0)).toThrow(RangeError);
    const slot = client.begin(5);
    client.submit(slot, 0, 2000);
    expect(() => client.submit(slot, 0, 2000)).toThrow(RangeError);
  });
});

describe('outcomes', () => {
  test('are told once each, whatever order the threads answer in', async () => {
    const { client, told, answer, claim } = setup();
    client.start();
    const slots = [client.begin(10), client.begin(450), client.begin(10), client.begin(10)];
    for (const slot of slots) client.submit(slot, 0, 5000);
    for (const slot of slots) claim(slot);
    answer(slots[2]!, requestState.scored);
    answer(slots[0]!, requestState.failed);
    await turn(5);
    answer(slots[3]!, requestState.tooLate);
    answer(slots[1]!, requestState.scored);
    await turn(5);
    expect(told).toEqual([
      [slots[0], 'FAILED'],
      [slots[2], 'SCORED'],
      [slots[1], 'SCORED'],
      [slots[3], 'TOO_LATE'],
    ]);
    expect(client.underWayCount).toBe(0);
  });

  test('never come from within submit, even when the queue is full', async () => {
    const { client, told, answer, stateOf } = setup();
    client.start();
    const blocker = client.begin(1);
    client.submit(blocker, 0, 1e6);
    for (let round = 0; round < 40; round++) {
      const slot = client.begin(1);
      client.submit(slot, 0, 1e6);
      expect(told.length).toBe(round);
      if (stateOf(slot) === requestState.queued) answer(slot, requestState.scored);
      await turn();
      client.release(slot);
    }
    // Nobody takes the blocker, so the ring of 32 fills up behind it; those that found no place were answered all the same.
    expect(told.length).toBe(40);
    expect(new Set(told.map(([, outcome]) => outcome))).toEqual(new Set(['SCORED', 'TOO_LATE']));
  });

  test('a caller may submit, release and throw while it is called', async () => {
    const { client, told, listener, answer, claim } = setup();
    client.start();
    const first = client.begin(3);
    const second = client.begin(3);
    let again = -1;
    const keep = listener.onFinished;
    listener.onFinished = (slot, outcome) => {
      keep(slot, outcome);
      if (slot !== first) return;
      client.release(first);
      again = client.begin(3);
      client.submit(again, 0, 5000);
      throw new Error('the caller broke');
    };
    const thrown: unknown[] = [];
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.once('uncaughtException', (error) => thrown.push(error));
    try {
      client.submit(first, 0, 5000);
      client.submit(second, 0, 5000);
      claim(first);
      claim(second);
      answer(second, requestState.scored);
      answer(first, requestState.scored);
      await turn(10);
    } finally {
      for (const each of listeners) process.on('uncaughtException', each);
    }
    expect(told.map(([slot]) => slot)).toEqual([first, second]);
    expect(String(thrown[0])).toContain('the caller broke');
    listener.onFinished = keep;
    answer(again, requestState.scored);
    await turn(5);
    expect(told.at(-1)).toEqual([again, 'SCORED']);
  });

  test('a request that nobody takes is taken back at its deadline', async () => {
    const { client, told, clock, stateOf } = setup();
    client.start();
    const slot = client.begin(3);
    client.submit(slot, 0, 1010);
    await sweep();
    expect(told).toEqual([]);
    clock.ms = 1011;
    await sweep();
    expect(told).toEqual([[slot, 'TOO_LATE']]);
    expect(stateOf(slot)).toBe(requestState.tooLate);
    client.release(slot);
    expect(client.begin(3)).toBe(slot);
  });

  test('a request that a stuck thread holds is given up, its memory only when the thread is done', async () => {
    const { client, told, clock, claim, answer } = setup();
    client.start();
    const slot = client.begin(3);
    client.submit(slot, 0, 1010);
    claim(slot);
    clock.ms = 1030;
    await sweep();
    expect(told).toEqual([]);
    clock.ms = 1100;
    await sweep();
    expect(told).toEqual([[slot, 'TOO_LATE']]);
    client.release(slot);
    const other = client.begin(3);
    expect(other).not.toBe(slot);
    answer(slot, requestState.scored);
    await sweep();
    expect(told.length).toBe(1);
    expect(client.begin(3)).toBe(slot);
  });

  test('of a request given back under way are told to nobody', async () => {
    const { client, told, claim, answer } = setup();
    client.start();
    const slot = client.begin(3);
    client.submit(slot, 0, 5000);
    claim(slot);
    client.release(slot);
    answer(slot, requestState.scored);
    await turn(5);
    expect(told).toEqual([]);
    expect(client.begin(3)).toBe(slot);
  });
});

test('a client that follows another leaves alone what a scoring thread still holds', async () => {
  const { client, shared, memory, claim, answer } = setup();
  const [queued, claimed] = [client.begin(10), client.begin(300)];
  client.submit(queued, 0, 1e6);
  client.submit(claimed, 0, 1e6);
  claim(claimed);
  client.stop();
  const told: number[] = [];
  const next = new ScoringClient(
    shared,
    0,
    () => 1000,
    (slot) => void told.push(slot),
  );
  clients.push(next);
  next.start();
  expect(memory.stateOf(queued)).toBe(requestState.failed);
  expect([next.begin(200), next.begin(200)]).toEqual([0, 3]);
  answer(claimed, requestState.scored);
  await turn(5);
  expect([next.begin(400), next.predictedWaitMs(0)]).toEqual([1, 0]);
  expect(told).toEqual([]);
});

test('the predicted wait counts rows under way in all clients, spread over the threads', () => {
  const { client, memory } = setup();
  memory.costs.set([0.1, 0.001]);
  expect(client.predictedWaitMs(0)).toBe(0);
  expect(client.predictedWaitMs(200)).toBeCloseTo(0.3);
  client.submit(client.begin(200), 0, 5000);
  Atomics.store(memory.control, memory.clientRows(1), 400);
  expect(client.predictedWaitMs(0)).toBeCloseTo(0.7);
  Atomics.store(memory.control, memory.servingThreads, 2);
  expect(client.predictedWaitMs(200)).toBeCloseTo(0.35 + 0.3);
});
