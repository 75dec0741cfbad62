import { join, resolve } from 'node:path';
import { ensureDemoBundle } from '#deploy/demo/demo-bundle.ts';
import { ensureDemo } from '#deploy/demo/ensure-demo.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { LoggingPolicy } from '#deploy/demo/logging-policy.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { World } from '#deploy/demo/world.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import type { ScoringOutcome } from '#server/pipeline-ports.ts';
import { lossBits } from '#server/rung-after.ts';
import { type RungName, rungNames } from '#server/rungs.ts';
import type { Bench, BenchMode, BenchProgress, BenchReport } from '../support/bench.ts';
import { fullDemo, smokeDemo } from '../support/bid-load.ts';
import { LadderMarket, type Visit } from '../support/ladder-market.ts';
import { rounded } from '../support/server-bench.ts';

const root = resolve(import.meta.dirname, '../..');
const sizes = {
  smoke: { demo: smokeDemo, visits: 60, warmUp: 60 },
  full: { demo: fullDemo, visits: 6000, warmUp: 12_000 },
} as const;

/** What is taken away, and which rung must then answer. */
const cases: readonly { readonly name: RungName; readonly lost: number; readonly head: ScoringOutcome }[] = [
  { name: 'cached-prediction', lost: 0, head: 'FAILED' },
  { name: 'light-ranker', lost: lossBits.cache, head: 'FAILED' },
  // The feature store is down; then the embedding store as well.
  { name: 'vector-only', lost: lossBits.profile, head: 'SCORED' },
  { name: 'default-features', lost: lossBits.profile | lossBits.vector, head: 'SCORED' },
  { name: 'average-embedding', lost: lossBits.vector, head: 'SCORED' },
  { name: 'smoothed-rate', lost: lossBits.ranker, head: 'SCORED' },
  { name: 'cpm-only', lost: lossBits.ranker | lossBits.rates, head: 'SCORED' },
  // Last, since it keeps what it says of these visits.
  { name: 'full', lost: 0, head: 'SCORED' },
];
/** Revenue that each may cost at most, as a share of full service. */
const bounds: Readonly<Partial<Record<RungName, number>>> = {
  'cached-prediction': -0.05,
  'vector-only': -0.15,
  'average-embedding': -0.25,
  'smoothed-rate': -0.4,
};
/** About the log's rate. */
const constantRate = 0.02;
/** In which predictions were kept before they were needed. */
const warmUpMs = 1_800_000;
const q30One = 2 ** 30;

type Column = {
  /** True value of what was shown, by visit, nanos; 0 = nothing. */
  readonly revenue: Float64Array;
  /** Of one ad per visit that anybody might be shown: what the rung says, and the loss that the truth expects of it. */
  readonly said: Float64Array;
  readonly loss: Float64Array;
  answered: number;
};

async function run(mode: BenchMode, progress: BenchProgress): Promise<BenchReport> {
  const { demo, visits: count, warmUp } = sizes[mode];
  const dataDir = join(root, `.cache/bench-${mode}`);
  const files = await ensureDemo(dataDir, { ...demo, seed: 1 });
  const bundle = await ensureDemoBundle(dataDir, files, () => {});
  const world = new World(new MarketLayout(files.parameters));
  const { impressions } = simulateLog(world);
  const market = await LadderMarket.open(world, impressions, files, bundle, 5);
  market.countLog(impressions);
  const total = warmUp + count * cases.length;
  let done = 0;
  const step = (what: string): void => {
    if (++done % 500 === 0) progress(done, total, what);
  };
  for (let visit = 0; visit < warmUp; visit++) {
    await market.answer(market.next(), 0, 'SCORED');
    market.pass(warmUpMs / warmUp);
    step('keeping predictions');
  }
  const policy = new LoggingPolicy(world.layout, seededRandom(9));
  const visits: { readonly visit: Visit; readonly ad: number; readonly p: number }[] = [];
  while (visits.length < count) {
    const visit = market.next();
    const ad = policy.choose(visit.user, visit.context);
    if (ad < 0) continue;
    visits.push({ visit, ad, p: world.trueClickProbability(visit.user, ad, visit.context, 0) });
  }
  const columns = new Map<RungName, Column>();
  for (const { name, lost, head } of cases) {
    const column = newColumn(count);
    for (const [index, { visit, ad, p }] of visits.entries()) {
      const shown = await market.answer(visit, lost, head);
      if (rungNames[shown.rung] === name) column.answered++;
      column.revenue[index] = shown.ad < 0 ? 0 : market.trueValueNanos(visit, shown.ad);
      await market.answer(visit, lost, head, [ad]);
      const said = market.flight.draft.candidateClickQ30[0]! / q30One;
      column.said[index] = said;
      column.loss[index] = -p * Math.log(said) - (1 - p) * Math.log(1 - said);
      step(name);
    }
    columns.set(name, column);
  }
  const truth = Float64Array.from(visits, ({ p }) => p);
  const best = new Float64Array(count);
  const constant = new Float64Array(count);
  for (const [index, { visit }] of visits.entries()) {
    const { user, context } = visit;
    best[index] = market.best(visit, (ad) => world.trueClickProbability(user, ad, context, 0));
    constant[index] = market.best(visit, () => constantRate);
  }
  const full = columns.get('full')!;
  const figures: Record<string, Record<string, number>> = {};
  for (const [name, column] of columns) {
    const change = ratio(column.revenue, full.revenue);
    const loss = difference(column.loss, full.loss);
    const calibration = ratio(column.said, truth);
    figures[name] = {
      revenueChange: rounded(change.value - 1, 4),
      revenueChangeLow: rounded(change.low - 1, 4),
      revenueChangeHigh: rounded(change.high - 1, 4),
      logLoss: rounded(mean(column.loss), 5),
      logLossAboveFull: rounded(loss.value, 5),
      logLossAboveFullLow: rounded(loss.low, 5),
      logLossAboveFullHigh: rounded(loss.high, 5),
      calibrationRatio: rounded(calibration.value, 4),
      calibrationRatioLow: rounded(calibration.low, 4),
      calibrationRatioHigh: rounded(calibration.high, 4),
      answeredShare: rounded(column.answered / count, 4),
    };
  }
  const bestChange = ratio(best, full.revenue);
  const constantChange = ratio(constant, full.revenue);
  // The worst of the four that are bounded: below 1, all hold.
  const value = Math.max(...Object.entries(bounds).map(([name, bound]) => figures[name]!['revenueChange']! / bound));
  return {
    bench: 'ladder',
    value: rounded(value),
    unit: 'revenue lost ÷ revenue that may be lost, the worst rung',
    better: 'lower',
    figures: {
      ...figures,
      bestPossible: {
        revenueChange: rounded(bestChange.value - 1, 4),
        revenueChangeLow: rounded(bestChange.low - 1, 4),
        revenueChangeHigh: rounded(bestChange.high - 1, 4),
        logLoss: rounded(mean(truth.map((p) => -p * Math.log(p) - (1 - p) * Math.log(1 - p))), 5),
      },
      constantRate: {
        revenueChange: rounded(constantChange.value - 1, 4),
        revenueChangeLow: rounded(constantChange.low - 1, 4),
        revenueChangeHigh: rounded(constantChange.high - 1, 4),
        logLoss: rounded(constantLoss(truth), 5),
      },
      revenuePerThousandUsd: rounded(mean(full.revenue) / 1e6, 4),
      visits: count,
      warmUpVisits: warmUp,
    },
  };
}

function newColumn(count: number): Column {
  return {
    revenue: new Float64Array(count),
    said: new Float64Array(count),
    loss: new Float64Array(count),
    answered: 0,
  };
}

/** The loss of whoever says the mean of all to everything. */
function constantLoss(truth: Float64Array): number {
  const rate = mean(truth);
  return mean(truth.map((p) => -p * Math.log(rate) - (1 - p) * Math.log(1 - rate)));
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

type Interval = { readonly value: number; readonly low: number; readonly high: number };
/** 95 % of a normal distribution. */
const deviations = 1.96;

/** Mean of one column over the mean of another of the same visits, with its interval (delta method, paired). */
function ratio(top: Float64Array, bottom: Float64Array): Interval {
  const value = mean(top) / mean(bottom);
  const rest = top.map((each, index) => each - value * bottom[index]!);
  return around(value, standardError(rest) / Math.abs(mean(bottom)));
}

function difference(left: Float64Array, right: Float64Array): Interval {
  const rest = left.map((each, index) => each - right[index]!);
  return around(mean(rest), standardError(rest));
}

function around(value: number, error: number): Interval {
  return { value, low: value - deviations * error, high: value + deviations * error };
}

function standardError(values: Float64Array): number {
  const middle = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - middle) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

export const bench: Bench = {
  name: 'ladder',
  about:
    'per rung: revenue under the true probabilities against full service on the same visits, log loss and calibration, with 95 % intervals',
  run,
};
