import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { LiveVectorTable } from '#embeddings/live-vector-table.ts';
import { keepsTheTableContract } from './embedding-table.contract.ts';
import { markedRow, markOf } from './marked-rows.ts';

keepsTheTableContract('LiveVectorTable', (rows, dimension) => {
  const table = new LiveVectorTable(LiveVectorTable.allocate(rows.length / dimension, dimension));
  for (let row = 0; row < table.rowCount; row++) table.setRow(row, rows, row * dimension);
  return table;
});

test('a row is what was last written, and knows how often', () => {
  const table = new LiveVectorTable(LiveVectorTable.allocate(3, 2));
  const target = new Float32Array(2);
  expect(table.versionOf(1)).toBe(0);
  for (let version = 1; version <= 5; version++) {
    table.setRow(1, Float32Array.of(9, version, -version), 1);
    table.gather(Uint32Array.of(1), target);
    expect([...target]).toEqual([version, -version]);
    expect(table.versionOf(1)).toBe(version);
  }
  table.gather(Uint32Array.of(2), target);
  expect([...target]).toEqual([0, 0]);
  expect(() => table.setRow(3, target)).toThrow(expect.objectContaining({ code: 'ROW_OUT_OF_RANGE' }) as Error);
  expect(() => table.setRow(0, target, 1)).toThrow(expect.objectContaining({ code: 'SIZE_MISMATCH' }) as Error);
});

test('a writer that stops in the middle of a row keeps nobody from the row before it', () => {
  const shared = LiveVectorTable.allocate(1, 4);
  const table = new LiveVectorTable(shared);
  const row = new Float32Array(4);
  for (let mark = 1; mark < 5; mark++) {
    markedRow(mark, row);
    table.setRow(0, row);
    // The next row, as far as its first half: the place that the version does not point to.
    const words = new Float32Array(shared.data);
    const free = ((table.versionOf(0) + 1) & 1) * 4;
    words.fill(-77, free, free + 2);
    const seen = new Float32Array(4);
    table.gather(Uint32Array.of(0), seen);
    expect(markOf(seen)).toBe(mark);
  }
});

test('readers in two threads see only whole rows, and none older than one they have seen, while a third writes at full speed', async () => {
  // Few rows, so that readers meet the writer; one of 64 numbers takes it less than a microsecond.
  const shared = LiveVectorTable.allocate(3, 64);
  const row = new Float32Array(64);
  markedRow(0, row);
  const table = new LiveVectorTable(shared);
  for (let number = 0; number < 3; number++) table.setRow(number, row);
  const stop = new SharedArrayBuffer(4);
  const workers = [true, false, false].map(
    (isWriter) =>
      new Worker(new URL('live-table-child.ts', import.meta.url), { workerData: { shared, stop, isWriter } }),
  );
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  await sleep(1500);
  const said = workers.map((worker) => once(worker, 'message'));
  Atomics.store(new Int32Array(stop), 0, 1);
  const [writer, ...readers] = (await Promise.all(said)).map(
    ([message]) => message as { count: number; torn: number; older: number; changes: number },
  );
  await Promise.all(workers.map((worker) => worker.terminate()));
  expect(writer!.count).toBeGreaterThan(1000);
  for (const { count, torn, older, changes } of readers) {
    expect([torn, older]).toEqual([0, 0]);
    expect(count).toBeGreaterThan(1000);
    expect(changes).toBeGreaterThan(10);
  }
});
