import { describe, expect, it } from 'vitest';
import type { LatencySummary, LoadReport } from '../support/load-generator.ts';
import { isWithinTarget } from '../support/server-bench.ts';

const allAt = (ms: number): LatencySummary => ({
  meanMs: ms,
  p50Ms: ms,
  p90Ms: ms,
  p99Ms: ms,
  p999Ms: ms,
  maxMs: ms,
});

const kept: LoadReport = {
  planned: 1000,
  sent: 1000,
  answered: 1000,
  unanswered: 0,
  byStatus: { 200: 1000 },
  bids: 1000,
  bidsInTime: 1000,
  connectionErrors: 0,
  fromDue: allAt(9),
  fromSent: allAt(8),
  answeredPerSecond: 200,
  cpuSeconds: 0.1,
  cpuMicrosPerRequest: 100,
  timeline: [],
};

describe('the rate that counts as served', () => {
  it('takes a rate that was kept up with on the top rung', () => {
    expect(isWithinTarget({ report: kept, rungShares: { full: 1 } })).toBe(true);
  });

  it('refuses one whose requests fell behind their schedule, however fast each was answered once sent', () => {
    const behind = { ...kept, fromDue: allAt(2870) };
    expect(isWithinTarget({ report: behind, rungShares: { full: 1 } })).toBe(false);
  });

  it('refuses unanswered requests and cheaper rungs', () => {
    expect(isWithinTarget({ report: { ...kept, unanswered: 1 }, rungShares: { full: 1 } })).toBe(false);
    expect(isWithinTarget({ report: kept, rungShares: { full: 0.99, reduced: 0.01 } })).toBe(false);
    expect(isWithinTarget({ report: kept, rungShares: {} })).toBe(false);
  });
});
