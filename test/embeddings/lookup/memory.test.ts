import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { LookupTicket } from '#embeddings/lookup/lookup-table.ts';
import { ScriptedStore, stored, tableIn } from './scripted-store.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Heap and buffers after a collection: what is truly held. */
function heldBytes(): number {
  collectGarbage();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}

// One in a hundred lookups is later than its cut-off, one in a hundred fails.
test('memory is flat over 100,000 lookups', { timeout: 120_000 }, async () => {
  const shared = stored('a value that all keys share');
  let count = 0;
  const store = new ScriptedStore(
    (read) => {
      count += 1;
      if (count % 300 === 0) setTimeout(() => read.answer(), 3);
      else if (count % 300 === 1) read.fail(new Error('broken'));
      else read.answer(read.keys.map(() => shared));
    },
    3,
    2,
  );
  store.keepsReads = false;
  const lookup = new Lookup({
    tables: [tableIn(store), tableIn(store, { keyPrefix: 's:', cacheMs: 50, absentCacheMs: 50 })],
    now: () => performance.timeOrigin + performance.now(),
    limits: { cacheEntriesMax: 2000, cacheBytesMax: 400_000 },
    onError: () => {},
  });
  const tickets = Array.from({ length: 20 }, () => new LookupTicket());
  const keys = Array.from({ length: 10_000 }, (_, index) => Buffer.from(`user ${index}`));
  let begun = 0;
  const run = async (until: number): Promise<void> => {
    await Promise.all(
      tickets.map(async (ticket) => {
        while (begun < until) {
          begun += 1;
          ticket.clear();
          for (let index = 0; index < 6; index++) ticket.ask(index & 1, keys[(begun * 7 + index * 131) % keys.length]!);
          await new Promise<void>((resolve) => {
            if (lookup.begin(ticket, performance.timeOrigin + performance.now() + 2, () => resolve())) resolve();
          });
        }
      }),
    );
  };
  await run(20_000);
  const before = heldBytes();
  await run(120_000);
  const grownBytes = heldBytes() - before;
  // Ten bytes a lookup would be a megabyte; what the collector leaves lying differs by some hundred kilobytes.
  expect(grownBytes).toBeLessThan(1_000_000);
  expect(lookup.status().cache.bytes).toBeLessThanOrEqual(400_000);
  await lookup.close();
  expect(lookup.status().pending).toEqual({ lookups: 0, calls: 0, coldKeys: 0 });
});
