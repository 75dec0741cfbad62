import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, test } from 'vitest';
import { expectServiceThrough, startPodOnStores } from '../support/fault-drill.ts';
import type { Pod } from '../support/pod.ts';

const drillMsMax = 150_000;

describe('everything in a folder of this machine', () => {
  let pod: Pod | undefined;

  afterEach(async () => {
    await pod?.stop();
  });

  test(
    'a disk that takes no writes for seconds: lookups go on, and events wait their turn',
    async () => {
      const running = await startPodOnStores({});
      pod = running;
      let holder: ChildProcess | undefined;
      await expectServiceThrough({
        pod: running,
        fault: async () => {
          holder = await holdWriteLock(join(running.dataDir, 'stores'));
        },
        faultMs: 5000,
        mend: async () => {
          holder!.stdin!.end('x');
          await once(holder!, 'exit');
        },
        rungs: { full: 0.97 },
      });
    },
    drillMsMax,
  );

  test(
    'the wall clock jumps an hour ahead and two back: nobody notices',
    async () => {
      const running = await startPodOnStores({}, jumpingClock());
      pod = running;
      await expectServiceThrough({
        pod: running,
        fault: async () => {
          running.child.kill('SIGUSR2');
        },
        faultMs: 4000,
        mend: async () => {
          running.child.kill('SIGUSR2');
        },
        rungs: { full: 0.97 },
      });
    },
    drillMsMax,
  );
});

/** A process that holds lmdb's only writing lock until it is told something: to everybody else the disk hangs. */
async function holdWriteLock(folder: string): Promise<ChildProcess> {
  const script = join(import.meta.dirname, '../embeddings/stores/lmdb-child.ts');
  const child = spawn(process.execPath, [script, 'hold', folder], { stdio: ['pipe', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) if (line === 'held') break;
  return child;
}

/** The wall clock of every thread: an hour ahead after the first SIGUSR2, an hour behind after the second. */
function jumpingClock(): readonly string[] {
  const source = `
    import { isMainThread } from 'node:worker_threads';
    const hours = [0, 1, -1];
    let jumps = 0;
    const channel = new BroadcastChannel('jumping-clock');
    channel.onmessage = ({ data }) => { jumps = data; };
    channel.unref();
    if (isMainThread) process.on('SIGUSR2', () => channel.postMessage(++jumps));
    const Real = Date;
    const now = () => Real.now() + hours[jumps] * 3_600_000;
    globalThis.Date = class extends Real {
      static now = now;
      constructor(...words) { super(...(words.length === 0 ? [now()] : words)); }
    };`;
  return ['--import', `data:text/javascript,${encodeURIComponent(source)}`];
}
