import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OrdinaryRequests } from '#deploy/demo/bid-requests.ts';
import { acceptAllConsent } from '#deploy/demo/consent-string.ts';
import { clear, conversionToken, expandMacros, firstBid, noticesIn } from '#deploy/demo/exchange.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { TrafficDriver } from '#deploy/demo/traffic.ts';
import { World } from '#deploy/demo/world.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { runLoad } from '../support/load-generator.ts';

const layout = new MarketLayout({ ads: 500, users: 1000, rows: 0, seed: 2 });
const world = new World(layout);
const calls: Record<string, number> = {};
const priceSeen: string[] = [];
let server: Server;
let port = 0;

/** A bidder that always bids the same ad, in HTML markup, with every notice. */
beforeAll(async () => {
  server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://localhost');
    calls[url.pathname] = (calls[url.pathname] ?? 0) + 1;
    request.resume();
    request.on('end', () => {
      if (url.pathname === '/notice/click') {
        response.writeHead(302, { location: 'https://www.shoes3.example/offers/1?gavelin_ct=abc' }).end();
      } else if (url.pathname.startsWith('/notice/')) {
        if (url.pathname === '/notice/bill') priceSeen.push(url.searchParams.get('p') ?? '');
        response.writeHead(204).end();
      } else {
        const base = `http://127.0.0.1:${port}/notice`;
        const adm = `<a href="${base}/click?t=c1&amp;x=1"><img src="https://cdn.example/1.jpg"></a><img src="${base}/view?t=v1">`;
        const bid = {
          id: '1',
          impid: '1',
          price: 2,
          adid: layout.adId(7),
          adm,
          nurl: `${base}/win?t=w&p=\${AUCTION_PRICE}`,
          burl: `${base}/bill?t=b&p=\${AUCTION_PRICE}`,
          lurl: `${base}/loss?t=l&r=\${AUCTION_LOSS}`,
        };
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ id: 'x', seatbid: [{ bid: [bid] }] }));
      }
    });
  });
  await new Promise<void>((settle) => {
    server.listen(0, '127.0.0.1', settle);
  });
  port = (server.address() as AddressInfo).port;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

describe('the traffic driver', () => {
  test('plays the exchange: wins are billed at most at the bid, losses told, people see and click', async () => {
    const plan = { port, ratePerSecond: 400, secondsMax: 20, requestsMax: 600, seed: 9 };
    const driver = new TrafficDriver(plan, world, () => Date.UTC(2026, 5, 1), 'test');
    const stats = await driver.run();
    expect(stats.requests).toBe(600);
    expect(stats.failures + stats.noticeFailures + stats.skipped).toBe(0);
    expect(stats.bids).toBe(600);
    expect(stats.wins + stats.losses).toBe(600);
    expect(stats.wins).toBeGreaterThan(stats.losses);
    expect(calls['/notice/win']).toBe(stats.wins);
    expect(calls['/notice/bill']).toBe(stats.wins);
    expect(calls['/notice/loss'] ?? 0).toBe(stats.losses);
    expect(calls['/notice/view']).toBe(stats.views);
    expect(calls['/notice/click'] ?? 0).toBe(stats.clicks);
    expect(calls['/notice/conversion'] ?? 0).toBe(stats.conversions);
    expect(priceSeen.every((price) => Number(price) > 0 && Number(price) <= 2)).toBe(true);
    expect(stats.paidUsd * 1000).toBeCloseTo(
      priceSeen.reduce((total, price) => total + Number(price), 0),
      2,
    );
  });

  test('stops when told, long before its plan ends', async () => {
    const driver = new TrafficDriver(
      { port, ratePerSecond: 50, secondsMax: 600, requestsMax: 1e6, seed: 1 },
      world,
      Date.now,
      'stop',
    );
    const done = driver.run();
    driver.stop();
    expect((await done).requests).toBeLessThan(100);
  });
});

test('ordinary requests are bounded, varied and seeded', () => {
  const make = (): OrdinaryRequests => new OrdinaryRequests(layout, seededRandom(4), 'r');
  const source = make();
  const requests = Array.from({ length: 2000 }, () => source.next(Date.UTC(2026, 5, 1, 12)));
  const bodies = requests.map(
    ({ body }) => body as { id: string; tmax: number; imp: object[]; site?: object; app?: object },
  );
  expect(new Set(bodies.map(({ id }) => id)).size).toBe(2000);
  expect(bodies.every(({ tmax }) => tmax >= 100 && tmax <= 200)).toBe(true);
  expect(bodies.every(({ site, app }) => (site === undefined) !== (app === undefined))).toBe(true);
  expect(requests.every(({ floorUsd }) => floorUsd >= 0 && floorUsd <= 0.1)).toBe(true);
  expect(requests.filter(({ user }) => user < 0).length).toBeGreaterThan(50);
  const again = make();
  expect(again.next(Date.UTC(2026, 5, 1, 12))).toEqual(requests[0]);
});

test('clearing never charges over the bid or under the floor', () => {
  const money = fc.double({ min: 0.001, max: 20, noNaN: true });
  fc.assert(
    fc.property(money, money, money, (bid, rival, floor) => {
      const { isWon, clearingPrice, minimumToWin } = clear(bid, rival, floor);
      expect(isWon).toBe(bid >= minimumToWin);
      expect(!isWon || (clearingPrice <= bid && clearingPrice >= floor && clearingPrice >= rival)).toBe(true);
    }),
  );
});

test('macros are filled in once and unknown ones vanish', () => {
  const values = { AUCTION_PRICE: '${AUCTION_ID}', AUCTION_ID: 'x' };
  // oxlint-disable-next-line no-template-curly-in-string
  expect(expandMacros('p=${AUCTION_PRICE}&i=${AUCTION_ID}&u=${AUCTION_MBR}', values)).toBe('p=${AUCTION_ID}&i=x&u=');
});

test.each([
  ['html', '<a href="http://127.0.0.1:1/notice/click?t=a&amp;u=b"><img src=\'http://127.0.0.1:1/notice/view?t=v\'>'],
  [
    'vast',
    '<Impression><![CDATA[http://127.0.0.1:1/notice/view?t=v]]></Impression><ClickThrough><![CDATA[http://127.0.0.1:1/notice/click?t=a&u=b]]></ClickThrough>',
  ],
  [
    'native',
    JSON.stringify({
      link: { url: 'http://127.0.0.1:1/notice/click?t=a&u=b' },
      x: ['http://127.0.0.1:1/notice/view?t=v'],
    }),
  ],
  [
    'native, slashes escaped',
    '{"link":{"url":"http:\\/\\/127.0.0.1:1\\/notice\\/click?t=a&u=b"},"e":"http:\\/\\/127.0.0.1:1\\/notice\\/view?t=v"}',
  ],
])('notices are found in %s', (_, markup) => {
  expect(noticesIn(markup)).toEqual({
    view: 'http://127.0.0.1:1/notice/view?t=v',
    click: 'http://127.0.0.1:1/notice/click?t=a&u=b',
  });
});

test('every legal no-bid, and everything malformed, is no bid', () => {
  const answers = [
    '',
    '{}',
    'null',
    '{"id":"1","seatbid":[]}',
    '{"seatbid":[{"bid":[]}],"nbr":2}',
    '<html>',
    '{"seatbid":[{"bid":[{"price":0}]}]}',
  ];
  expect(answers.map(firstBid)).toEqual(answers.map(() => undefined));
  expect(firstBid('{"seatbid":[{"bid":[{"price":1.5}]}]}')?.price).toBe(1.5);
});

test('the conversion token is read from the redirect, when there is one', () => {
  expect(conversionToken('https://a.example/?gavelin_ct=tok')).toBe('tok');
  expect(conversionToken('https://a.example/')).toBeUndefined();
  expect(conversionToken(undefined)).toBeUndefined();
});

test('the consent string says version 2 and consents to every purpose', () => {
  const bits = [...Buffer.from(acceptAllConsent(Date.UTC(2026, 0, 15)), 'base64url')]
    .map((byte) => byte.toString(2).padStart(8, '0'))
    .join('');
  expect(Number.parseInt(bits.slice(0, 6), 2)).toBe(2);
  // Purposes start at bit 152 of the TCF 2 core string.
  expect(bits.slice(152, 162)).toBe('1111111111');
});

test('a load is sent as planned and every answer counted', async () => {
  const body = Buffer.from(JSON.stringify({ id: '1' }));
  const report = await runLoad({
    port,
    path: '/openrtb2/bid',
    requests: [body],
    ratePerSecond: 300,
    seconds: 1,
    connections: 4,
  });
  expect(report).toMatchObject({
    planned: 300,
    sent: 300,
    answered: 300,
    bids: 300,
    unanswered: 0,
    byStatus: { 200: 300 },
  });
  expect(report.fromDue.p99Ms).toBeGreaterThanOrEqual(report.fromDue.p50Ms);
});
