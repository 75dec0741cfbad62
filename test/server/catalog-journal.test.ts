import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import {
  applyChange,
  CatalogJournal,
  catalogJournalLimits,
  foldChanges,
  hashOfCatalog,
  type JournaledChange,
  replayChanges,
} from '#server/catalog-journal.ts';
import { catalogOf } from '../support/small-catalog.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gavelin-journal-'));
  path = join(folder, 'catalog-changes.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

const patch = (lineItem: string, body: unknown): JournaledChange => ({ kind: 'patch', line_item: lineItem, body });
const paused = patch('a', { status: 'paused' });
const repriced = patch('b', { bid_nanos: 7 });

function changesIn(catalog = 'file-1'): readonly JournaledChange[] {
  const journal = CatalogJournal.open(path, catalog);
  journal.close();
  return journal.changes;
}

test('what was written down is there again, in order; what was taken back is not', () => {
  const journal = CatalogJournal.open(path, 'file-1');
  journal.append([paused]);
  journal.append([patch('nobody', { status: 'active', note: 'a longer line than the next' })]);
  journal.undoFrom(0);
  journal.append([repriced]);
  journal.close();
  expect(changesIn()).toEqual([paused, repriced]);
  expect(changesIn()).toEqual([paused, repriced]);
});

test('a line that was never finished was never answered: it is cut off, and the next one follows the last whole one', () => {
  const journal = CatalogJournal.open(path, 'file-1');
  journal.append([paused]);
  journal.close();
  appendFileSync(path, '{"kind":"patch","line_it');
  const again = CatalogJournal.open(path, 'file-1');
  expect(again.changes).toEqual([paused]);
  again.append([repriced]);
  again.close();
  expect(changesIn()).toEqual([paused, repriced]);
});

test('a whole line that cannot be read stops the start and names its place', () => {
  const journal = CatalogJournal.open(path, 'file-1');
  journal.append([paused]);
  journal.close();
  writeFileSync(path, readFileSync(path, 'utf8').replace('"paused"', '"paus'));
  expect(() => CatalogJournal.open(path, 'file-1')).toThrow(
    expect.objectContaining({
      code: 'CATALOG_JOURNAL_DAMAGED',
      message: expect.stringContaining(`${path}:2`) as unknown,
    }),
  );
});

test('beside another catalog file it begins anew, and the old one is kept aside', () => {
  const journal = CatalogJournal.open(path, 'file-1');
  journal.append([paused]);
  journal.close();
  const other = CatalogJournal.open(path, 'file-2');
  expect([other.changes, other.forgottenCount]).toEqual([[], 1]);
  other.close();
  expect(readFileSync(`${path}.before`, 'utf8')).toContain('"paused"');
  expect(changesIn('file-2')).toEqual([]);
});

test('a catalog file is known by its content', () => {
  const [one, same, other] = ['one', 'same', 'other'].map((name) => join(folder, name));
  writeFileSync(one!, 'catalog');
  writeFileSync(same!, 'catalog');
  writeFileSync(other!, 'catalog ');
  expect(hashOfCatalog(same!)).toBe(hashOfCatalog(one!));
  expect(hashOfCatalog(other!)).not.toBe(hashOfCatalog(one!));
});

test('any number of versions of a creative stays as small as one', () => {
  const limits = { bytesMax: 20_000, foldBytesMin: 2000 };
  const journal = CatalogJournal.open(path, 'file-1', limits);
  const version = (round: number): JournaledChange => ({
    kind: 'change',
    body: {
      creatives: [
        { id: 'a', title: `${round}` },
        { id: `b${round % 3}`, title: `${round}` },
      ],
    },
  });
  for (let round = 0; round < 3000; round += 10)
    journal.append(Array.from({ length: 10 }, (_, index) => version(round + index)));
  journal.close();
  expect(statSync(path).size).toBeLessThan(limits.foldBytesMin * 2);
  expect(foldChanges(changesIn()).map(({ body }) => body)).toEqual([
    {
      creatives: [
        { id: 'a', title: '2999' },
        { id: 'b0', title: '2997' },
      ],
    },
    { creatives: [{ id: 'b1', title: '2998' }] },
    { creatives: [{ id: 'b2', title: '2999' }] },
  ]);
});

test('any number of patches of a few line items stays small; what cannot be folded is refused when full', () => {
  const limits = { bytesMax: 20_000, foldBytesMin: 2000 };
  const journal = CatalogJournal.open(path, 'file-1', limits);
  for (let round = 0; round < 2000; round++) journal.append([patch(`li${round % 5}`, { bid_nanos: round })]);
  expect(statSync(path).size).toBeLessThan(limits.foldBytesMin * 2);
  const large: JournaledChange = { kind: 'change', body: { remove_line_items: ['x'.repeat(9000)] } };
  journal.append([large]);
  expect(() => {
    for (let round = 0; round < 3; round++) journal.append([large]);
  }).toThrow(expect.objectContaining({ code: 'CATALOG_JOURNAL_FULL' }));
  journal.close();
  const kept = changesIn();
  expect(kept.slice(0, 5).map((each) => each.body)).toEqual(
    [1995, 1996, 1997, 1998, 1999].map((bid) => ({ bid_nanos: bid })),
  );
  expect(kept.at(-1)).toEqual(large);
  expect(existsSync(`${path}.making`)).toBe(false);
  expect(catalogJournalLimits.bytesMax).toBeGreaterThan(32 << 20);
});

const lineItems = ['l0', 'l1', 'l2'];
const file = catalogOf(lineItems.map((id) => ({ id, priceType: 'CPM' as const, bidNanos: 1_000_000, creative: {} })));
function newWriter(): CatalogWriter {
  const read = readCatalogText(JSON.stringify(file));
  if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
  return buildCatalog(read.spec);
}
const stateOf = (writer: CatalogWriter): unknown =>
  [...lineItems, 'new'].map((id) => [
    writer.entryOfLineItem(id),
    writer.rowsOfLineItem(writer.lineItemOf(id)).map((row) => writer.catalog.card(row)),
  ]);

const anyPatch = fc
  .record(
    {
      status: fc.constantFrom('active', 'paused'),
      bid_nanos: fc.integer({ min: 1, max: 10_000_000 }),
      budget_nanos: fc.integer({ min: 1, max: 1_000_000_000 }),
      targeting: fc.constantFrom(null, { countries: ['USA'] }, { countries: ['DEU', 'FRA'] }),
    },
    { requiredKeys: [] },
  )
  .filter((terms) => Object.keys(terms).length > 0);
const anyChange: fc.Arbitrary<JournaledChange> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(fc.constantFrom(...lineItems, 'new'), anyPatch).map(([id, body]) => patch(id, body)),
  },
  fc.constantFrom(...lineItems, 'new').map((id) => ({ kind: 'change', body: { remove_line_items: [id] } }) as const),
  fc.constantFrom(...lineItems, 'new').map((id) => {
    const { line_items: entries } = file as unknown as { line_items: { id: string }[] };
    return { kind: 'change', body: { line_items: [{ ...entries[0], id }] } } as const;
  }),
  // A creative and an advertiser in other words, a creative that is new, and a line item that shows both.
  fc
    .tuple(fc.constantFrom('cr-l0', 'cr-l1', 'cr-x'), fc.constantFrom('one', 'two', 'three'), fc.boolean())
    .map(([id, word, isShown]) => {
      const { line_items, creatives, advertisers } = file as unknown as Record<string, { id: string }[]>;
      return {
        kind: 'change',
        body: {
          creatives: [{ ...creatives![0], id, title: `In ${word}` }],
          ...(word === 'two' ? { advertisers: [{ ...advertisers![0], name: `Named ${id}` }] } : {}),
          ...(isShown ? { line_items: [{ ...line_items![0], id: 'new', creative_ids: ['cr-l0', id] }] } : {}),
        },
      } as const;
    }),
);

test('replaying what was accepted, folded or not, leads to the same line items', () => {
  fc.assert(
    fc.property(fc.array(anyChange, { maxLength: 40 }), (changes) => {
      const live = newWriter();
      const accepted = changes.filter((change) => {
        const result = applyChange(live, change);
        if (result.kind === 'applied') live.publish(result.addedRows);
        live.reclaim(0, 0);
        return result.kind === 'applied';
      });
      for (const journaled of [accepted, foldChanges(accepted)]) {
        const restarted = newWriter();
        expect(replayChanges(restarted, journaled)).toEqual([]);
        expect(stateOf(restarted)).toEqual(stateOf(live));
      }
    }),
  );
});

test('a change that no longer applies is named and changes nothing; those around it are made', () => {
  const writer = newWriter();
  const gone = patch('gone', { status: 'paused' });
  const skipped = replayChanges(writer, [patch('l0', { status: 'paused' }), gone, patch('l1', { bid_nanos: 5 })]);
  expect(skipped).toEqual([{ change: gone, problems: [expect.objectContaining({ code: 'UNKNOWN_REFERENCE' })] }]);
  expect(writer.entryOfLineItem('l0')).toMatchObject({ status: 'paused' });
  expect(writer.entryOfLineItem('l1')).toMatchObject({ bid_nanos: 5 });
});
