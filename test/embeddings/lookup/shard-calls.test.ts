import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Lookup } from '#embeddings/lookup/lookup.ts';
import type { CopyStatus } from '#embeddings/lookup/lookup-status.ts';
import { StoreError } from '#embeddings/stores/store-errors.ts';
import { ask, fakeTime, lookupOf, settle, told } from './asking.ts';
import { ScriptedStore, type ScriptedRead, held, stored, tableIn } from './scripted-store.ts';

beforeEach(fakeTime);
afterEach(() => {
  vi.useRealTimers();
});

function answerAfter(ms: number): (read: ScriptedRead) => void {
  return (read) => {
    setTimeout(() => read.answer(), ms);
  };
}

/** So many quick lookups of one key that the shard's usual time is known; saves up allowance as well. */
async function warmUp(lookup: Lookup, store: ScriptedStore, key = '1', count = 200): Promise<void> {
  const { behaviour } = store;
  store.behaviour = answerAfter(2);
  for (let index = 0; index < count; index++) {
    ask(lookup, [[0, key]], 50);
    await vi.advanceTimersByTimeAsync(3);
  }
  store.behaviour = behaviour;
  store.reads.length = 0;
}

function copyOf(lookup: Lookup, name: string): CopyStatus {
  return lookup.status().copies.find((copy) => copy.name === name)!;
}

async function wait(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

describe('hedging', () => {
  test('a shard later than usual is asked at its other copy, for its keys alone, and the first answer wins', async () => {
    const store = new ScriptedStore(held, 2, 2);
    store.values.set('u:1', stored('one'));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    await warmUp(lookup, store, '1');
    await warmUp(lookup, store, '2');
    const { ticket, doneCount } = ask(
      lookup,
      [
        [0, '1'],
        [0, '2'],
        [0, '3'],
      ],
      100,
    );
    store.reads[1]!.answer();
    await wait(10);
    expect(store.reads.map(({ shard, copy, keys }) => [shard, copy, keys])).toEqual([
      [1, 0, ['u:1', 'u:3']],
      [0, 0, ['u:2']],
      [1, 1, ['u:1', 'u:3']],
    ]);
    store.reads[2]!.answer();
    await settle();
    expect(doneCount()).toBe(1);
    expect(told(ticket).map(({ value, outcome, source }) => [value, outcome, source])).toEqual([
      ['one', 'found', 'hedge'],
      [undefined, 'absent', 'store'],
      [undefined, 'absent', 'hedge'],
    ]);
    store.reads[0]!.answer([stored('other'), stored('other')]);
    await settle();
    expect(told(ticket)[0]!.value).toBe('one');
    expect(copyOf(lookup, 'shard 1 copy 1')).toMatchObject({ hedges: 1, hedgesWon: 1, inFlight: 0 });
    expect(copyOf(lookup, 'shard 1 copy 0')).toMatchObject({ inFlight: 0 });
    expect(lookup.status().pending.calls).toBe(0);
  });

  test('the first one asked may still win', async () => {
    const store = new ScriptedStore(held, 1, 2);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    await warmUp(lookup, store);
    const { ticket, doneCount } = ask(lookup, [[0, '1']], 100);
    await wait(10);
    expect(store.reads.length).toBe(2);
    store.reads[0]!.answer();
    await settle();
    expect(doneCount()).toBe(1);
    expect(told(ticket)[0]!.source).toBe('store');
    store.reads[1]!.fail(new StoreError('STORE_TIMEOUT'));
    await settle();
    expect(copyOf(lookup, 'shard 0 copy 1')).toMatchObject({ hedges: 1, hedgesWon: 0, failures: 1, inFlight: 0 });
  });

  test('nobody is called late before enough is known, without a copy, or when it is switched off', async () => {
    const unknown = new ScriptedStore(held, 1, 2);
    const single = new ScriptedStore(held, 1, 1);
    const off = new ScriptedStore(held, 1, 2);
    for (const [store, hedge, count] of [
      [unknown, {}, 20],
      [single, {}, 200],
      [off, { shareMax: 0 }, 200],
    ] as const) {
      const lookup = lookupOf({ tables: [tableIn(store)], hedge });
      await warmUp(lookup, store, '1', count);
      ask(lookup, [[0, '1']], 100);
      await wait(90);
      expect(store.reads.length).toBe(1);
    }
  });

  test('copies that change their order while a call waits: the extra call goes to the other server', async () => {
    const store = new ScriptedStore(held, 1, 2);
    const servers = ['first', 'second'];
    store.copyName = (_, copy) => servers[copy]!;
    const lookup = lookupOf({ tables: [tableIn(store)] });
    await warmUp(lookup, store);
    const asked: string[] = [];
    store.behaviour = ({ copy }) => asked.push(servers[copy]!);
    const { doneCount } = ask(lookup, [[0, '1']], 100);
    servers.reverse();
    await wait(10);
    expect(asked).toEqual(['first', 'second']);
    expect([copyOf(lookup, 'first').hedges, copyOf(lookup, 'second').hedges]).toEqual([0, 1]);
    store.reads[1]!.answer();
    await settle();
    expect(doneCount()).toBe(1);
    store.reads[0]!.answer();
    await settle();
  });

  test('a failed call with a spare copy is asked there at once, out of the same allowance', async () => {
    const store = new ScriptedStore(held, 1, 3);
    store.values.set('u:1', stored('one'));
    const lookup = lookupOf({ tables: [tableIn(store)], hedge: { burst: 1, shareMax: 0.000_001 } });
    const first = ask(lookup, [[0, '1']], 100);
    store.reads[0]!.fail(new StoreError('STORE_FAULTY'));
    await settle();
    expect(store.reads.map(({ copy }) => copy)).toEqual([0, 1]);
    store.reads[1]!.answer();
    await settle();
    expect(told(first.ticket)[0]).toEqual({ value: 'one', outcome: 'found', source: 'hedge' });
    const second = ask(lookup, [[0, '1']], 100);
    store.reads[2]!.fail(new StoreError('STORE_FAULTY'));
    await settle();
    expect(told(second.ticket)[0]!.outcome).toBe('failed');
    expect(lookup.status().hedging).toMatchObject({ extraCalls: 1, refused: 1 });
  });

  test('when the allowance does not reach, the slowest by its own measure is served first', async () => {
    const store = new ScriptedStore(held, 4, 2);
    const other = new ScriptedStore('soon');
    const tables = [tableIn(store), tableIn(other, { keyPrefix: 'o:' })];
    const lookup = lookupOf({ tables, hedge: { burst: 1, shareMax: 0.02 } });
    const keys = ['0', '1', '2', '3'].map((key) => [0, key] as const);
    const usualMs = [20, 8, 2, 14];
    store.behaviour = (read) => {
      setTimeout(() => read.answer(), usualMs[read.shard]);
    };
    for (let index = 0; index < 100; index++) {
      ask(lookup, keys, 200);
      await wait(21);
    }
    // What was saved up goes to a call that fails.
    store.behaviour = (read) => {
      if (read.copy === 0) read.fail(new StoreError('STORE_FAULTY'));
      else read.answer();
    };
    ask(lookup, [[0, '0']]);
    await settle();
    store.behaviour = held;
    store.reads.length = 0;
    ask(lookup, keys, 200);
    await wait(60);
    expect(store.reads.length).toBe(4);
    // 2 % of fifty calls of anybody's allow one more: all four are overdue by now, shard 2 thirty times, the others four to eight.
    for (let index = 0; index < 50; index++) ask(lookup, [[1, 'x']]);
    await wait(5);
    expect(store.reads.slice(4).map(({ shard, copy }) => [shard, copy])).toEqual([[2, 1]]);
    expect(lookup.status().hedging.refused).toBeGreaterThan(0);
  });

  test('a shard whose keys have moved meanwhile is not asked again', async () => {
    const store = new ScriptedStore(held, 1, 2);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    await warmUp(lookup, store);
    const { ticket } = ask(
      lookup,
      [
        [0, '1'],
        [0, '2'],
      ],
      50,
    );
    store.shardCount = 2;
    await wait(60);
    expect(store.reads.length).toBe(1);
    expect(told(ticket).map(({ outcome }) => outcome)).toEqual(['late', 'late']);
  });

  test('a loop that stood still itself does not ask everybody again', async () => {
    const store = new ScriptedStore(held, 1, 2);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    await warmUp(lookup, store);
    ask(lookup, [[0, '1']], 1000);
    vi.setSystemTime(Date.now() + 300);
    await wait(2);
    expect(store.reads.length).toBe(1);
    expect(lookup.status().stalledMs).toBeGreaterThan(290);
    await wait(10);
    expect(store.reads.length).toBe(2);
  });

  test('extra calls never exceed the allowance, whatever the shards do', { timeout: 60_000 }, async () => {
    const delay = fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0, max: 3 }) },
      { weight: 1, arbitrary: fc.integer({ min: 4, max: 80 }) },
      { weight: 1, arbitrary: fc.constant(-1) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(delay, { minLength: 20, maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(0.01, 0.02, 0.1),
        async (delays, burst, shareMax) => {
          const store = new ScriptedStore(held, 3, 2);
          let at = 0;
          store.behaviour = (read) => {
            const ms = delays[at++ % delays.length]!;
            setTimeout(() => {
              if (ms < 0) read.fail(new StoreError('STORE_FAULTY'));
              else read.answer();
            }, ms);
          };
          const lookup = lookupOf({ tables: [tableIn(store)], hedge: { burst, shareMax, samplesMin: 8 } });
          const asked: { doneCount(): number }[] = [];
          for (let index = 0; index < 150; index++) {
            asked.push(
              ask(
                lookup,
                ['0', '1', '2'].map((key) => [0, key] as const),
                30,
              ),
            );
            await wait(2);
            const { firstCalls, extraCalls } = lookup.status().hedging;
            expect(extraCalls).toBeLessThanOrEqual(shareMax * firstCalls + burst + 1e-9);
            expect(store.reads.length).toBe(firstCalls + extraCalls);
          }
          await wait(200);
          expect(asked.every((each) => each.doneCount() === 1)).toBe(true);
          expect(lookup.status().pending).toEqual({ lookups: 0, calls: 0, coldKeys: 0 });
          expect(lookup.status().copies.every(({ inFlight }) => inFlight === 0)).toBe(true);
        },
      ),
      { numRuns: 15 },
    );
  });
});

describe('breakers', () => {
  test('a shard that hangs is left alone after five requests, and its keys fail at once', async () => {
    const store = new ScriptedStore(held, 2);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    for (let index = 0; index < 5; index++) {
      const { ticket } = ask(lookup, [[0, '1']]);
      await wait(12);
      expect(told(ticket)[0]!.outcome).toBe('late');
    }
    expect(copyOf(lookup, 'shard 1 copy 0')).toMatchObject({ breaker: 'open', failures: 5, hung: 5, inFlight: 5 });
    const { ticket, isSync } = ask(lookup, [[0, '1']]);
    expect(isSync).toBe(true);
    expect(told(ticket)[0]!.outcome).toBe('failed');
    expect(copyOf(lookup, 'shard 1 copy 0').broken).toBe(1);
    expect(ask(lookup, [[0, '2']]).isSync).toBe(false);
  });

  test('answers that come after the cut-off do not make it look well', async () => {
    const store = new ScriptedStore(answerAfter(15));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    for (let index = 0; index < 5; index++) {
      ask(lookup, [[0, '1']]);
      await wait(20);
    }
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ breaker: 'open', hung: 5, inFlight: 0 });
  });

  test('one call probes after thirty seconds; while it is under way all others fail, its answer brings all back', async () => {
    const store = new ScriptedStore(held);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    for (let index = 0; index < 5; index++) {
      ask(lookup, [[0, '1']]);
      store.reads.at(-1)!.fail(new StoreError('STORE_UNREACHABLE'));
      await settle();
    }
    await wait(29_990);
    expect(ask(lookup, [[0, '1']]).isSync).toBe(true);
    await wait(20);
    const probe = ask(lookup, [[0, '1']]);
    expect(probe.isSync).toBe(false);
    expect(ask(lookup, [[0, '1']]).isSync).toBe(true);
    expect(store.reads.length).toBe(6);
    store.reads[5]!.answer();
    await settle();
    expect(told(probe.ticket)[0]!.outcome).toBe('absent');
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ breaker: 'closed', opened: 1 });
    expect(ask(lookup, [[0, '1']]).isSync).toBe(false);
  });

  test('a probe that hangs opens it again', async () => {
    const store = new ScriptedStore(held);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    for (let index = 0; index < 5; index++) {
      ask(lookup, [[0, '1']]);
      await wait(12);
    }
    await wait(30_000);
    ask(lookup, [[0, '1']]);
    await wait(12);
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ breaker: 'open', opened: 2, hung: 6 });
  });

  test('while one copy is broken the next is asked, and that is no extra call', async () => {
    const store = new ScriptedStore((read) => {
      if (read.copy === 0) read.fail(new StoreError('STORE_UNREACHABLE'));
      else read.answer();
    });
    store.copies = 2;
    store.values.set('u:1', stored('one'));
    const lookup = lookupOf({ tables: [tableIn(store)], hedge: { shareMax: 0 } });
    const outcomes: string[] = [];
    for (let index = 0; index < 8; index++) {
      const { ticket } = ask(lookup, [[0, '1']]);
      await settle();
      outcomes.push(told(ticket)[0]!.outcome);
    }
    expect(outcomes).toEqual([...Array(5).fill('failed'), ...Array(3).fill('found')]);
    expect(lookup.status().hedging.extraCalls).toBe(0);
  });

  test('a hanging copy is found out even when the other one always answers in its place', async () => {
    const store = new ScriptedStore(held, 1, 2);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    await warmUp(lookup, store);
    store.behaviour = (read) => {
      if (read.copy === 1) setTimeout(() => read.answer(), 1);
    };
    for (let index = 0; index < 5; index++) {
      const { ticket } = ask(lookup, [[0, '1']], 20);
      await wait(25);
      expect(told(ticket)[0]!.source).toBe('hedge');
    }
    expect(copyOf(lookup, 'shard 0 copy 0').breaker).toBe('open');
  });

  test('silence while our own loop stood still is not counted', async () => {
    const store = new ScriptedStore(held);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    for (let index = 0; index < 6; index++) {
      const { ticket } = ask(lookup, [[0, '1']]);
      await wait(1);
      vi.setSystemTime(Date.now() + 50);
      await wait(3);
      expect(told(ticket)[0]!.outcome).toBe('late');
    }
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ breaker: 'closed', hung: 0 });
    for (const read of store.reads) read.answer();
    await settle();
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ failures: 0, inFlight: 0 });
  });

  test('a request with hardly any time left says nothing about the shard', async () => {
    const store = new ScriptedStore(answerAfter(3));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    for (let index = 0; index < 10; index++) {
      const { ticket } = ask(lookup, [[0, '1']], 1);
      await wait(4);
      expect(told(ticket)[0]!.outcome).toBe('late');
    }
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ breaker: 'closed', failures: 0 });
  });

  test('faults of our own do not count against a shard', async () => {
    const store = new ScriptedStore((read) => read.fail(new StoreError('STORE_KEY_TOO_LONG')));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    for (let index = 0; index < 10; index++) {
      ask(lookup, [[0, '1']]);
      await settle();
    }
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ breaker: 'closed', failures: 0, calls: 10 });
  });

  test('a store in the process that throws is treated like any other', () => {
    const store = new ScriptedStore('now');
    const lookup = lookupOf({ tables: [tableIn(store)] });
    store.read = () => {
      throw new StoreError('STORE_FAULTY');
    };
    for (let index = 0; index < 7; index++) {
      const { ticket, isSync } = ask(lookup, [[0, '1']]);
      expect(isSync).toBe(true);
      expect(told(ticket)[0]!.outcome).toBe('failed');
    }
    expect(copyOf(lookup, 'shard 0 copy 0')).toMatchObject({ breaker: 'open', failures: 5, broken: 2 });
  });
});

describe('bulkheads', () => {
  test('beyond its calls under way a shard is refused at once, which is not a failure', async () => {
    const store = new ScriptedStore(held, 2);
    const lookup = lookupOf({ tables: [tableIn(store)], limits: { callsInFlightMax: 3 } });
    for (let index = 0; index < 3; index++) ask(lookup, [[0, '1']], 100);
    const refused = ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    expect(refused.isSync).toBe(false);
    store.reads[3]!.answer();
    await settle();
    expect(told(refused.ticket).map(({ outcome }) => outcome)).toEqual(['failed', 'absent']);
    expect(copyOf(lookup, 'shard 1 copy 0')).toMatchObject({ busy: 1, failures: 0, breaker: 'closed', inFlight: 3 });
    store.reads[0]!.answer();
    await settle();
    expect(ask(lookup, [[0, '1']]).isSync).toBe(false);
  });
});

test('what is known about copies stays bounded while addresses come and go', async () => {
  const store = new ScriptedStore('soon');
  const lookup = lookupOf({ tables: [tableIn(store)], limits: { copiesMax: 4 } });
  for (let index = 0; index < 50; index++) {
    store.copyName = () => `address ${index}`;
    ask(lookup, [[0, '1']]);
    await wait(1);
  }
  expect(lookup.status().copies.map(({ name }) => name)).toEqual([46, 47, 48, 49].map((index) => `address ${index}`));
});
