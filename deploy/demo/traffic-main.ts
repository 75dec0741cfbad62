import { MarketLayout } from './layout.ts';
import { demoDefaults, numberArgument } from './parameters.ts';
import { TrafficDriver, type TrafficStats } from './traffic.ts';
import { World } from './world.ts';

const statsEveryMs = 1_000;
const dayS = 86_400;

/**
 * The traffic driver, a process of its own:
 * `node deploy/demo/traffic-main.ts --port N [--rate N] [--seconds N] [--requests N] [--traffic-seed N] [--ads N --users N --seed N]`.
 * Once a second, and at the end, one JSON line of counts on stdout. Ends on SIGTERM, when the plan is done, or when the process
 * that started it has gone (its channel closes, or it is adopted by another parent).
 */
async function main(words: readonly string[]): Promise<void> {
  const port = numberArgument(words, 'port', 0);
  if (!(port >= 1 && port <= 65_535)) throw new Error('--port N is required: the bid port on 127.0.0.1');
  const world = new World(
    new MarketLayout({
      ads: numberArgument(words, 'ads', demoDefaults.ads),
      users: numberArgument(words, 'users', demoDefaults.users),
      rows: 0,
      seed: numberArgument(words, 'seed', demoDefaults.seed),
    }),
  );
  const keyAt = words.indexOf('--key');
  const key = keyAt < 0 ? undefined : words[keyAt + 1];
  // A second run on the same server must not repeat the ids of the first.
  const driver = new TrafficDriver(
    {
      port,
      ratePerSecond: Math.min(5000, numberArgument(words, 'rate', 50)),
      secondsMax: numberArgument(words, 'seconds', 7 * dayS),
      requestsMax: numberArgument(words, 'requests', 1e9),
      seed: numberArgument(words, 'traffic-seed', Date.now() % 1_000_000_007),
      rivalCpm: numberArgument(words, 'rival-cpm', 0.6),
      ...(key === undefined ? {} : { key }),
    },
    world,
    Date.now,
    `demo-${process.pid}-${Date.now().toString(36)}`,
  );
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid !== parent) driver.stop();
    print(driver.stats);
  }, statsEveryMs);
  process.once('SIGTERM', () => {
    driver.stop();
  });
  process.once('SIGINT', () => {
    driver.stop();
  });
  process.once('disconnect', () => {
    driver.stop();
  });
  // A reader that has gone must not keep the driver alive.
  process.stdout.on('error', () => {
    process.exit(0);
  });
  print(await driver.run(), true);
  clearInterval(timer);
  process.exit(0);
}

function print(stats: TrafficStats, isLast = false): void {
  process.stdout.write(
    `${JSON.stringify({ ...stats, expectedClicks: Number(stats.expectedClicks.toFixed(3)), isLast })}\n`,
  );
}

await main(process.argv.slice(2));
