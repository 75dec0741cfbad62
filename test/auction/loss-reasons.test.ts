import { expect, test } from 'vitest';
import { reasonNumbers, reasonOf, reasons } from '#auction/loss-reasons.ts';

test('every number stands at its own place, and an unknown one reads as undecided', () => {
  for (const [index, reason] of reasons.entries()) expect(reason.number).toBe(index);
  expect(reasons.length).toBe(Object.keys(reasonNumbers).length);
  expect(reasonOf(255).name).toBe('undecided');
});

test('the numbers in the log never change', () => {
  expect(reasonNumbers).toEqual({
    undecided: 0,
    won: 1,
    belowFloor: 2,
    outbid: 3,
    lostTie: 4,
    budget: 5,
    cap: 6,
    pacing: 7,
    separation: 8,
    noProbability: 9,
    noBid: 10,
  });
});

test('codes are those of OpenRTB where it has one, else our own from 500 on', () => {
  expect(reasons[reasonNumbers.won]!.lossCode).toBe(0);
  expect(reasons[reasonNumbers.belowFloor]!.lossCode).toBe(100);
  expect(reasons[reasonNumbers.outbid]!.lossCode).toBe(102);
  // 9: daily reader cap met.
  expect(reasons[reasonNumbers.cap]!.nbr).toBe(9);
  const own = reasons.slice(reasonNumbers.budget);
  expect(own.every(({ lossCode }) => lossCode >= 500)).toBe(true);
  expect(new Set(own.map(({ lossCode }) => lossCode)).size).toBe(own.length);
});
