import { describe, expect, test } from 'vitest';
import { buildCatalog } from '#auction/catalog-build.ts';
import { readCatalogText } from '#auction/catalog-file.ts';
import { lineItemIdOf } from '#auction/catalog-spec.ts';
import { SharedIdIndex } from '#embeddings/shared-id-index.ts';
import { PodMarket } from '#server/pod-market.ts';
import { NoticeSettlement } from '#server/notice-settlement.ts';
import { NoticeSigner } from '#server/notice-tokens.ts';
import { Telemetry } from '#server/telemetry.ts';
import type { RecoveredLog } from '#training-bridge/event-log-recovery.ts';
import type { NoticeRecord } from '#training-bridge/event-records.ts';
import { catalogOf } from '../support/small-catalog.ts';
import { claimsOf } from './notice-fixtures.ts';

const dayMs = 86_400_000;
const midnightMs = Date.UTC(2026, 4, 18);
const budget = { budget_nanos: 10_000_000 };
const item = (id: string) => ({ id, priceType: 'CPM' as const, bidNanos: 10_000_000, creative: {}, more: budget });

function marketOf(catalog: object, nowMs: number): PodMarket {
  const read = readCatalogText(JSON.stringify(catalog));
  if (read.kind !== 'catalog') throw new Error(JSON.stringify(read.problems));
  return new PodMarket(buildCatalog(read.spec), { nowMs, generationNonce: 1, seenNoticesMax: 65_536 });
}

/** What a log says that charged these line items today. */
function logOf(charges: Readonly<Record<string, bigint>>): RecoveredLog {
  const sums = Object.entries(charges).map(([id, chargedNanos]) => [
    id,
    { chargedNanos, overDeliveredNanos: 0n, costNanos: 0n, chargeCount: 1 },
  ]);
  return {
    charges: new Map(sums as [string, never][]),
    noticeIdCount: 0,
    forEachNoticeId: () => {},
    viewCount: 0,
    forEachView: () => {},
  } as unknown as RecoveredLog;
}

const spent = (market: PodMarket, id: string): bigint =>
  market.ledger.snapshot(market.writer.lineItemOf(id)).spentNanos;

describe('a day of UTC has one budget', () => {
  test('a bill between midnight and the tick is charged and recorded on the old day', () => {
    const market = marketOf(catalogOf([item('late')]), midnightMs - 5000);
    const records: NoticeRecord[] = [];
    let nowMs = midnightMs - 2000;
    const settlement = new NoticeSettlement({
      ledger: market.ledger,
      seen: market.seen,
      caps: market.caps,
      channel: {
        fault: undefined,
        writeNotice: (notice) => records.push({ ...notice }),
        onDurable: () => Promise.resolve('DURABLE'),
        onAllDurable: () => Promise.resolve('DURABLE'),
      },
      userEvents: { clicked: () => {} },
      counts: { viewed: () => {}, clicked: () => {}, converted: () => {} },
      onError: (error) => expect.unreachable(String(error)),
      telemetry: new Telemetry(),
      now: () => nowMs,
      lineItemOfAd: (adId) => market.writer.lineItemOf(lineItemIdOf(adId)),
      lineItemId: (lineItem) => market.catalog.lineItemId(lineItem),
      catalog: market.catalog,
    });
    const signer = new NoticeSigner(new Uint8Array(32));
    const bill = (auctionLow: number): void => {
      const claims = claimsOf({
        adId: 'late.cr-late',
        auctionLow,
        bidNanos: 10_000_000,
        chargeNanos: 10_000_000,
        issuedAtMs: nowMs,
      });
      const verified = signer.verify('bill', signer.signOne('bill', claims), nowMs);
      if (typeof verified === 'string') throw new Error(verified);
      settlement.settle(verified, { price: { kind: 'price', nanos: 6_000_000 }, currency: 'USD', lossReason: 0 });
    };
    bill(1);
    // After midnight, before the main thread has noticed.
    nowMs = midnightMs + 300;
    bill(2);
    market.tick(midnightMs + 900, 0);
    nowMs = midnightMs + 1000;
    bill(3);
    const byDay = new Map<number, number>();
    for (const { timeMs, chargedNanos } of records) {
      const day = Math.floor(timeMs / dayMs);
      byDay.set(day, (byDay.get(day) ?? 0) + chargedNanos);
    }
    const today = midnightMs / dayMs;
    expect([...byDay]).toEqual([
      [today - 1, 10_000_000],
      [today, 6_000_000],
    ]);
    expect(spent(market, 'late')).toBe(6_000_000n);
  });

  test('a line item that is brought back after a restart has spent what it had spent', () => {
    const market = marketOf(catalogOf([item('stays')]), midnightMs + 5000);
    market.restore(logOf({ stays: 1_000_000n, added: 10_000_000n }), midnightMs + 5000);
    expect(spent(market, 'stays')).toBe(1_000_000n);
    const { advertisers, line_items, creatives } = catalogOf([item('added')]) as Record<string, unknown>;
    const result = market.writer.apply({ advertisers, line_items, creatives });
    expect(result.kind).toBe('applied');
    market.noteLineItems();
    expect(market.ledger.snapshot(market.writer.lineItemOf('added'))).toMatchObject({
      spentNanos: 10_000_000n,
      availableNanos: 0n,
    });
    // A second look, and a second change, charge nothing twice.
    market.noteLineItems();
    expect(spent(market, 'added')).toBe(10_000_000n);
    // Tomorrow it starts anew.
    market.tick(midnightMs + dayMs + 1000, 0);
    expect(market.ledger.snapshot(market.writer.lineItemOf('added'))).toMatchObject({
      spentNanos: 0n,
      availableNanos: 10_000_000n,
    });
  });
});

describe('ids of any length, and ads that come and go', () => {
  test('a catalog of the longest ids that the file allows starts, and its ads are found', () => {
    const ids = Array.from({ length: 3000 }, (_, index) => `${index}`.padEnd(60, 'x'));
    const market = marketOf(catalogOf(ids.map((id) => ({ ...item(id), advertiser: 'one' }))), midnightMs);
    const index = new SharedIdIndex(market.shared.lineItemIds);
    for (const id of [ids[0]!, ids[2999]!]) {
      const lineItem = index.get(id);
      expect(market.catalog.lineItemId(lineItem)).toBe(id);
      expect(market.catalog.adId(market.catalog.rowOfAd(lineItem, `${id}.cr-${id}`))).toBe(`${id}.cr-${id}`);
    }
    expect(market.catalog.rowOfAd(index.get(ids[0]!), 'no such ad')).toBe(-1);
  });

  test('creatives rotate: more ads than the catalog has room for come and go, each found by its id while it is on sale', () => {
    const count = 40;
    const items = Array.from({ length: count }, (_, index) => ({ ...item(`turns${index}`), advertiser: 'one' }));
    const spec = catalogOf(items) as { line_items: object[] };
    const market = marketOf(spec, midnightMs);
    const { catalog, writer } = market;
    const seen = new Set<string>();
    let before: string[] = [];
    for (let turn = 1; turn <= count; turn++) {
      const shown = (index: number): string => `cr-turns${(index + turn) % count}`;
      const result = writer.apply({
        line_items: spec.line_items.map((entry, index) => ({ ...entry, creative_ids: [shown(index)] })),
      });
      if (result.kind !== 'applied') throw new Error(JSON.stringify(result.problems[0]));
      writer.publish(result.addedRows);
      const now = items.map(({ id }, index) => `${id}.${shown(index)}`);
      for (const [index, adId] of now.entries()) {
        const lineItem = writer.lineItemOf(`turns${index}`);
        expect(catalog.adId(catalog.rowOfAd(lineItem, adId))).toBe(adId);
        expect(catalog.rowOfAd(lineItem, before[index] ?? 'none yet')).toBe(-1);
        seen.add(adId);
      }
      before = now;
      market.tidy(midnightMs + turn * 120_000);
      market.tidy(midnightMs + turn * 120_000 + 61_000);
    }
    expect(seen.size).toBeGreaterThan(catalog.adCapacity);
  });
});
