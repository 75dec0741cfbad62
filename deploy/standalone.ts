import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Config, readConfig, unknownSettings } from '#server/config.ts';
import { type PodFiles, startPod } from '#server/pod.ts';
import { ensureDemoBundle } from './demo/demo-bundle.ts';
import { ensureDemo } from './demo/ensure-demo.ts';
import { numberArgument } from './demo/parameters.ts';
import { TrafficProcess } from './demo/traffic-process.ts';
import { ProgressLine } from './progress.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const defaultTraffic = 50;
/** How often a server whose parent may have gone looks for it. */
const parentCheckMs = 1000;
/** What stopping may take beyond the time for owed answers: stores, threads, log and traffic driver have limits of their own below it. */
const stopMsMax = 20_000;
/** A signal that comes sooner is the first one again: Ctrl-C reaches the process from the terminal, and through npm once more. */
const secondSignalMsMin = 1000;

const log = (line: string): void => {
  process.stderr.write(`${new Date().toISOString()} ${line}\n`);
};

/** `npm start`: everything in one process on embedded defaults, with demo traffic from a process of its own. */
export async function start(words: readonly string[], env: Environment): Promise<number> {
  const config = readConfig(env);
  const rate = numberArgument(words, 'traffic', defaultTraffic);
  const progress = new ProgressLine(process.stderr, () => performance.now());
  const parameters = { ads: config.demoAds, users: config.demoUsers, rows: config.demoRows, seed: config.demoSeed };
  const demo = await ensureDemo(config.dataDir, { ...parameters, onProgress: progress.update });
  const files: PodFiles = {
    catalog: config.catalogFile === '' ? demo.catalog : config.catalogFile,
    users: config.usersFile === '' ? demo.users : config.usersFile,
    bundle: config.bundleDir === '' ? await ensureDemoBundle(config.dataDir, demo, log) : config.bundleDir,
    signingKey: join(config.dataDir, 'signing-key.pem'),
  };
  let traffic: TrafficProcess | undefined;
  return run(config, env, files, {
    progress,
    onReady: (bidPort) => {
      if (rate > 0)
        traffic = new TrafficProcess(bidPort, rate, parameters, (why) => log(`the traffic driver ended: ${why}`));
    },
    onStop: async () => traffic?.stop(),
  });
}

/** `gavelin serve`: a pod on one's own catalog, users and bundle. */
export async function serve(_words: readonly string[], env: Environment): Promise<number> {
  const config = readConfig(env);
  const missing = [
    ['GAVELIN_CATALOG_FILE', config.catalogFile],
    ['GAVELIN_USERS_FILE', config.usersFile],
    ['GAVELIN_BUNDLE_DIR', config.bundleDir],
  ].flatMap(([name, value]) => (value === '' ? [name] : []));
  if (missing.length > 0)
    throw new Error(`${missing.join(', ')} must be set. \`npm start\` serves a demo market instead.`);
  const files: PodFiles = {
    catalog: config.catalogFile,
    users: config.usersFile,
    bundle: config.bundleDir,
    signingKey: join(config.dataDir, 'signing-key.pem'),
  };
  return run(config, env, files, {
    progress: new ProgressLine(process.stderr, () => performance.now()),
    onReady: () => {},
    onStop: async () => {},
  });
}

type Hooks = {
  readonly progress: ProgressLine;
  readonly onReady: (bidPort: number) => void;
  readonly onStop: () => Promise<void>;
};

/**
 * Starts a pod, says so, and resolves when it has been stopped: with 0 when a signal (or the end of the parent) asked for it, with 1
 * when the pod could not serve any longer, so that whoever watches the process starts another. Where a part of the pod does not end
 * (a thread in a disk or a lock that hangs), it ends the process itself.
 */
async function run(config: Config, env: Environment, files: PodFiles, hooks: Hooks): Promise<number> {
  for (const name of unknownSettings(env)) log(`${name} is set, but no setting has that name`);
  const stop = untilAskedToStop();
  let hanging: string | undefined;
  const onHang = (reason: string): void => {
    hanging = reason;
  };
  try {
    const pod = await startPod(config, files, { log, onProgress: hooks.progress.update, onHang });
    process.stdout.write(`gavelin ready bid=${pod.bidUrl} admin=${pod.adminUrl}\n`);
    process.stdout.write(`dashboard: ${pod.adminUrl}/#token=${pod.adminToken}\n`);
    hooks.onReady(pod.bidPort);
    const ending = await Promise.race([
      stop.then((reason) => ({ reason, status: 0 })),
      pod.failed.then((reason) => ({ reason, status: 1 })),
    ]);
    log(`stopping: ${ending.reason}`);
    const lastResort = setTimeout(() => killSelf('stopping took too long'), config.drainMs + stopMsMax);
    await hooks.onStop();
    await pod.stop();
    clearTimeout(lastResort);
    log('stopped');
    if (hanging !== undefined) killSelf(hanging);
    return ending.status;
  } catch (error) {
    if (hanging !== undefined) {
      log(error instanceof Error ? error.message : String(error));
      killSelf(hanging);
    }
    throw error;
  }
}

/** Where `process.exit` may not return, because it waits for every thread. The log on disk is whole after it, as after any kill. */
function killSelf(reason: string): void {
  log(`the process is killed: ${reason}`);
  process.kill(process.pid, 'SIGKILL');
}

/** Resolves with the reason. A second signal ends the process at once. */
function untilAskedToStop(): Promise<string> {
  return new Promise((settle) => {
    let firstMs: number | undefined;
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => {
        firstMs ??= performance.now();
        if (performance.now() - firstMs < secondSignalMsMin) settle(signal);
        else killSelf('a second signal');
      });
    }
    // npm may be killed without passing it on: then this process has another parent.
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent) settle('the parent process has gone');
    }, parentCheckMs).unref();
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = await start(process.argv.slice(2), process.env);
  } catch (error) {
    log(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
  process.exit();
}
