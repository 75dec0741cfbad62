import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { type LookupTable, LookupTicket, unknownAge } from '#embeddings/lookup/lookup-table.ts';
import { StoreError } from '#embeddings/stores/store-errors.ts';
import { storedAbsence, storedValue } from '#embeddings/stores/stored-value.ts';
import { ask, fakeTime, lookupOf, settle, startMs, told } from './asking.ts';
import { ScriptedStore, held, stored, tableIn } from './scripted-store.ts';

beforeEach(fakeTime);
afterEach(() => {
  vi.useRealTimers();
});

describe('one lookup', () => {
  test('a store in the process answers before begin returns', () => {
    const store = new ScriptedStore('now');
    store.values.set('u:ada', stored('profile', startMs - 500));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    const { ticket, isSync, doneCount } = ask(lookup, [
      [0, 'ada'],
      [0, 'bob'],
    ]);
    expect(isSync).toBe(true);
    expect(doneCount()).toBe(0);
    expect(told(ticket)).toEqual([
      { value: 'profile', outcome: 'found', source: 'store' },
      { value: undefined, outcome: 'absent', source: 'store' },
    ]);
    expect([ticket.ageMs[0], ticket.ageMs[1]]).toEqual([500, unknownAge]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('asks each shard once, all at the same time, tables of one store together', async () => {
    const users = new ScriptedStore(held, 2);
    const ads = new ScriptedStore(held);
    users.values.set('u:2', stored('user two'));
    users.values.set('s:2', stored('session two'));
    ads.values.set('a:9', stored('ad nine'));
    const lookup = lookupOf({
      tables: [
        tableIn(users),
        tableIn(users, { name: 'session', keyPrefix: 's:' }),
        tableIn(ads, { name: 'ad', keyPrefix: 'a:' }),
      ],
    });
    const { ticket, isDone, doneCount } = ask(lookup, [
      [0, '1'],
      [0, '2'],
      [1, '2'],
      [2, '9'],
      [1, '3'],
    ]);
    expect(users.reads.map(({ shard, keys }) => [shard, keys])).toEqual([
      [1, ['u:1', 's:3']],
      [0, ['u:2', 's:2']],
    ]);
    expect(ads.reads.map(({ keys }) => keys)).toEqual([['a:9']]);
    for (const read of [...ads.reads, ...users.reads]) {
      expect(isDone()).toBe(false);
      read.answer();
      await settle();
    }
    expect(doneCount()).toBe(1);
    expect(told(ticket).map(({ value }) => value)).toEqual([
      undefined,
      'user two',
      'session two',
      'ad nine',
      undefined,
    ]);
    await vi.advanceTimersByTimeAsync(100);
    expect(doneCount()).toBe(1);
    expect(lookup.status().pending).toEqual({ lookups: 0, calls: 0, coldKeys: 0 });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('the caller may reuse its key buffers as soon as begin returns', async () => {
    const store = new ScriptedStore(held);
    store.values.set('u:ada', stored('profile'));
    const lookup = lookupOf({ tables: [tableIn(store, { cacheMs: 1000 })] });
    const ticket = new LookupTicket();
    const key = Buffer.from('ada');
    ticket.ask(0, key);
    lookup.begin(ticket, Date.now() + 10, () => {});
    key.write('bob');
    store.reads[0]!.answer();
    await settle();
    expect(told(ticket)[0]!.value).toBe('profile');
    expect(told(ask(lookup, [[0, 'ada']]).ticket)[0]!.source).toBe('process');
  });

  test('an empty ticket, a table that is not there, a key too long', () => {
    const store = new ScriptedStore('now');
    const lookup = lookupOf({ tables: [tableIn(store)] });
    expect(ask(lookup, []).isSync).toBe(true);
    const { ticket } = ask(lookup, [
      [7, 'x'],
      [0, 'k'.repeat(2047)],
      [0, 'k'.repeat(2046)],
    ]);
    expect(told(ticket).map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'absent']);
  });

  test('what has not arrived at the cut-off is late, and fills the cache when it comes', async () => {
    const store = new ScriptedStore(held, 2);
    store.values.set('u:1', stored('one'));
    store.values.set('u:2', stored('two'));
    const lookup = lookupOf({ tables: [tableIn(store, { cacheMs: 1000, absentCacheMs: 1000 })] });
    const first = ask(lookup, [
      [0, '1'],
      [0, '2'],
      [0, '4'],
    ]);
    store.reads[0]!.answer();
    await vi.advanceTimersByTimeAsync(8);
    expect(first.isDone()).toBe(false);
    await vi.advanceTimersByTimeAsync(4);
    expect(first.doneCount()).toBe(1);
    expect(told(first.ticket)).toEqual([
      { value: 'one', outcome: 'found', source: 'store' },
      { value: undefined, outcome: 'late', source: 'none' },
      { value: undefined, outcome: 'late', source: 'none' },
    ]);
    store.reads[1]!.answer();
    await settle();
    expect(told(first.ticket)[1]!.outcome).toBe('late');
    expect(lookup.status().tables[0]!.lateAnswers).toBe(2);
    const second = ask(lookup, [
      [0, '2'],
      [0, '4'],
    ]);
    expect(second.isSync).toBe(true);
    expect(told(second.ticket)).toEqual([
      { value: 'two', outcome: 'found', source: 'process' },
      { value: undefined, outcome: 'absent', source: 'process' },
    ]);
    expect(store.reads.length).toBe(2);
  });

  test('a shard that fails takes only its own keys with it', async () => {
    const store = new ScriptedStore(held, 2);
    store.values.set('u:1', stored('one'));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    const { ticket, doneCount } = ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    store.reads[0]!.answer();
    store.reads[1]!.fail(new StoreError('STORE_FAULTY'));
    await settle();
    expect(doneCount()).toBe(1);
    expect(told(ticket).map(({ outcome }) => outcome)).toEqual(['found', 'failed']);
  });

  test('an answer with another number of values is a failure', async () => {
    const store = new ScriptedStore(held);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    const { ticket } = ask(lookup, [[0, '1']]);
    store.reads[0]!.answer([]);
    await settle();
    expect(told(ticket)[0]!.outcome).toBe('failed');
    expect(lookup.status().copies[0]!.failures).toBe(1);
  });

  test('a done that throws, and a store that rejects with anything, disturb nobody else', async () => {
    const errors: unknown[] = [];
    const store = new ScriptedStore(held);
    const lookup = lookupOf({ tables: [tableIn(store)], onError: (error) => errors.push(error) });
    const ticket = new LookupTicket();
    ticket.ask(0, Buffer.from('1'));
    const broken = new Error('a bug of the caller');
    lookup.begin(ticket, Date.now() + 10, () => {
      throw broken;
    });
    const other = ask(lookup, [[0, '2']]);
    store.reads[0]!.answer();
    store.reads[1]!.fail('a bug of the store');
    await settle();
    expect(errors).toEqual([broken, 'a bug of the store']);
    expect(other.doneCount()).toBe(1);
    expect(told(other.ticket)[0]!.outcome).toBe('failed');
  });

  test('a store that throws where it may not fails its own keys and leaves the next requests whole', async () => {
    const errors: unknown[] = [];
    const bad = new ScriptedStore('soon', 2);
    const good = new ScriptedStore('soon', 2);
    good.values.set('g:1', stored('one'));
    const tables = [tableIn(bad), tableIn(good, { keyPrefix: 'g:' })];
    const lookup = lookupOf({ tables, onError: (error) => errors.push(error) });
    const keys = [
      [1, '1'],
      [0, '1'],
      [1, '2'],
    ] as const;
    const broken = () => {
      throw new Error('a bug of the store');
    };
    for (const method of ['shardOf', 'copyCount', 'copyName', 'read'] as const) {
      const whole = bad[method];
      Object.assign(bad, { [method]: broken });
      const { ticket, doneCount } = ask(lookup, keys);
      await settle();
      expect(doneCount()).toBe(1);
      expect(told(ticket).map(({ outcome }) => outcome)).toEqual(['found', 'failed', 'absent']);
      Object.assign(bad, { [method]: whole });
      const next = ask(lookup, keys);
      await settle();
      expect(told(next.ticket).map(({ outcome }) => outcome)).toEqual(['found', 'absent', 'absent']);
    }
    expect(errors.length).toBe(4);
    expect(lookup.status().pending.calls).toBe(0);
  });

  test('done may begin the next lookup', async () => {
    const store = new ScriptedStore('soon');
    store.values.set('u:1', stored('one'));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    const ticket = new LookupTicket();
    let rounds = 0;
    const again = () => {
      rounds += 1;
      expect(told(ticket).map(({ value }) => value)).toEqual(['one']);
      if (rounds === 5) return;
      ticket.clear();
      ticket.ask(0, Buffer.from('1'));
      expect(lookup.begin(ticket, Date.now() + 10, again)).toBe(false);
    };
    ticket.ask(0, Buffer.from('1'));
    lookup.begin(ticket, Date.now() + 10, again);
    await settle();
    expect(rounds).toBe(5);
  });
});

describe('values', () => {
  test('whatever bytes a store holds, they are found whole or count as missing, and are never cached', () => {
    const payload = fc.uint8Array({ maxLength: 40 });
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 80 }).map((raw) => Buffer.from(raw)),
      fc
        .record({ payload, version: fc.integer({ min: 2, max: 4 }) })
        .map((it) => storedValue(it.payload, it.version, 5)),
      fc.record({ payload, at: fc.nat(), bit: fc.integer({ min: 0, max: 7 }) }).map(({ payload, at, bit }) => {
        const value = storedValue(payload, 3, 5);
        value[at % value.length]! ^= 1 << bit;
        return value;
      }),
      fc.record({ payload, cut: fc.nat() }).map(({ payload, cut }) => {
        const value = storedValue(payload, 3, 5);
        return value.subarray(0, cut % (value.length + 1));
      }),
    );
    fc.assert(
      fc.property(bytes, (value) => {
        const store = new ScriptedStore('now');
        store.values.set('u:1', value);
        const lookup = lookupOf({ tables: [tableIn(store, { cacheMs: 1000, absentCacheMs: 1000 })] });
        const first = told(ask(lookup, [[0, '1']]).ticket)[0]!;
        const { conditions, outcomes } = lookup.status().tables[0]!;
        const invalid = conditions.LENGTH_WRONG + conditions.VERSION_WRONG + conditions.CHECKSUM_WRONG;
        const second = told(ask(lookup, [[0, '1']]).ticket)[0]!;
        const isFound = first.outcome === 'found';
        const payload = first.value === undefined ? value : Buffer.from(first.value, 'latin1');
        const writtenMs = value.length < 10 ? 0 : value.readUIntLE(4, 6);
        // What is found is what somebody wrote, to the byte; all else is one more that did not count.
        expect(!isFound || storedValue(payload, 3, writtenMs).equals(value)).toBe(true);
        expect(isFound || first.value === undefined).toBe(true);
        expect([first.outcome, invalid, outcomes.invalid]).toEqual(isFound ? ['found', 0, 0] : ['invalid', 1, 1]);
        expect([first.source, second.source]).toEqual(['store', isFound ? 'process' : 'store']);
        expect(second.value).toBe(first.value);
      }),
    );
  });

  test('a value of another version is missing, and counted', () => {
    const store = new ScriptedStore('now');
    store.values.set('u:1', storedValue(Buffer.from('old'), 2, 0));
    const lookup = lookupOf({ tables: [tableIn(store)] });
    expect(told(ask(lookup, [[0, '1']]).ticket)[0]!.outcome).toBe('invalid');
    expect(lookup.status().tables[0]!.conditions.VERSION_WRONG).toBe(1);
  });

  test('records have a length to keep, and an empty list is none', () => {
    const store = new ScriptedStore('now');
    store.values.set('w:1', Buffer.from('abcdefgh'));
    store.values.set('w:2', Buffer.from('abcdef'));
    store.values.set('w:3', Buffer.alloc(0));
    const lookup = lookupOf({
      tables: [tableIn(store, { keyPrefix: 'w:', format: { kind: 'records', recordBytes: 4 }, cacheMs: 1000 })],
    });
    const keys = ['1', '2', '3'].map((key) => [0, key] as const);
    expect(told(ask(lookup, keys).ticket).map(({ value, outcome }) => [value, outcome])).toEqual([
      ['abcdefgh', 'found'],
      [undefined, 'invalid'],
      [undefined, 'absent'],
    ]);
    expect(told(ask(lookup, keys).ticket).map(({ source }) => source)).toEqual(['process', 'store', 'store']);
  });

  test('keys of any bytes are told apart, and kept apart by table', () => {
    const key = fc.uint8Array({ maxLength: 40 }).map((raw) => Buffer.from(raw).toString('latin1'));
    fc.assert(
      fc.property(fc.uniqueArray(key, { minLength: 1, maxLength: 60 }), (keys) => {
        const store = new ScriptedStore('now');
        const tables = ['u:', 'v:'].map((keyPrefix) => tableIn(store, { keyPrefix, cacheMs: 1000 }));
        const lookup = lookupOf({ tables });
        for (const each of keys) {
          store.values.set(`u:${each}`, stored(`user ${each.length}`));
          store.values.set(`v:${each}`, stored(`view ${Buffer.from(each, 'latin1').toString('hex')}`));
        }
        const asked = keys.flatMap((each) => [[0, each] as const, [1, each] as const]);
        const first = told(ask(lookup, asked).ticket);
        const second = told(ask(lookup, asked).ticket);
        expect(first.map(({ value }) => value)).toEqual(
          keys.flatMap((each) => [`user ${each.length}`, `view ${Buffer.from(each, 'latin1').toString('hex')}`]),
        );
        expect(second).toEqual(first.map((each) => ({ ...each, source: 'process' })));
      }),
    );
  });
});

describe('what the thread keeps', () => {
  test('values and absences, each for its own time', () => {
    const store = new ScriptedStore('now');
    store.values.set('u:1', stored('one', startMs - 7));
    const lookup = lookupOf({ tables: [tableIn(store, { cacheMs: 1000, absentCacheMs: 100 })] });
    const sources = () => {
      const { ticket } = ask(lookup, [
        [0, '1'],
        [0, '2'],
      ]);
      return [...told(ticket).map(({ source }) => source), ticket.ageMs[0]];
    };
    expect(sources()).toEqual(['store', 'store', 7]);
    vi.setSystemTime(startMs + 99);
    expect(sources()).toEqual(['process', 'process', 106]);
    vi.setSystemTime(startMs + 100);
    expect(sources()).toEqual(['process', 'store', 107]);
    vi.setSystemTime(startMs + 1000);
    expect(sources()).toEqual(['store', 'store', 1007]);
  });

  test('an absence that the store itself remembers is an absence', () => {
    const store = new ScriptedStore('now');
    store.values.set('u:1', storedAbsence(3, startMs));
    const lookup = lookupOf({ tables: [tableIn(store, { absentCacheMs: 1000 })] });
    expect(told(ask(lookup, [[0, '1']]).ticket)[0]).toEqual({ value: undefined, outcome: 'absent', source: 'store' });
    expect(told(ask(lookup, [[0, '1']]).ticket)[0]!.source).toBe('process');
  });

  test('invalidated keys and tables are asked for again', () => {
    const store = new ScriptedStore('now');
    store.values.set('u:1', stored('old'));
    store.values.set('u:2', stored('two'));
    const lookup = lookupOf({ tables: [tableIn(store, { cacheMs: 1000 })] });
    const both = () =>
      told(
        ask(lookup, [
          [0, '1'],
          [0, '2'],
        ]).ticket,
      ).map(({ value, source }) => [value, source]);
    both();
    store.values.set('u:1', stored('new'));
    lookup.invalidate(0, Buffer.from('1'));
    lookup.invalidate(9, Buffer.from('1'));
    expect(both()).toEqual([
      ['new', 'store'],
      ['two', 'process'],
    ]);
    lookup.invalidateTable(0);
    lookup.invalidateTable(9);
    expect(both().map(([, source]) => source)).toEqual(['store', 'store']);
  });

  test.each([
    ['its key', (lookup: Lookup) => lookup.invalidate(0, Buffer.from('1'))],
    ['its table', (lookup: Lookup) => lookup.invalidateTable(0)],
  ])('a value read while %s was invalidated is handed over and not kept', async (_, invalidate) => {
    const store = new ScriptedStore(held);
    store.values.set('u:1', stored('old'));
    const lookup = lookupOf({ tables: [tableIn(store, { cacheMs: 1000 })] });
    const { ticket } = ask(lookup, [[0, '1']]);
    invalidate(lookup);
    store.reads[0]!.answer();
    await settle();
    expect(told(ticket)[0]!.value).toBe('old');
    expect(ask(lookup, [[0, '1']]).isSync).toBe(false);
  });
});

describe('a value past its time', () => {
  function aged(change: Partial<LookupTable> = {}) {
    const store = new ScriptedStore('now');
    store.values.set('u:1', stored('one', startMs - 7));
    const table = tableIn(store, { cacheMs: 1000, absentCacheMs: 1000, staleMs: 60_000, ...change });
    const lookup = lookupOf({ tables: [table, tableIn(store, { keyPrefix: 'v:' })] });
    ask(lookup, [
      [0, '1'],
      [0, '2'],
      [1, '1'],
    ]);
    return { store, lookup };
  }
  const refuse = (store: ScriptedStore): void => {
    store.behaviour = (read) => read.fail(new StoreError('STORE_UNREACHABLE'));
  };

  test('stands in for one that failed or is late, with its true age; absences and tables that keep nothing do not', async () => {
    const { store, lookup } = aged();
    vi.setSystemTime(startMs + 30_000);
    refuse(store);
    const failed = ask(lookup, [
      [0, '1'],
      [0, '2'],
      [1, '1'],
    ]);
    await settle();
    expect(told(failed.ticket)).toEqual([
      { value: 'one', outcome: 'found', source: 'process' },
      { value: undefined, outcome: 'failed', source: 'none' },
      { value: undefined, outcome: 'failed', source: 'none' },
    ]);
    expect([failed.ticket.ageMs[0], failed.ticket.ageMs[1]]).toEqual([30_007, unknownAge]);
    store.behaviour = held;
    const late = ask(lookup, [
      [0, '1'],
      [0, '3'],
    ]);
    await vi.advanceTimersByTimeAsync(12);
    expect(told(late.ticket).map(({ value, outcome }) => [value, outcome])).toEqual([
      ['one', 'found'],
      [undefined, 'late'],
    ]);
    const [state] = lookup.status().tables;
    expect([state!.staleFound, state!.outcomes.found, state!.outcomes.failed, state!.outcomes.late]).toEqual([
      2, 3, 1, 1,
    ]);
    // The answer that came late is the one that stands in from now on.
    store.values.set('u:1', stored('two', Date.now()));
    store.reads.at(-1)!.answer();
    await settle();
    expect(told(ask(lookup, [[0, '1']]).ticket)[0]).toEqual({ value: 'two', outcome: 'found', source: 'process' });
  });

  test('is asked for first: a store that answers is believed', () => {
    const { store, lookup } = aged();
    vi.setSystemTime(startMs + 30_000);
    store.values.set('u:1', stored('two'));
    expect(told(ask(lookup, [[0, '1']]).ticket)[0]).toEqual({ value: 'two', outcome: 'found', source: 'store' });
  });

  test.each<[string, Partial<LookupTable>, (at: { store: ScriptedStore; lookup: Lookup }) => void]>([
    ['when it is too old', {}, () => vi.setSystemTime(startMs + 60_000)],
    ['once its key was invalidated', {}, ({ lookup }) => lookup.invalidate(0, Buffer.from('1'))],
    ['once its table was invalidated', {}, ({ lookup }) => lookup.invalidateTable(0)],
    ['where the table says never', { staleMs: 0 }, () => {}],
    ['where nothing is kept', { cacheMs: 0, absentCacheMs: 0 }, () => {}],
    [
      'once the store has said that it is gone',
      { absentCacheMs: 0 },
      ({ store, lookup }) => {
        store.values.clear();
        expect(told(ask(lookup, [[0, '1']]).ticket)[0]!.outcome).toBe('absent');
      },
    ],
  ])('does not stand in %s', async (_, change, meanwhile) => {
    const { store, lookup } = aged(change);
    vi.setSystemTime(startMs + 2000);
    meanwhile({ store, lookup });
    refuse(store);
    const { ticket } = ask(lookup, [[0, '1']]);
    await settle();
    expect(told(ticket)[0]!.outcome).toBe('failed');
  });

  test('stands in while the breaker is open', async () => {
    const { store, lookup } = aged();
    refuse(store);
    for (let second = 2; second < 60; second++) {
      vi.setSystemTime(startMs + second * 1000);
      const { ticket } = ask(lookup, [[0, '1']]);
      await settle();
      expect(told(ticket)[0]!.value).toBe('one');
    }
    expect(lookup.status().copies[0]!.broken).toBeGreaterThan(0);
  });
});

describe('the cold store', () => {
  function tiered(warmBehaviour: 'now' | 'soon' = 'now') {
    const warm = new ScriptedStore(warmBehaviour);
    const cold = new ScriptedStore(held);
    const table = tableIn(warm, {
      cacheMs: 1000,
      absentCacheMs: 500,
      cold: { store: cold, warmMs: 60_000, absentMs: 30_000 },
    });
    const errors: unknown[] = [];
    const lookup = lookupOf({
      tables: [table],
      limits: { coldCallsInFlightMax: 2, coldKeysMax: 4, coldBatchKeysMax: 3 },
      onError: (error) => errors.push(error),
    });
    return { warm, cold, lookup, errors };
  }

  test('is asked behind the request, fills the warm store and the cache', async () => {
    const { warm, cold, lookup } = tiered();
    cold.values.set('u:1', stored('history', startMs - 9));
    const first = ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    expect(first.isSync).toBe(true);
    expect(told(first.ticket).map(({ outcome }) => outcome)).toEqual(['absent', 'absent']);
    expect(cold.reads.map(({ keys }) => keys)).toEqual([['u:1', 'u:2']]);
    cold.reads[0]!.answer();
    await settle();
    expect(warm.writes.map(({ key, ttlMs }) => [key.toString(), ttlMs])).toEqual([
      ['u:1', 60_000],
      ['u:2', 30_000],
    ]);
    const second = ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    expect(told(second.ticket)).toEqual([
      { value: 'history', outcome: 'found', source: 'process' },
      { value: undefined, outcome: 'absent', source: 'process' },
    ]);
    vi.setSystemTime(startMs + 2000);
    const third = ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    expect(told(third.ticket)).toEqual([
      { value: 'history', outcome: 'found', source: 'store' },
      { value: undefined, outcome: 'absent', source: 'store' },
    ]);
    expect(third.ticket.ageMs[0]).toBe(2009);
    expect(cold.reads.length).toBe(1);
    expect(lookup.status().tables[0]!.cold).toMatchObject({ asked: 2, found: 1, absent: 1, failed: 0 });
    expect(lookup.status().pending.coldKeys).toBe(0);
  });

  test('each key once at a time, and never more than allowed', async () => {
    const { cold, lookup } = tiered();
    const keys = ['1', '2', '3', '4', '5', '6'].map((key) => [0, key] as const);
    ask(lookup, keys);
    vi.setSystemTime(startMs + 600);
    ask(lookup, keys);
    expect(cold.reads.map((read) => read.keys)).toEqual([['u:1', 'u:2', 'u:3'], ['u:4']]);
    expect(lookup.status().tables[0]!.cold).toMatchObject({ asked: 4, dropped: 4 });
    for (const read of cold.reads) read.answer();
    await settle();
    expect(lookup.status().pending.coldKeys).toBe(0);
    vi.setSystemTime(startMs + 1200);
    ask(lookup, keys);
    expect(cold.reads.length).toBe(3);
    expect(cold.reads[2]!.keys).toEqual(['u:5', 'u:6']);
  });

  test('is not asked when the warm store failed', async () => {
    const { warm, cold, lookup } = tiered();
    warm.behaviour = (read) => read.fail(new StoreError('STORE_UNREACHABLE'));
    ask(lookup, [[0, '1']]);
    await settle();
    expect(cold.reads).toEqual([]);
  });

  test('heals a value that nobody can read, and is itself read with care', async () => {
    const { warm, cold, lookup } = tiered();
    warm.values.set('u:1', Buffer.from('garbage'));
    warm.values.set('u:2', Buffer.from('garbage'));
    cold.values.set('u:1', stored('whole'));
    cold.values.set('u:2', Buffer.from('more garbage'));
    ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    cold.reads[0]!.answer();
    await settle();
    vi.setSystemTime(startMs + 2000);
    const { ticket } = ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    expect(told(ticket).map(({ value, outcome }) => [value, outcome])).toEqual([
      ['whole', 'found'],
      [undefined, 'invalid'],
    ]);
    expect(warm.writes.map(({ key }) => key.toString())).toEqual(['u:1']);
    expect(lookup.status().tables[0]!.cold).toMatchObject({ found: 1, invalid: 1 });
  });

  test('values of another version are theirs who wrote them: nothing is written over them', async () => {
    const { warm, cold, lookup } = tiered();
    const newer = storedValue(Buffer.from('newer'), 4, startMs);
    const damaged = Buffer.from(newer);
    damaged[2] = 5;
    warm.values.set('u:1', newer);
    cold.values.set('u:1', newer);
    warm.values.set('u:2', newer);
    cold.values.set('u:2', stored('older', startMs));
    cold.values.set('u:3', newer);
    const keys = ['1', '2', '3'].map((key) => [0, key] as const);
    ask(lookup, keys);
    cold.reads[0]!.answer();
    await settle();
    expect(warm.writes).toEqual([]);
    // This thread knows by itself what it can read, and that there is nothing else.
    expect(told(ask(lookup, keys).ticket).map(({ value, outcome, source }) => [value, outcome, source])).toEqual([
      [undefined, 'absent', 'process'],
      ['older', 'found', 'process'],
      [undefined, 'absent', 'process'],
    ]);
    expect(lookup.status().tables[0]!.cold).toMatchObject({ asked: 3, found: 1, absent: 0, invalid: 2 });
    // Bits that flipped are no version: such a value heals.
    warm.values.set('u:4', damaged);
    cold.values.set('u:4', stored('whole'));
    ask(lookup, [[0, '4']]);
    cold.reads[1]!.answer();
    await settle();
    expect(warm.writes.map(({ key }) => key.toString())).toEqual(['u:4']);
  });

  test('that throws when asked where a key lies costs that key, and no request its time', async () => {
    const { warm, cold, lookup, errors } = tiered('soon');
    const whereIs = cold.shardOf.bind(cold);
    cold.shardOf = (key) => {
      if (key.toString() === 'u:1') throw new TypeError('no shards today');
      return whereIs(key);
    };
    cold.values.set('u:2', stored('history'));
    const first = ask(lookup, [
      [0, '1'],
      [0, '2'],
    ]);
    await settle();
    expect([first.isDone(), warm.reads.length]).toEqual([true, 1]);
    expect(cold.reads.map(({ keys }) => keys)).toEqual([['u:2']]);
    cold.reads[0]!.answer();
    await settle();
    expect(warm.writes.map(({ key }) => key.toString())).toEqual(['u:2']);
    expect(errors).toEqual([expect.objectContaining({ message: 'no shards today' })]);
    expect(lookup.status().tables[0]!.cold).toMatchObject({ asked: 2, found: 1, failed: 1 });
    expect(lookup.status().pending).toEqual({ lookups: 0, calls: 0, coldKeys: 0 });
  });

  test('an invalidation while it is asked makes its answer worthless', async () => {
    const { warm, cold, lookup } = tiered();
    cold.values.set('u:1', stored('old'));
    ask(lookup, [[0, '1']]);
    warm.values.set('u:1', stored('new'));
    lookup.invalidate(0, Buffer.from('1'));
    cold.reads[0]!.answer();
    await settle();
    expect(warm.writes).toEqual([]);
    expect(told(ask(lookup, [[0, '1']]).ticket)[0]).toEqual({ value: 'new', outcome: 'found', source: 'store' });
  });

  test('failing over and over it is left alone, and a warm store that takes nothing is counted', async () => {
    const { warm, cold, lookup, errors } = tiered();
    cold.behaviour = (read) => read.fail(new StoreError('STORE_TIMEOUT'));
    for (let round = 0; round < 8; round++) {
      vi.setSystemTime(startMs + round * 600);
      ask(lookup, [[0, '1']]);
      await settle();
    }
    expect(cold.reads.length).toBe(5);
    expect(lookup.status().tables[0]!.cold.failed).toBe(8);
    cold.behaviour = 'soon';
    warm.writeError = new StoreError('STORE_UNREACHABLE');
    vi.setSystemTime(startMs + 60_000);
    ask(lookup, [[0, '1']]);
    await settle();
    expect(lookup.status().tables[0]!.cold).toMatchObject({ absent: 1, warmWriteFailed: 1 });
    expect(errors).toEqual([]);
  });

  test('is for single values', () => {
    const store = new ScriptedStore('now');
    const table = tableIn(store, {
      format: { kind: 'records', recordBytes: 4 },
      cold: { store, warmMs: 1, absentMs: 1 },
    });
    expect(() => lookupOf({ tables: [table] })).toThrow(RangeError);
  });
});

describe('the end', () => {
  test('close hands over what is open and leaves nothing pending', async () => {
    const store = new ScriptedStore(held);
    const cold = new ScriptedStore(held);
    const tables = [
      tableIn(store),
      tableIn(new ScriptedStore('now'), { cold: { store: cold, warmMs: 1, absentMs: 1 } }),
    ];
    const lookup = lookupOf({ tables });
    const open = ask(lookup, [
      [0, '1'],
      [1, '2'],
    ]);
    const closed = lookup.close();
    expect(open.doneCount()).toBe(1);
    expect(told(open.ticket).map(({ outcome }) => outcome)).toEqual(['late', 'absent']);
    store.reads[0]!.fail(new StoreError('STORE_CLOSED'));
    cold.reads[0]!.fail(new StoreError('STORE_CLOSED'));
    await settle();
    await closed;
    expect(lookup.status().pending).toEqual({ lookups: 0, calls: 0, coldKeys: 0 });
    expect(vi.getTimerCount()).toBe(0);
    const after = ask(lookup, [[0, '1']]);
    expect(after.isSync).toBe(true);
    expect(told(after.ticket)[0]!.outcome).toBe('failed');
  });

  test('close does not wait for ever for a store that never settles', async () => {
    const store = new ScriptedStore(held);
    const lookup = lookupOf({ tables: [tableIn(store)] });
    ask(lookup, [[0, '1']]);
    const closed = lookup.close();
    await vi.advanceTimersByTimeAsync(3000);
    await closed;
    expect(vi.getTimerCount()).toBe(0);
  });
});
