import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  batchRequestsMax,
  batchRowsMax,
  chunkOverheadRows,
  chunkRowsMax,
  chunkRowsOf,
  chunkRowsStep,
  fate,
  nextBatch,
  paddedRows,
  type WaitingRequests,
  waitingRequests,
} from '#inference/batch-policy.ts';
import { stagingRowsMax } from '#inference/scoring-session.ts';

type Request = { rowCount: number; deadlineMs: number; modelSlot: number };
const cost = { fixedMs: 0.1, perRowMs: 0.01 };
const costs = [cost, cost];

function waiting(requests: readonly Request[]): WaitingRequests {
  const columns = waitingRequests();
  for (const [index, { rowCount, deadlineMs, modelSlot }] of requests.entries()) {
    columns.pieces[index] = index;
    columns.rowCounts[index] = rowCount;
    columns.deadlinesMs[index] = deadlineMs;
    columns.modelSlots[index] = modelSlot;
  }
  columns.count = requests.length;
  return columns;
}

const request = fc.record({
  rowCount: fc.integer({ min: 1, max: 1000 }),
  deadlineMs: fc.integer({ min: -5, max: 50 }),
  modelSlot: fc.integer({ min: 0, max: 1 }),
});
const requests = fc.array(request, { minLength: 1, maxLength: batchRequestsMax });
const taken = (all: readonly Request[], columns: WaitingRequests): Request[] =>
  all.filter((_, index) => columns.fates[index] === fate.take);
const rowsOf = (all: readonly Request[]): number => all.reduce((sum, { rowCount }) => sum + paddedRows(rowCount), 0);

describe('the next batch', () => {
  test('makes nobody late who would be in time with those before them alone', () => {
    fc.assert(
      fc.property(requests, (all) => {
        const columns = waiting(all);
        nextBatch(columns, costs, 0);
        const batch = taken(all, columns);
        const finishMs = cost.fixedMs + rowsOf(batch) * cost.perRowMs;
        expect(batch.length <= 1 || batch.every(({ deadlineMs }) => finishMs <= deadlineMs)).toBe(true);
      }),
    );
  });

  test('takes the oldest in time, of one model, within the cap, in order and without a gap', () => {
    fc.assert(
      fc.property(requests, (all) => {
        const columns = waiting(all);
        const end = nextBatch(columns, costs, 0);
        const inTime = all.filter(({ deadlineMs }) => deadlineMs >= 0);
        const batch = taken(all, columns);
        const ofItsModel = inTime.filter(({ modelSlot }) => modelSlot === inTime[0]?.modelSlot);
        expect(batch).toEqual(ofItsModel.slice(0, batch.length));
        expect(batch.length > 0).toBe(inTime.length > 0);
        expect(end === 'ALL_WAITING').toBe(batch.length === ofItsModel.length);
        expect(batch.length <= 1 || rowsOf(batch) <= batchRowsMax).toBe(true);
      }),
    );
  });

  test('tells exactly those that are too late', () => {
    fc.assert(
      fc.property(requests, (all) => {
        const columns = waiting(all);
        nextBatch(columns, costs, 0);
        for (const [index, { deadlineMs }] of all.entries())
          expect(columns.fates[index] === fate.tooLate).toBe(deadlineMs < 0);
      }),
    );
  });

  test('takes a request that will be late anyway: its caller may still use it, and the cost model must go on learning', () => {
    const columns = waiting([{ rowCount: 1000, deadlineMs: 1, modelSlot: 0 }]);
    expect(nextBatch(columns, costs, 0)).toBe('ALL_WAITING');
    expect(columns.fates[0]).toBe(fate.take);
  });

  test('says why it ends', () => {
    const far = { rowCount: 200, deadlineMs: 1000, modelSlot: 0 };
    expect(nextBatch(waiting([far, far]), costs, 0)).toBe('ALL_WAITING');
    expect(nextBatch(waiting(Array.from({ length: 9 }, () => far)), costs, 0)).toBe('BATCH_FULL');
    expect(nextBatch(waiting([{ ...far, deadlineMs: 3 }, far]), costs, 0)).toBe('DEADLINE_NEAR');
  });
});

describe('chunks', () => {
  test('of one size hold all rows, fit the staging, and cost no more than chunks of any other size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: batchRequestsMax }),
        (counts) => {
          // As the policy would cut them.
          const batch: number[] = [];
          for (const rows of counts) {
            if (batch.length > 0 && [...batch, rows].reduce((sum, each) => sum + paddedRows(each), 0) > batchRowsMax)
              break;
            batch.push(rows);
          }
          const size = chunkRowsOf(Int32Array.from(batch), batch.length);
          expect(size % chunkRowsStep).toBe(0);
          expect(size).toBeGreaterThan(0);
          expect(size).toBeLessThanOrEqual(chunkRowsMax);
          const chunks = batch.reduce((sum, rows) => sum + Math.ceil(rows / size), 0);
          expect(chunks * size).toBeLessThanOrEqual(stagingRowsMax);
          if (batch.length === 1) return;
          for (let other = chunkRowsStep; other <= chunkRowsMax; other += chunkRowsStep) {
            const others = batch.reduce((sum, rows) => sum + Math.ceil(rows / other), 0);
            expect(chunks * (size + chunkOverheadRows)).toBeLessThanOrEqual(others * (other + chunkOverheadRows));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('the most small requests that can ride together fit the staging', () => {
    for (let rows = 1; rows <= 50; rows++) {
      const counts = new Int32Array(batchRequestsMax).fill(rows);
      const size = chunkRowsOf(counts, batchRequestsMax);
      expect(Math.ceil(rows / size) * batchRequestsMax * size).toBeLessThanOrEqual(stagingRowsMax);
    }
  });

  test('equal requests are one chunk each; a small one is not padded to its large mate', () => {
    expect(chunkRowsOf(Int32Array.of(200, 200, 200), 3)).toBe(200);
    expect(chunkRowsOf(Int32Array.of(1), 1)).toBe(8);
    expect(chunkRowsOf(Int32Array.of(1000), 1)).toBe(200);
    const size = chunkRowsOf(Int32Array.of(200, 16), 2);
    expect((Math.ceil(200 / size) + 1) * size).toBeLessThan(300);
  });
});
