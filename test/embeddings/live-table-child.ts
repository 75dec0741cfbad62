import { parentPort, workerData } from 'node:worker_threads';
import { LiveVectorTable, type LiveTableShared } from '#embeddings/live-vector-table.ts';
import { markedRow, markMax, markOf } from './marked-rows.ts';

// Writes rows at full speed, or reads them and looks whether they are whole, until the parent says that it is enough.
const { shared, stop, isWriter } = workerData as {
  shared: LiveTableShared;
  stop: SharedArrayBuffer;
  isWriter: boolean;
};
const table = new LiveVectorTable(shared);
const isOver = new Int32Array(stop);
const row = new Float32Array(table.dimension);
const latest = new Map<number, number>();
let count = 0;
let torn = 0;
let older = 0;
let changes = 0;
parentPort!.postMessage('ready');
while (Atomics.load(isOver, 0) === 0) {
  for (let step = 0; step < 1000; step++, count++) {
    const number = count % table.rowCount;
    if (isWriter) {
      markedRow(Math.floor(count / table.rowCount) % markMax, row);
      table.setRow(number, row);
      continue;
    }
    table.gather(Uint32Array.of(number), row);
    const mark = markOf(row);
    const before = latest.get(number) ?? 0;
    if (mark < 0) torn++;
    else if (mark < before && before - mark < markMax / 2) older++;
    else if (mark !== before) changes++;
    latest.set(number, mark);
  }
}
parentPort!.postMessage({ count, torn, older, changes });
