import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseBidRequest } from '#server/openrtb-request.ts';
import { Edge } from '../support/edge.ts';
import { catalogOf } from '../support/small-catalog.ts';

const researchData = process.env['GAVELIN_RESEARCH_DATA'];
if (researchData === undefined) {
  console.warn('SKIPPED: 500 real bid requests, because GAVELIN_RESEARCH_DATA names no folder');
}
const options = { defaultAuctionType: 2, userIdFields: ['buyeruid', 'id'], isSecureByDefault: false } as const;
/** One of the requests has its floor in micros: 1,249,995 CPM. */
const absurdFloor = 1_000_000;

type Sample = { readonly text: string; readonly floor: number };

function samples(): Sample[] {
  const path = join(researchData!, 'adx-bid-requests/adxrequests.first500.jsonl.gz');
  const lines = gunzipSync(readFileSync(path)).toString('utf8').split('\n');
  return lines
    .filter((line) => line !== '')
    .map((text) => ({ text, floor: (JSON.parse(text) as { imp: { bidfloor?: number }[] }).imp[0]?.bidfloor ?? 0 }));
}

describe.skipIf(researchData === undefined)('500 real requests of 2016', () => {
  let requests: Sample[] = [];
  let edge: Edge;
  beforeAll(async () => {
    requests = samples();
    // 50 USD CPM: more than any sane floor of the sample.
    const priced = { priceType: 'CPM', bidNanos: 50_000_000 } as const;
    const sizes = [
      [300, 250],
      [320, 50],
      [728, 90],
      [320, 480],
    ] as const;
    edge = await Edge.start({
      catalog: catalogOf(
        sizes.map(([width, height]) => ({ id: `b${width}x${height}`, ...priced, creative: { width, height } })),
      ),
    });
  });
  afterAll(async () => {
    await edge.stop();
  });

  test('every one is read, or refused with a place and a reason', () => {
    expect(requests).toHaveLength(500);
    const faults = requests
      .map(({ text }) => parseBidRequest(Buffer.from(text), options))
      .filter((read) => read.kind === 'fault');
    for (const fault of faults) expect(fault.path).not.toBe('');
    // Whatever the reason, refusing more than a handful of real requests would be our mistake.
    expect(faults.length).toBeLessThanOrEqual(5);
  });

  test('every one is answered 200, 204 or 400, and most of them with a bid', async () => {
    const statuses = new Map<number, number>();
    for (const { text } of requests) {
      const { status, bid } = await edge.bid(text);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      expect([200, 204, 400]).toContain(status);
      expect(status === 200).toBe(bid !== undefined);
    }
    console.log(`answers to ${requests.length} real requests: ${JSON.stringify(Object.fromEntries(statuses))}`);
    expect(statuses.get(200) ?? 0).toBeGreaterThan(400);
  });

  test('no bid is below its floor, and the broken floor never sells', async () => {
    let checked = 0;
    for (const { text, floor } of requests) {
      const { bid } = await edge.bid(text);
      expect(bid?.price ?? floor).toBeGreaterThanOrEqual(floor);
      if (floor < absurdFloor) continue;
      checked++;
      expect(bid).toBeUndefined();
    }
    expect(checked).toBe(1);
  });
});
