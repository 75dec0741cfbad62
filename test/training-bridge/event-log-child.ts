import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { EventLog } from '#training-bridge/event-log.ts';

/** A process that writes as hard as it can until somebody kills it, and says on stdout which notices are on disk. */
const [dir = '', firstId = '0', threads = '2'] = process.argv.slice(2);

const log = await EventLog.open(dir, {
  limits: { flushMsMax: 5, syncMsMin: 1, segmentBytesMax: 200_000 },
  now: () => Date.now(),
  onFault: (fault) => {
    writeSync(2, `fault ${fault}\n`);
    process.exit(1);
  },
});
for (let thread = 0; thread < Number(threads); thread++) {
  const worker = new Worker(new URL('event-log-producer.ts', import.meta.url), {
    workerData: { channel: log.openChannel(), firstId: Number(firstId) + thread * 100_000 },
  });
  worker.on('message', (id: number) => process.stdout.write(`${id}\n`));
}
