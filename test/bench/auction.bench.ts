import { AuctionDecider } from '#auction/auction-decision.ts';
import { q30One } from '#auction/expected-value.ts';
import { mechanismNames, mechanismNumbers } from '#auction/mechanisms.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { AuctionDraft } from '#training-bridge/event-records.ts';
import { type Bench, type BenchMode, type BenchProgress, type BenchReport, median } from '../support/bench.ts';

const candidates = 200;
const advertisers = 60;
const rounds = {
  smoke: { warmUp: 200, auctions: 200, repeats: 3 },
  full: { warmUp: 5000, auctions: 20_000, repeats: 15 },
};
/** Different auctions in turn, so that no branch is learnt by heart. */
const drafts = 64;

/** One imp, 200 candidates: CPM, CPC and CPA in thirds, all within a factor of 30 in value; 3 % withheld by pacing, one in five of lesser quality. */
function makeDraft(random: () => number): AuctionDraft {
  const draft = new AuctionDraft(candidates);
  draft.qualityExponent = 1;
  draft.incrementNanos = 10;
  draft.tieSeedHigh = random() * 2 ** 32;
  draft.tieSeedLow = random() * 2 ** 32;
  draft.impCount = 1;
  draft.impFloorNanos[0] = 100_000;
  draft.candidateCount = candidates;
  for (let index = 0; index < candidates; index++) {
    const type = index % 3;
    const click = Math.ceil((0.002 + random() ** 3 * 0.1) * q30One);
    const conversion = Math.ceil((0.01 + random() * 0.05) * q30One);
    const value = 10 ** (5 + random() * 1.5);
    const perImpression = [1, click / q30One, (click / q30One) * (conversion / q30One)][type]!;
    draft.candidateAdRow[index] = Math.floor(random() * 10_000);
    draft.candidatePriceType[index] = type;
    draft.candidateBidNanos[index] = Math.round(value / perImpression);
    draft.candidateClickQ30[index] = click;
    draft.candidateConversionQ30[index] = conversion;
    draft.candidateQualityQ30[index] = random() < 0.8 ? q30One : Math.floor((0.7 + random() * 0.3) * q30One);
    draft.candidateVerdict[index] = random() < 0.03 ? 4 : 0;
  }
  return draft;
}

/** Nanoseconds per auction, the median of the repeats; `work` returns something that depends on the outcome. */
function time(mode: BenchMode, work: (index: number) => number): { ns: number; checksum: number } {
  const { warmUp, auctions, repeats } = rounds[mode];
  let checksum = 0;
  for (let index = 0; index < warmUp; index++) checksum += work(index % drafts);
  const times: number[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    const startedAt = performance.now();
    for (let index = 0; index < auctions; index++) checksum += work(index % drafts);
    times.push(((performance.now() - startedAt) * 1e6) / auctions);
  }
  return { ns: median(times), checksum };
}

function run(mode: BenchMode, progress: BenchProgress): Promise<BenchReport> {
  const random = seededRandom(11);
  const pool = Array.from({ length: drafts }, () => makeDraft(random));
  const advertiserOf = Uint32Array.from({ length: 10_000 }, (_, row) => row % advertisers);
  const decider = new AuctionDecider({ candidateCapacity: candidates });
  const figures: Record<string, number> = {};
  let outcomes = 0;
  for (const [index, name] of mechanismNames.entries()) {
    progress(index, mechanismNames.length + 2, name);
    for (const draft of pool) draft.mechanism = mechanismNumbers[name];
    const { ns, checksum } = time(mode, (at) => {
      const draft = pool[at]!;
      decider.decide(draft, advertiserOf);
      return draft.impWinner[0]! + draft.impPriceNanos[0]!;
    });
    figures[`${name}Ns`] = Math.round(ns);
    outcomes += checksum;
  }
  progress(mechanismNames.length, mechanismNames.length + 2, 'bare sort');
  // The same values as plain doubles, sorted: no floors, ties, reasons or exactness.
  const values = new Float64Array(candidates);
  const sorted = time(mode, (at) => {
    const { candidateBidNanos, candidateClickQ30, candidateQualityQ30 } = pool[at]!;
    for (let index = 0; index < candidates; index++) {
      values[index] = candidateBidNanos[index]! * candidateClickQ30[index]! * candidateQualityQ30[index]!;
    }
    values.sort();
    return values[candidates - 1]!;
  });
  const scanned = time(mode, (at) => {
    const { candidateBidNanos, candidateClickQ30, candidateQualityQ30 } = pool[at]!;
    let best = 0;
    for (let index = 0; index < candidates; index++) {
      best = Math.max(best, candidateBidNanos[index]! * candidateClickQ30[index]! * candidateQualityQ30[index]!);
    }
    return best;
  });
  return Promise.resolve({
    bench: 'auction',
    value: figures['secondNs']!,
    unit: 'ns per auction (second price, 200 candidates)',
    better: 'lower',
    figures: {
      ...figures,
      bareSortNs: Math.round(sorted.ns),
      bareMaximumNs: Math.round(scanned.ns),
      timesBareSort: Number((figures['secondNs']! / sorted.ns).toFixed(2)),
      candidates,
      checksum: outcomes + sorted.checksum + scanned.checksum,
    },
  });
}

export const bench: Bench = {
  name: 'auction',
  about: 'Deciding one auction of 200 candidates under each mechanism, against sorting the same values.',
  run,
};
