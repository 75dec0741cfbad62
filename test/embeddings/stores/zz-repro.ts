import { mkdtempSync } from 'node:fs';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { LmdbStore } from '#embeddings/stores/lmdb-store.ts';
for (let run = 0; run < 12; run++) {
  const path = mkdtempSync('/tmp/zz-');
  const store = new LmdbStore({ path, now: Date.now });
  await store.ready();
  const t = Date.now();
  const done: number[] = [];
  const timer = setTimeout(() => { console.log('HANG run', run, 'done', done); process.exit(1); }, 15000);
  await Promise.all([0,1,2].map(async (thread) => {
    const worker = new Worker(new URL('lmdb-append-worker.ts', import.meta.url), { workerData: { path, thread, rounds: 150, lists: 4 } });
    worker.on('error', (e) => console.log('error', e));
    await once(worker, 'message'); done.push(thread);
    await once(worker, 'exit'); done.push(thread + 10);
  }));
  clearTimeout(timer);
  await store.close();
  console.log('run', run, Date.now() - t);
}
process.exit(0);
