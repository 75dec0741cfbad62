import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parametersKey } from '#deploy/demo/parameters.ts';
import { AdProbe, AdUpdates, type ProbeTimes } from '../support/ad-updates.ts';
import { type Bench, median } from '../support/bench.ts';
import { type Measurement, measureBids } from '../support/bid-load.ts';
import { maxRate, rounded, type ServerBench, withServer } from '../support/server-bench.ts';

const updatesPerSecond = 1000;
/** Of what two serving threads bear beside one scoring thread. */
const loadShare = 0.4;
const plans = {
  smoke: { rounds: 1, seconds: 1, probes: 3, perCall: [50] },
  full: { rounds: 10, seconds: 3, probes: 40, perCall: [10, 100] },
} as const;

/** What the bench changed would be changed again at the next start of the market that benches share. */
function forgetChanges(dataDir: string): void {
  for (const name of ['catalog-changes.jsonl', 'catalog-changes.jsonl.before'])
    rmSync(join(dataDir, name), { force: true });
}

async function probed(server: ServerBench, updates: AdUpdates, ratePerSecond: number, count: number, perCall: number) {
  const probe = await AdProbe.open(server.pod);
  try {
    const seconds = server.isFull ? 10 : 1;
    const added: ProbeTimes[] = [];
    const changed: ProbeTimes[] = [];
    await Promise.all([
      measureBids(server.pod, server.bodies, { ratePerSecond, seconds }),
      updates.run({ ratePerSecond: updatesPerSecond, seconds, perCall }),
      (async () => {
        for (let index = 0; index < count; index++) {
          added.push(await probe.addAd());
          changed.push(await probe.changeAd());
        }
      })(),
    ]);
    return { added, changed };
  } finally {
    probe.close();
  }
}

const msFigures = (name: string, times: readonly ProbeTimes[]): Record<string, number> => ({
  [`${name}AnsweredMs`]: rounded(median(times.map(({ answeredMs }) => answeredMs))),
  [`${name}VisibleMs`]: rounded(median(times.map(({ visibleMs }) => visibleMs))),
  [`${name}VisibleMsMax`]: rounded(Math.max(...times.map(({ visibleMs }) => visibleMs))),
  [`${name}StaleAnswers`]: times.reduce((sum, { staleAnswers }) => sum + staleAnswers, 0),
});

export const bench: Bench = {
  name: 'ad-update',
  about:
    'p99 of bids while 1,000 ads a second are added and changed ÷ without, two serving threads; ms until all know an ad',
  async run(mode, progress) {
    const { rounds, seconds, probes, perCall } = plans[mode];
    let dataDir = '';
    try {
      return await withServer(
        mode,
        async (server) => {
          ({ dataDir } = server.pod);
          const key = parametersKey({ ...server.size, seed: 1 });
          const updates = new AdUpdates(server.pod, join(dataDir, 'demo', key, 'catalog.json'));
          const steps = 2 + rounds * (1 + perCall.length);
          progress(0, steps, 'highest rate');
          const highest = await maxRate(server, (rate) => progress(0, steps, `trying ${rate}/s`));
          const ratePerSecond = Math.round(highest.ratePerSecond * loadShare);
          const measure = (): Promise<Measurement> =>
            measureBids(server.pod, server.bodies, { ratePerSecond, seconds, deadlineMs: 100 });
          const quiet: Measurement[] = [];
          const updated = perCall.map((): Measurement[] => []);
          let step = 1;
          // Turn by turn, so that whatever else the machine does falls on both.
          for (let round = 0; round < rounds; round++) {
            progress(step++, steps, 'without updates');
            quiet.push(await measure());
            for (const [index, count] of perCall.entries()) {
              progress(step++, steps, `${count} updates a call`);
              const [measured] = await Promise.all([
                measure(),
                updates.run({ ratePerSecond: updatesPerSecond, seconds, perCall: count }),
              ]);
              updated[index]!.push(measured);
            }
          }
          progress(step, steps, 'until all know');
          const times = await probed(server, updates, ratePerSecond, probes, perCall[0]);
          progress(steps, steps, 'done');
          const p99 = (list: readonly Measurement[]): number => median(list.map(({ report }) => report.fromDue.p99Ms));
          const cpu = (list: readonly Measurement[]): number =>
            median(list.map(({ serverCpuSeconds, report }) => (serverCpuSeconds / report.answered) * 1e6));
          // Of neighbours in time: a machine that others use changes from one minute to the next.
          const ratios = updated.map((list) =>
            median(list.map(({ report }, round) => report.fromDue.p99Ms / quiet[round]!.report.fromDue.p99Ms)),
          );
          const all = [quiet, ...updated].flat();
          return {
            bench: 'ad-update',
            value: rounded(Math.max(...ratios)),
            unit: `p99 with ${updatesPerSecond} updates/s ÷ without`,
            better: 'lower',
            figures: {
              ratePerSecond,
              highestRatePerSecond: Math.round(highest.ratePerSecond),
              updates: updates.count,
              p99Ms: rounded(p99(quiet)),
              p99MsByRound: quiet.map(({ report }) => rounded(report.fromDue.p99Ms)),
              cpuMicrosPerBid: rounded(cpu(quiet)),
              ...Object.fromEntries(
                perCall.flatMap((count, index) => [
                  [`ratioAt${count}PerCall`, rounded(ratios[index]!)],
                  [`p99MsAt${count}PerCall`, rounded(p99(updated[index]!))],
                  [`p99MsByRoundAt${count}PerCall`, updated[index]!.map(({ report }) => rounded(report.fromDue.p99Ms))],
                  [`cpuMicrosPerBidAt${count}PerCall`, rounded(cpu(updated[index]!))],
                ]),
              ),
              ...msFigures('added', times.added),
              ...msFigures('changed', times.changed),
              fullRungShare: rounded(Math.min(...all.map(({ rungShares }) => rungShares['full'] ?? 0)), 4),
              unanswered: all.reduce((sum, { report }) => sum + report.unanswered, 0),
            },
          };
        },
        { GAVELIN_SERVING_THREADS: '2' },
      );
    } finally {
      if (dataDir !== '') forgetChanges(dataDir);
    }
  },
};
