import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { waitingRequests } from '#inference/batch-policy.ts';
import { ScoringQueue } from '#inference/scoring-queue.ts';
import {
  headerWords,
  requestState,
  rowCountWord,
  ScoringMemory,
  stateWord,
  submittedTime,
  timeWords,
} from '#inference/scoring-shared.ts';

const piecesPerClient = 8;
const clientCount = 2;

/** Clients and scoring threads in one thread, so that a seed tells every interleaving again. */
function world() {
  const memory = new ScoringMemory(ScoringMemory.allocate(clientCount, { piecesPerClient }));
  const queue = new ScoringQueue(memory);
  let time = 0;
  const setState = (piece: number, state: number): void => {
    Atomics.store(memory.headers, piece * headerWords + stateWord, state);
  };
  return {
    memory,
    queue,
    setState,
    submit: (piece: number): boolean => {
      memory.headers[piece * headerWords + rowCountWord] = 1 + (piece % 5);
      memory.times[piece * timeWords + submittedTime] = ++time;
      return queue.push(Math.floor(piece / piecesPerClient), piece);
    },
    look: (capacity?: number): number[] => {
      const waiting = waitingRequests(capacity);
      queue.look(waiting);
      return [...waiting.pieces.subarray(0, waiting.count)];
    },
  };
}

describe('the scoring queue', () => {
  test('shows what is queued, oldest first over all clients, and never what is not', () => {
    const step = fc.record({
      act: fc.constantFrom('submit', 'claim', 'cancel', 'finish'),
      piece: fc.integer({ min: 0, max: clientCount * piecesPerClient - 1 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const { memory, setState, submit, look } = world();
        const queued: number[] = [];
        for (const { act, piece } of steps) {
          const state = memory.stateOf(piece);
          if (act === 'submit' && state !== requestState.queued && state !== requestState.claimed) {
            if (submit(piece)) queued.push(piece);
          } else if (act === 'claim' && queued.length > 0) {
            // Any of those shown: threads may take from the middle.
            const shown = look();
            const chosen = shown[piece % shown.length]!;
            setState(chosen, requestState.claimed);
            queued.splice(queued.indexOf(chosen), 1);
          } else if (act === 'cancel' && state === requestState.queued) {
            setState(piece, requestState.tooLate);
            queued.splice(queued.indexOf(piece), 1);
          } else if (act === 'finish' && state === requestState.claimed) {
            setState(piece, requestState.scored);
          }
          expect(look()).toEqual(queued);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('one request is claimed by one thread, however many see it', () => {
    const { memory, submit, look } = world();
    submit(3);
    const [first, second] = [look(), look()];
    expect(first).toEqual(second);
    expect(memory.changeState(3, requestState.queued, requestState.claimed | (1 << 8))).toBe(true);
    expect(memory.changeState(3, requestState.queued, requestState.claimed | (2 << 8))).toBe(false);
    expect(look()).toEqual([]);
  });

  test('shows no more than it is asked for', () => {
    const { submit, look } = world();
    for (let piece = 0; piece < piecesPerClient; piece++) submit(piece);
    expect(look(3)).toEqual([0, 1, 2]);
  });

  test('goes on when the counters wrap', () => {
    const { memory, submit, setState, look } = world();
    for (const word of [memory.clientTail(0), memory.clientHead(0)]) Atomics.store(memory.control, word, 0x7fff_fffe);
    for (let round = 0; round < 20; round++) {
      const piece = round % piecesPerClient;
      expect(submit(piece)).toBe(true);
      expect(look()).toEqual([piece]);
      setState(piece, requestState.scored);
    }
    expect(Atomics.load(memory.control, memory.clientTail(0))).toBeLessThan(0);
  });

  test('refuses when its ring is full behind one that nobody takes, and takes again when it is gone', () => {
    const { submit, setState, look } = world();
    submit(0);
    let pushed = 0;
    while (submit(1)) {
      setState(1, requestState.scored);
      pushed++;
    }
    expect(pushed).toBe(2 * piecesPerClient - 1);
    setState(0, requestState.scored);
    setState(1, requestState.scored);
    expect(submit(2)).toBe(true);
    expect(look()).toEqual([2]);
  });
});
