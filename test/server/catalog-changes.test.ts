import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { CatalogChanges } from '#server/catalog-changes.ts';
import { CatalogJournal, type CatalogJournalLimits, type JournaledChange } from '#server/catalog-journal.ts';
import { catalogOf } from '../support/small-catalog.ts';

const item = (id: string) => ({ id, priceType: 'CPM' as const, bidNanos: 1_000_000, creative: {} });
const addition = (id: string): JournaledChange => ({ kind: 'change', body: catalogOf([item(id)]) });
const patch = (id: string, body: unknown): JournaledChange => ({ kind: 'patch', line_item: id, body });

let folder: string;
let writer: CatalogWriter;
let journal: CatalogJournal;
let syncs: number;
let noted: number[];
let added: number[][];
/** What `addAds` waits for. */
let vectors: () => Promise<void>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gavelin-changes-'));
});
afterEach(() => {
  journal.close();
  rmSync(folder, { recursive: true });
});

function start(limits?: CatalogJournalLimits): CatalogChanges {
  const read = readCatalogText(JSON.stringify(catalogOf([item('l0'), item('l1')])));
  if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
  writer = buildCatalog(read.spec);
  journal = CatalogJournal.open(join(folder, 'changes.jsonl'), 'file', limits);
  syncs = 0;
  noted = [];
  added = [];
  vectors = () => Promise.resolve();
  return new CatalogChanges({
    journal: {
      append: (changes) => {
        syncs++;
        journal.append(changes);
      },
      undoFrom: (index) => journal.undoFrom(index),
    },
    writer,
    noteLineItems: (lineItems) => noted.push(...lineItems),
    noteRows: () => {},
    addAds: (rows) => {
      added.push([...rows]);
      return vectors();
    },
  });
}

function journaled(): readonly JournaledChange[] {
  const copy = CatalogJournal.open(join(folder, 'changes.jsonl'), 'file');
  copy.close();
  return copy.changes;
}

test('changes that come together are synced once, made in order and put on sale together', async () => {
  const changes = start();
  const wanted = [
    ...Array.from({ length: 50 }, (_, index) => addition(`n${index}`)),
    // What an earlier one of the same batch brought can be changed by a later one.
    patch('n7', { bid_nanos: 7 }),
    patch('l0', { status: 'paused' }),
  ];
  const results = await Promise.all(wanted.map((change) => changes.make(change)));
  expect(results.map(({ kind }) => kind)).toEqual(wanted.map(() => 'applied'));
  expect(syncs).toBe(1);
  expect(journaled()).toEqual(wanted);
  expect(writer.entryOfLineItem('n7')).toMatchObject({ bid_nanos: 7 });
  expect(new Set(noted).size).toBe(51);
  expect(added.map((rows) => rows.length)).toEqual([50]);
  for (const row of added.flat()) expect(writer.catalog.isLive(row)).toBe(true);
});

test('one that is refused leaves the journal and nobody else', async () => {
  const changes = start();
  const wanted = [patch('l0', { bid_nanos: 5 }), patch('nobody', { bid_nanos: 6 }), patch('l1', { bid_nanos: 7 })];
  const results = await Promise.all(wanted.map((change) => changes.make(change)));
  expect(results.map(({ kind }) => kind)).toEqual(['applied', 'problems', 'applied']);
  expect(journaled()).toEqual([wanted[0], wanted[2]]);
  expect(writer.entryOfLineItem('l1')).toMatchObject({ bid_nanos: 7 });
  const last = await changes.make(patch('nobody', { bid_nanos: 8 }));
  expect(last.kind).toBe('problems');
  expect(journaled()).toEqual([wanted[0], wanted[2]]);
});

test('of a batch that the journal cannot take whole, it takes what fits; the rest has changed nothing', async () => {
  const changes = start({ bytesMax: 2000, foldBytesMin: 2000 });
  const wanted = ['a', 'b', 'c', 'd'].map((id) => addition(id));
  const results = await Promise.allSettled(wanted.map((change) => changes.make(change)));
  const kept = results.filter(({ status }) => status === 'fulfilled').length;
  expect(kept).toBeGreaterThan(0);
  expect(kept).toBeLessThan(4);
  expect(results.at(-1)).toMatchObject({ reason: { code: 'CATALOG_JOURNAL_FULL' } });
  expect(journaled()).toEqual(wanted.slice(0, kept));
  expect(writer.entryOfLineItem('d')).toBeUndefined();
});

test('an ad is on sale once its vectors are there, not before; what needs none does not wait for it', async () => {
  const changes = start();
  const gate = Promise.withResolvers<void>();
  vectors = () => gate.promise;
  const first = changes.make(addition('n0'));
  const paused = await changes.make(patch('l0', { status: 'paused' }));
  expect(paused.kind).toBe('applied');
  await sleep(5);
  const row = added[0]![0]!;
  expect(writer.catalog.isLive(row)).toBe(false);
  gate.resolve();
  expect((await first).kind).toBe('applied');
  expect(writer.catalog.isLive(row)).toBe(true);
});

test('vectors that fail are told to whoever waits for them, and to nobody after', async () => {
  const changes = start();
  vectors = () => Promise.reject(new Error('no vectors'));
  await expect(changes.make(addition('n0'))).rejects.toThrow('no vectors');
  vectors = () => Promise.resolve();
  expect((await changes.make(addition('n1'))).kind).toBe('applied');
  expect(writer.rowOfAd(writer.catalog.adId(added[1]![0]!))).toBe(added[1]![0]!);
});
