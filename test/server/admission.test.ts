import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AdmissionControl } from '#server/admission.ts';
import { rungs } from '#server/rungs.ts';

const limits = { inFlightMax: 4, mlBudgetMs: 10 };
const lightRanker = rungs.findIndex((rung) => rung.name === 'light-ranker');

test('an idle server starts at the top', () => {
  expect(new AdmissionControl(limits).admit(100, 0, 0)).toEqual({ rung: 0 });
});

test('a long scoring queue takes the rung that needs no scoring thread', () => {
  expect(new AdmissionControl(limits).admit(100, 50, 0)).toEqual({ rung: lightRanker });
});

test('what cannot be in time on any rung is turned away', () => {
  expect(new AdmissionControl(limits).admit(0.01, 0, 0)).toBe('TOO_LATE');
});

test('beyond the limit of requests in flight it turns away', () => {
  const admission = new AdmissionControl(limits);
  admission.inFlight = 4;
  expect(admission.admit(100, 0, 0)).toBe('IN_FLIGHT_FULL');
});

test('learns what a rung costs', () => {
  const admission = new AdmissionControl(limits);
  for (let request = 0; request < 1000; request++) admission.served(0, 12, 0);
  expect(admission.serviceMsOf(0, 0)).toBeCloseTo(12, 1);
  expect(admission.admit(100, 0, 0)).toEqual({ rung: 1 });
});

test('the wait for stores takes time from the deadline, and is no cost of a rung', () => {
  const admission = new AdmissionControl(limits);
  for (let request = 0; request < 1000; request++) {
    admission.served(0, 1, 0);
    admission.lookedUp(12);
  }
  // More than the whole budget of the model, and yet nothing is wrong with the model.
  expect(admission.admit(100, 0, 0)).toEqual({ rung: 0 });
  expect(admission.admit(13.5, 0, 0)).toEqual({ rung: 0 });
  // Of 1.2 ms a lookup takes a third at most, which leaves too little for the head and enough for half of it.
  expect(admission.admit(1.2, 0, 0)).toEqual({ rung: 1 });
});

test('a rung that was slow once and is no longer served gets another chance', () => {
  const admission = new AdmissionControl(limits);
  for (let request = 0; request < 1000; request++) admission.served(0, 40, 0);
  expect(admission.admit(100, 0, 10)).not.toEqual({ rung: 0 });
  expect(admission.admit(100, 0, 5000)).toEqual({ rung: 0 });
  // Still slow: a few requests later it is known again.
  for (let request = 0; request < 64; request++) admission.served(0, 40, 5000);
  expect(admission.admit(100, 0, 5001)).not.toEqual({ rung: 0 });
});

test('never admits what its own prediction says is late', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 200, noNaN: true }),
      fc.double({ min: 0, max: 200, noNaN: true }),
      (leftMs, waitMs) => {
        const admission = new AdmissionControl(limits);
        const verdict = admission.admit(leftMs, waitMs, 0);
        if (typeof verdict === 'string') return true;
        const wait = rungs[verdict.rung]!.scorer === 'head' ? waitMs : 0;
        return wait + admission.serviceMsOf(verdict.rung, 0) <= leftMs;
      },
    ),
  );
});
