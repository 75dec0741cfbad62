import { parentPort, workerData } from 'node:worker_threads';
import { LmdbStore } from '#embeddings/stores/lmdb-store.ts';

/** Appends its own records to the same lists as others at the same time, and reads what it wrote. */
export type LmdbAppendWork = {
  readonly path: string;
  readonly thread: number;
  readonly rounds: number;
  readonly lists: number;
};

const { path, thread, rounds, lists } = workerData as LmdbAppendWork;
const store = new LmdbStore({ path, now: Date.now, sweeps: false });
let unseen = 0;
for (let round = 0; round < rounds; round++) {
  const record = Buffer.from(`${thread}:${String(round).padStart(5, '0')};`);
  const key = Buffer.from(`list ${round % lists}`);
  await store.append(key, record, 4000, 3_600_000);
  const [list] = await store.read(0, 0, [key]);
  if (list === undefined || !list.includes(record)) unseen++;
}
await store.close();
parentPort!.postMessage({ unseen });
