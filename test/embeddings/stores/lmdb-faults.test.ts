import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  open as openFile,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LmdbStore } from '#embeddings/stores/lmdb-store.ts';
import type { LmdbAppendWork } from './lmdb-append-worker.ts';
import { until } from '../../support/until.ts';
import { expectFault, expectSame, valuesOf } from './store.contract.ts';

let folder: string;
let children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gavelin-lmdb-'));
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children = [];
  rmSync(folder, { recursive: true, force: true });
});

const hourMs = 3_600_000;
const open = (options: Partial<ConstructorParameters<typeof LmdbStore>[0]> = {}) =>
  new LmdbStore({
    path: folder,
    now: Date.now,
    ...options,
    limits: { readMsMax: 20_000, closeMsMax: 20_000, ...options.limits },
  });

function startChild(...args: string[]): { child: ChildProcess; lines: AsyncIterable<string> } {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'lmdb-child.ts'), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  return { child, lines: createInterface({ input: child.stdout }) };
}

test('what was written is there after a restart, with the time that was left to it', async () => {
  const [lasting, brief, list] = ['lasting', 'brief', 'list'].map((name) => Buffer.from(name));
  let nowMs = 1_000_000;
  const now = () => nowMs;
  // The sweep goes by the real clock, which is far ahead of this one.
  const first = open({ now, sweeps: false });
  await first.write([
    { key: lasting!, value: Buffer.from('a') },
    { key: brief!, value: Buffer.from('b'), ttlMs: 1000 },
  ]);
  await first.append(list!, Buffer.from('one'), 5, hourMs);
  await first.close();
  nowMs += 999;
  const second = open({ now, sweeps: false });
  await second.append(list!, Buffer.from('two'), 5, hourMs);
  const keys = [lasting!, brief!, list!];
  expectSame(await valuesOf(second, keys), [Buffer.from('a'), Buffer.from('b'), Buffer.from('onetwo')]);
  nowMs += 1;
  expectSame(await valuesOf(second, keys), [Buffer.from('a'), undefined, Buffer.from('onetwo')]);
  await second.close();
});

test(
  'killed in the middle of writing, it has all that it had taken, and each value whole',
  { timeout: 60_000 },
  async () => {
    for (let round = 0; round < 3; round++) {
      const { child, lines } = startChild('write', folder);
      let taken = -1;
      for await (const line of lines) {
        taken = Number(line);
        if (taken >= 150 + round * 40) break;
      }
      child.kill('SIGKILL');
      await once(child, 'exit');
      const store = open();
      await store.ready();
      const keys = Array.from({ length: taken + 1 }, (_, number) => Buffer.from(`n${number}`));
      expectSame(
        await valuesOf(store, keys),
        keys.map((_, number) => Buffer.alloc(200, String(number))),
      );
      const [list] = await valuesOf(store, [Buffer.from('all')]);
      const numbers = Array.from({ length: list!.length / 8 }, (_, index) =>
        Number(list!.toString('latin1', index * 8, index * 8 + 8)),
      );
      const own = numbers.slice(numbers.lastIndexOf(0));
      expect(own.slice(0, taken + 1)).toEqual(keys.map((_, number) => number));
      await store.close();
    }
  },
);

test(
  'threads that append to the same lists lose nothing, and see at once what each wrote',
  { timeout: 60_000 },
  async () => {
    const [threads, rounds, lists] = [3, 150, 4];
    const store = open();
    await store.ready();
    const outcomes = await Promise.all(
      Array.from({ length: threads }, async (_, thread) => {
        const work: LmdbAppendWork = { path: folder, thread, rounds, lists };
        const worker = new Worker(new URL('lmdb-append-worker.ts', import.meta.url), { workerData: work });
        // Both at once: a worker may be gone in the same turn as its last word.
        const gone = once(worker, 'exit');
        const [answer] = (await once(worker, 'message')) as [{ unseen: number }];
        await gone;
        return answer.unseen;
      }),
    );
    expect(outcomes).toEqual([0, 0, 0]);
    const values = await valuesOf(
      store,
      Array.from({ length: lists }, (_, index) => Buffer.from(`list ${index}`)),
    );
    const records = values.flatMap((list) => list!.toString().split(';').slice(0, -1));
    expect(records.length).toBe(threads * rounds);
    expect(new Set(records).size).toBe(threads * rounds);
    await store.close();
  },
);

test('a thread that has a value in memory sees what another writes, once that has resolved', async () => {
  const [reader, writer] = [open(), open({ sweeps: false })];
  const key = Buffer.from('shared');
  for (let round = 0; round < 100; round++) {
    const value = Buffer.from(`round ${round}`);
    await writer.write([{ key, value }]);
    expectSame(await valuesOf(reader, [key]), [value]);
    // In memory now, so it comes without a promise.
    expectSame(reader.read(0, 0, [key]) as Buffer[], [value]);
  }
  await writer.remove([key]);
  expectSame(await valuesOf(reader, [key]), [undefined]);
  expect(reader.read(0, 0, [key])).toEqual([undefined]);
  await Promise.all([reader.close(), writer.close()]);
});

test('what another process wrote is seen behind an answer from memory, which is never waited for', async () => {
  const store = open({ limits: { memoryMsMax: 0 } });
  const key = Buffer.from('n3');
  expectSame(await valuesOf(store, [key]), [undefined]);
  const { child, lines } = startChild('write', folder);
  for await (const line of lines) if (line === '3') break;
  child.kill('SIGKILL');
  await once(child, 'exit');
  // Remembered as absent, so the answer comes at once; meanwhile it is looked up again.
  expect(store.read(0, 0, [key])).toEqual([undefined]);
  await until(() => (store.read(0, 0, [key]) as (Buffer | undefined)[])[0] !== undefined, 'the value is seen');
  expectSame(store.read(0, 0, [key]) as Buffer[], [Buffer.alloc(200, '3')]);
  await store.close();
});

test('another process that holds the lock delays writes and nothing else', { timeout: 60_000 }, async () => {
  const store = open({ limits: { memoryMsMax: hourMs } });
  const keys = Array.from({ length: 50 }, (_, index) => Buffer.from(`key ${index}`));
  await store.write(keys.map((key) => ({ key, value: key })));
  const { child, lines } = startChild('hold', folder);
  const told = lines[Symbol.asyncIterator]();
  expect((await told.next()).value).toBe('held');
  let written = false;
  const late = Buffer.from('late');
  const write = store.write([{ key: late, value: late }]).then(() => (written = true));
  // A blocked loop would never come to where the lock is let go.
  let turns = 0;
  while (turns < 2000) {
    turns++;
    const value = keys[turns % 50]!;
    expectSame(await valuesOf(store, [value]), [value]);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(written).toBe(false);
  expectSame(await valuesOf(store, [late]), [undefined]);
  child.stdin!.end('x');
  await write;
  expectSame(await valuesOf(store, [late]), [late]);
  await store.close();
});

test(
  'a write that waits too long is given up, and nothing is pending after the store is closed',
  { timeout: 60_000 },
  async () => {
    const store = open({ limits: { writeMsMax: 200, writeCountMax: 3 } });
    await store.ready();
    const { child, lines } = startChild('hold', folder);
    await lines[Symbol.asyncIterator]().next();
    const key = Buffer.from('k');
    const settled = await Promise.allSettled(
      [1, 2, 3, 4, 5].map((number) => store.write([{ key, value: Buffer.from([number]) }])),
    );
    const codes = settled.map((each) =>
      each.status === 'rejected' ? (each.reason as { code: string }).code : 'taken',
    );
    expect(codes).toEqual(['STORE_TIMEOUT', 'STORE_TIMEOUT', 'STORE_TIMEOUT', 'STORE_BUSY', 'STORE_BUSY']);
    child.stdin!.end('x');
    await store.close();
  },
);

test('what has expired is taken out by itself', { timeout: 60_000 }, async () => {
  const store = open();
  const keys = Array.from({ length: 2500 }, (_, index) => Buffer.from(`brief ${index}`));
  await store.write(keys.map((key) => ({ key, value: Buffer.alloc(500), ttlMs: 50 })));
  await store.write([{ key: Buffer.from('lasting'), value: Buffer.from('x') }]);
  const { LmdbFolder } = await import('#embeddings/stores/lmdb-folder.ts');
  const look = new LmdbFolder(folder);
  await until(() => {
    look.refresh();
    return look.database.getKeysCount() === 1;
  }, 'only what lasts is left');
  await look.close();
  await store.close();
});

test(
  'a store that has reached its limit refuses, goes on reading, and takes again what room is made for',
  { timeout: 60_000 },
  async () => {
    const store = open({ bytesMax: 1 << 20 });
    const entry = (number: number) => ({
      key: Buffer.from(`n${number}`),
      value: Buffer.alloc(4000, 'v'),
      ttlMs: hourMs,
    });
    let number = 0;
    await expectFault(async () => {
      for (; number < 2000; number++) await store.write([entry(number)]);
    }, 'STORE_FAULTY');
    expect(number).toBeGreaterThan(100);
    await expect(store.write([entry(number)])).rejects.toThrow('is full');
    expectSame(await valuesOf(store, [entry(0).key]), [entry(0).value]);
    await store.remove(Array.from({ length: 60 }, (_, index) => entry(index).key));
    await store.write([entry(number)]);
    expect(statSync(join(folder, 'data.mdb')).size).toBeLessThan(3 << 20);
    await store.close();
  },
);

test('a full store removes also what comes together with writes that it refuses', { timeout: 60_000 }, async () => {
  const store = open({ bytesMax: 1 << 20, memoryBytesMax: 0 });
  const entry = (name: string) => ({ key: Buffer.from(name), value: Buffer.alloc(4000, 'v') });
  const names = Array.from({ length: 400 }, (_, index) => `n${index}`);
  await store.write(names.map(entry));
  const { child, lines } = startChild('hold', folder);
  await lines[Symbol.asyncIterator]().next();
  // The first waits for the lock alone; the others gather behind it and share a transaction.
  const first = store.remove([Buffer.from('n0')]);
  const outcomes = Promise.allSettled([
    store.write([entry('new')]),
    store.remove([Buffer.from('n1'), Buffer.from('n2')]),
    store.append(Buffer.from('list'), Buffer.from('one'), 5, hourMs),
    store.remove([Buffer.from('n3')]),
  ]);
  child.stdin!.end('x');
  await first;
  expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected', 'fulfilled']);
  const keys = ['n1', 'n2', 'n3', 'n4', 'new', 'list'].map((name) => Buffer.from(name));
  const values = await valuesOf(store, keys);
  expect(values.map((value) => value !== undefined)).toEqual([false, false, false, true, false, false]);
  await store.close();
});

test.skipIf(process.platform !== 'linux')(
  'a full disk is told to whoever writes; what was taken is still read',
  { timeout: 60_000 },
  async () => {
    const child = spawn(
      'bash',
      [
        '-c',
        `trap '' XFSZ; ulimit -f 4096; exec "$0" "$1" fill "$2"`,
        process.execPath,
        join(import.meta.dirname, 'lmdb-child.ts'),
        folder,
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    children.push(child);
    let line = '';
    for await (const each of createInterface({ input: child.stdout })) line = each;
    const outcome = JSON.parse(line) as { fault: string; taken: number; kept: number[]; refused: null };
    expect(outcome).toMatchObject({ fault: 'STORE_FAULTY', kept: [2000, 2000], refused: null });
    expect(outcome.taken).toBeGreaterThan(100);
    const again = open();
    expectSame(await valuesOf(again, [Buffer.from('n0')]), [Buffer.alloc(2000, 'x')]);
    await again.close();
  },
);

test('a file that was cut short or is something else is refused by name, and replaced by whoever moves it away', async () => {
  const first = open();
  await first.write(
    Array.from({ length: 500 }, (_, index) => ({ key: Buffer.from(`k${index}`), value: Buffer.alloc(1000) })),
  );
  await first.close();
  const file = join(folder, 'data.mdb');
  const whole = readFileSync(file);
  truncateSync(file, whole.length - 16_384);
  const cut = open();
  await expectFault(() => cut.ready(), 'STORE_FAULTY');
  await expect(cut.ready()).rejects.toThrow('cut short');
  await expectFault(() => cut.read(0, 0, [Buffer.from('k1')]), 'STORE_FAULTY');
  await expectFault(() => cut.write([]), 'STORE_FAULTY');
  writeFileSync(file, Buffer.alloc(100_000, 'not a database'));
  await expect(cut.ready()).rejects.toThrow('no database');
  rmSync(file);
  await cut.ready();
  await cut.write([{ key: Buffer.from('k'), value: Buffer.from('v') }]);
  expectSame(await valuesOf(cut, [Buffer.from('k')]), [Buffer.from('v')]);
  await cut.close();
});

test('damaged pages are found before anything is read from them', { timeout: 60_000 }, async () => {
  const first = open();
  const keys = Array.from({ length: 2000 }, (_, index) => Buffer.from(`k${index}`));
  await first.write(keys.map((key) => ({ key, value: Buffer.alloc(300, 'v') })));
  await first.close();
  const file = join(folder, 'data.mdb');
  const whole = readFileSync(file);
  // As after a crash: not closed in order.
  rmSync(join(folder, 'closed'));
  for (const page of [4, 24, 44]) {
    const damaged = Buffer.from(whole);
    // Twenty, since one alone may be free.
    for (let at = page * 8192; at < (page + 20) * 8192; at++) damaged[at] = (at * 31) & 255;
    writeFileSync(file, damaged);
    const store = open();
    await expectFault(() => store.ready(), 'STORE_FAULTY');
    await expect(store.ready()).rejects.toThrow(file);
    await store.close();
  }
  writeFileSync(file, whole);
  const store = open();
  await store.ready();
  expectSame(
    await valuesOf(store, keys),
    keys.map(() => Buffer.alloc(300, 'v')),
  );
  await store.close();
});

test('what was walked through a moment ago is not walked through by each thread', { timeout: 60_000 }, async () => {
  const first = open();
  const keys = Array.from({ length: 2000 }, (_, index) => Buffer.from(`k${index}`));
  await first.write(keys.map((key) => ({ key, value: Buffer.alloc(300, 'v') })));
  await first.close();
  rmSync(join(folder, 'closed'));
  const file = join(folder, 'data.mdb');
  const damaged = readFileSync(file);
  damaged.fill(0x5a, 44 * 8192, 64 * 8192);
  writeFileSync(file, damaged);
  // Only a walk finds what is wrong with the pages.
  const unwalked = open({ opening: 'unwalked', sweeps: false });
  await unwalked.ready();
  await unwalked.close();
  rmSync(join(folder, 'closed'));
  const walked = open();
  await expectFault(() => walked.ready(), 'STORE_FAULTY');
  await walked.close();
  truncateSync(file, damaged.length - 16_384);
  const cut = open({ opening: 'unwalked' });
  await expectFault(() => cut.ready(), 'STORE_FAULTY');
  await cut.close();
});

test('a folder that could not be opened is opened by itself once it can be', { timeout: 60_000 }, async () => {
  const file = join(folder, 'a-file');
  writeFileSync(file, 'x');
  const path = join(file, 'below');
  const store = open({ path, limits: { reopenMs: 50 } });
  const entry = { key: Buffer.from('k'), value: Buffer.from('v') };
  await expectFault(() => store.read(0, 0, [entry.key]), 'STORE_UNREACHABLE');
  await expectFault(() => store.write([entry]), 'STORE_UNREACHABLE');
  rmSync(file);
  await until(async () => (await codeOf(() => store.write([entry]))) === undefined, 'it takes a write');
  expectSame(await valuesOf(store, [entry.key]), [entry.value]);
  await store.close();
});

test('opened behind, a damaged file is told and its replacement found', { timeout: 60_000 }, async () => {
  const first = open();
  const entry = { key: Buffer.from('k'), value: Buffer.alloc(300, 'v') };
  await first.write([entry]);
  await first.close();
  const file = join(folder, 'data.mdb');
  const whole = readFileSync(file);
  truncateSync(file, 8192 * 2);
  const store = open({ opening: 'behind', limits: { reopenMs: 50 } });
  expect(await codeOf(() => store.read(0, 0, [entry.key]))).toBe('STORE_UNREACHABLE');
  await until(async () => (await codeOf(() => store.read(0, 0, [entry.key]))) === 'STORE_FAULTY', 'the damage is told');
  writeFileSync(file, whole);
  await until(async () => (await codeOf(() => store.read(0, 0, [entry.key]))) === undefined, 'it is read again');
  expectSame(await valuesOf(store, [entry.key]), [entry.value]);
  await store.close();
  // Closed at once, it leaves no process behind that walks.
  const brief = open({ opening: 'behind' });
  await brief.close();
  await expectFault(() => brief.read(0, 0, [entry.key]), 'STORE_CLOSED');
});

async function codeOf(act: () => unknown): Promise<string | undefined> {
  try {
    await act();
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

test('a folder that cannot be used is a clear error', async () => {
  const file = join(folder, 'a-file');
  writeFileSync(file, 'x');
  const store = open({ path: join(file, 'below') });
  await expectFault(() => store.ready(), 'STORE_UNREACHABLE');
  await expect(store.ready()).rejects.toThrow(file);
  await store.close();
  mkdirSync(join(folder, 'deep'), { recursive: true });
  const deep = open({ path: join(folder, 'deep', 'er') });
  await deep.ready();
  await deep.close();
});

test.skipIf(process.platform === 'win32')(
  'a disk that hangs: memory goes on answering, other reads are given up or refused, and all is well again afterwards',
  { timeout: 60_000 },
  async () => {
    const store = open({ limits: { readMsMax: 150, readCountMax: 4, memoryMsMax: hourMs } });
    const [hot, ...cold] = Array.from({ length: 6 }, (_, index) => Buffer.from(`k${index}`));
    await store.write([hot!, ...cold].map((key) => ({ key, value: key })));
    expectSame(await valuesOf(store, [hot!]), [hot]);
    const release = holdFileThreads();
    const reads = cold.map((key) => valuesOf(store, [key]));
    expectSame(store.read(0, 0, [hot!]) as Buffer[], [hot]);
    const codes = (await Promise.allSettled(reads)).map((each) =>
      each.status === 'rejected' ? (each.reason as { code: string }).code : 'answered',
    );
    expect(codes).toEqual(['STORE_TIMEOUT', 'STORE_TIMEOUT', 'STORE_TIMEOUT', 'STORE_TIMEOUT', 'STORE_BUSY']);
    expectSame(store.read(0, 0, [hot!]) as Buffer[], [hot]);
    await release();
    await until(async () => {
      const outcome = await Promise.allSettled([valuesOf(store, cold)]);
      return outcome[0].status === 'fulfilled' && outcome[0].value.every((value, index) => value?.equals(cold[index]!));
    }, 'all is read again');
    await store.close();
  },
);

test.skipIf(process.platform === 'win32')(
  'a read that took too long harms none that shares its prefetch, though its caller uses his array of keys again',
  { timeout: 60_000 },
  async () => {
    const store = open({ memoryBytesMax: 0, limits: { readMsMax: 3000 } });
    const [first, overdue, late] = ['first', 'overdue', 'late'].map((name) => Buffer.from(name));
    await store.write([first!, overdue!, late!].map((key) => ({ key, value: key })));
    // Between the two the first prefetch, behind them the one of all that came meanwhile.
    const release = holdFileThreads('one');
    const alone = valuesOf(store, [first!]);
    const releaseAgain = holdFileThreads('two');
    const keys = [overdue!];
    const givenUp = Promise.resolve(store.read(0, 0, keys)).catch((error: { code: string }) => {
      keys.length = 0;
      return error.code;
    });
    await pause(2000);
    const together = valuesOf(store, [late!]);
    await release();
    expectSame(await alone, [first]);
    expect(await givenUp).toBe('STORE_TIMEOUT');
    await releaseAgain();
    expectSame(await together, [late]);
    await store.close();
  },
);

test(
  'closing waits for no lock that another process holds: what is under way is rejected',
  { timeout: 60_000 },
  async () => {
    const store = open({ limits: { closeMsMax: 300 } });
    const key = Buffer.from('k');
    await store.write([{ key, value: Buffer.from('before') }]);
    const { child, lines } = startChild('hold', folder);
    const told = lines[Symbol.asyncIterator]();
    await told.next();
    const write = store.write([{ key, value: Buffer.from('late') }]).catch((error: { code: string }) => error.code);
    const entries = store.scan(key, 10)[Symbol.asyncIterator]();
    const scan = entries.next().catch((error: { code: string }) => error.code);
    await store.close();
    expect(await Promise.all([write, scan])).toEqual(['STORE_CLOSED', 'STORE_CLOSED']);
    child.stdin!.end('x');
    // The writing thread ends by itself now, and leaves the folder as it should be.
    await until(() => existsSync(join(folder, 'closed')), 'the folder is closed in order');
    const again = open();
    await again.ready();
    await again.close();
  },
);

test.skipIf(process.platform === 'win32')('closing waits for no disk that hangs', { timeout: 60_000 }, async () => {
  const store = open({ memoryBytesMax: 0, limits: { closeMsMax: 300 } });
  await store.ready();
  const release = holdFileThreads();
  const read = Promise.resolve(store.read(0, 0, [Buffer.from('k')])).catch((error: { code: string }) => error.code);
  await store.close();
  expect(await read).toBe('STORE_CLOSED');
  await release();
  await until(() => existsSync(join(folder, 'closed')), 'the folder is closed in order');
});

/** Every thread that waits for files in this process now waits: each opens a pipe that nobody writes into. */
function holdFileThreads(name = 'pipe'): () => Promise<void> {
  const pipe = join(folder, name);
  execFileSync('mkfifo', [pipe]);
  const openings = Array.from({ length: 16 }, () => promisify(openFile)(pipe, 'r'));
  return async () => {
    const other = openSync(pipe, 'r+');
    for (const opened of await Promise.all(openings)) closeSync(opened);
    closeSync(other);
  };
}
