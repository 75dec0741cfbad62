import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { acceptAllConsent } from '#deploy/demo/consent-string.ts';
import { Callers, defaultCaller } from '#server/callers.ts';
import { nodeListener } from '#server/node-listener.ts';
import { Rates } from '#server/rates.ts';
import { uwsListener } from '#server/uws-listener.ts';
import { banner, bidBody, catalogOf, Edge, type EdgeOptions } from '../support/edge.ts';
import { RawConnection } from '../support/raw-http.ts';

/**
 * The endpoint as its callers meet it, rule by rule. The numbers are those of the list of OpenRTB rules that the README of
 * `server` publishes under "What a request may look like".
 */
const edges: Edge[] = [];
async function start(options: EdgeOptions = {}): Promise<Edge> {
  const edge = await Edge.start(options);
  edges.push(edge);
  return edge;
}
afterEach(async () => {
  for (const edge of edges.splice(0)) await edge.stop();
});

describe.each([
  ['uWebSockets.js', uwsListener],
  ['node:http', nodeListener],
])('over %s', (_, listener) => {
  let edge: Edge;
  beforeAll(async () => {
    edge = await Edge.start({ listener });
  });
  afterAll(async () => {
    await edge.stop();
  });

  test('1: only POST asks for bids, and the connection stays open', async () => {
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const answer = await edge.request(method, '/openrtb2/bid');
      expect([method, answer.status, answer.headers.get('allow')]).toEqual([method, 405, 'POST, OPTIONS']);
    }
    const connection = await RawConnection.open(edge.port);
    const body = JSON.stringify(bidBody());
    for (let call = 0; call < 3; call++) {
      connection.send(`POST /openrtb2/bid HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      expect((await connection.answer())?.status).toBe(200);
    }
    connection.destroy();
  });

  test('2: any content type, or none, is JSON', async () => {
    for (const type of ['text/plain', 'application/json;charset=utf-8', 'application/x-www-form-urlencoded', '']) {
      const answer = await edge.bid(bidBody(), { 'content-type': type });
      expect([type, answer.status, answer.headers.get('content-type')]).toEqual([type, 200, 'application/json']);
    }
  });

  test('3: gzip by header, by ?gzip=1 alone, and by neither', async () => {
    const zipped = gzipSync(JSON.stringify(bidBody()));
    expect((await edge.bid(zipped, { 'content-encoding': 'gzip' })).status).toBe(200);
    expect((await edge.post('/openrtb2/bid?gzip=1', zipped, { 'content-type': 'text/plain' })).status).toBe(200);
    expect((await edge.bid(zipped)).status).toBe(200);
    expect((await edge.post('/openrtb2/bid?gzip=1', bidBody())).status).toBe(200);
  });

  test('3: bombs, truncation, concatenated members, trailing bytes and other encodings are 400', async () => {
    const zipped = gzipSync(JSON.stringify(bidBody()));
    const bad: readonly [string, Uint8Array, string][] = [
      ['gzip', gzipSync(Buffer.alloc(50_000_000, 0x20)), 'BODY_TOO_LARGE'],
      ['gzip', zipped.subarray(0, zipped.length - 1), 'BODY_ENCODING'],
      ['gzip', zipped.subarray(0, 12), 'BODY_ENCODING'],
      ['gzip', Buffer.concat([zipped, gzipSync('{}')]), 'BODY_ENCODING'],
      ['gzip', Buffer.concat([zipped, Buffer.from('more')]), 'BODY_ENCODING'],
      ['gzip', Buffer.from('{}'), 'BODY_ENCODING'],
      ['br', Buffer.from('{}'), 'BODY_ENCODING'],
    ];
    for (const [encoding, body, code] of bad) {
      const answer = await edge.bid(body, { 'content-encoding': encoding });
      expect([answer.status, answer.text, answer.headers.get('x-gavelin-error')?.split(' ')[0]]).toEqual([
        400,
        '',
        code,
      ]);
    }
  });

  test('4: the version is read before the body, and only another major version is refused', async () => {
    for (const version of ['2.5', '2.6', '2.6-202505', '2', 'two', ' 2.4 ']) {
      const answer = await edge.bid(bidBody(), { 'x-openrtb-version': version });
      expect([version, answer.status, answer.headers.get('x-openrtb-version')]).toEqual([version, 200, '2.6']);
    }
    const refused = await edge.bid('not even JSON', { 'x-openrtb-version': '3.0' });
    expect(refused.status).toBe(400);
    expect(refused.headers.get('x-gavelin-error')).toMatch(/^VERSION_UNKNOWN /u);
  });

  test('5: bids 200, nothing 204 without a body, malformed 400 without a body and with the reason in a header', async () => {
    expect((await edge.bid(bidBody())).status).toBe(200);
    const nothing = await edge.bid(bidBody({ imp: [{ id: '1', banner: { w: 7, h: 7 } }] }));
    expect([nothing.status, nothing.text, nothing.headers.get('content-type')]).toEqual([204, '', null]);
    const malformed: readonly [unknown, string][] = [
      ['', 'BODY_EMPTY'],
      ['{', 'BODY_NOT_JSON'],
      ['[]', 'BODY_NOT_OBJECT'],
      ['"x"', 'BODY_NOT_OBJECT'],
      ['{"a":'.repeat(70) + '1' + '}'.repeat(70), 'TOO_DEEP'],
      [bidBody({ imp: [{ id: '1', banner: { w: -1, h: 250 } }] }), 'FIELD_RANGE imp[0].banner.w'],
      [bidBody({ imp: [{ id: '1', banner: { w: 'wide', h: 250 } }] }), 'FIELD_TYPE imp[0].banner.w'],
    ];
    for (const [body, reason] of malformed) {
      const answer = await edge.bid(body);
      expect([answer.status, answer.text]).toEqual([400, '']);
      expect(answer.headers.get('x-gavelin-error')).toContain(reason);
    }
  });

  test('7: a page of any origin may call, with credentials, after asking', async () => {
    const headers = { origin: 'https://news.example', 'access-control-request-headers': 'content-type,x-a' };
    const asked = await edge.request('OPTIONS', '/openrtb2/bid', { headers });
    expect(asked.status).toBe(204);
    expect(asked.headers.get('access-control-allow-methods')).toBe('POST, OPTIONS');
    expect(asked.headers.get('access-control-allow-headers')).toBe('content-type,x-a');
    for (const body of [bidBody(), bidBody({ imp: [{ id: '1', banner: {} }] }), 'broken']) {
      const answer = await edge.bid(body, { origin: 'https://news.example' });
      expect(answer.headers.get('access-control-allow-origin')).toBe('https://news.example');
      expect(answer.headers.get('access-control-allow-credentials')).toBe('true');
      expect(answer.headers.get('vary')).toBe('Origin');
    }
    expect((await edge.bid(bidBody())).headers.get('access-control-allow-origin')).toBeNull();
  });
});

test('6: "no bid" is 204; a body with nbr for tests, for debugging and for callers who want it', async () => {
  const talkative = {
    ...defaultCaller({ tmaxMs: 1000 }),
    id: 'talkative',
    key: 'talkative-key-0001',
    noBid: 'nbr' as const,
  };
  const edge = await start({ callers: new Callers([talkative], defaultCaller({ tmaxMs: 1000 })) });
  const nothing = { imp: [{ id: '1', banner: { w: 7, h: 7 } }] };
  expect((await edge.bid(bidBody(nothing))).status).toBe(204);
  const long = [
    await edge.bid(bidBody({ ...nothing, test: 1 })),
    await edge.bid(bidBody(nothing), { 'x-gavelin-debug': '1' }),
    await edge.bid(bidBody(nothing), { 'x-gavelin-key': 'talkative-key-0001' }),
    await edge.post('/openrtb2/bid/talkative-key-0001', bidBody(nothing)),
  ];
  for (const { status, json } of long) {
    expect(status).toBe(200);
    expect(json).toMatchObject({ id: 'r1', seatbid: [], nbr: 500, ext: { gavelin: { reason: 'noCandidate' } } });
  }
  const tooDear = await edge.bid(bidBody({ test: 1, imp: [{ id: '1', banner, bidfloor: 500 }] }));
  expect(tooDear.json).toMatchObject({ nbr: 501, ext: { gavelin: { reason: 'belowFloor' } } });
});

test('8: what is required, what is unique, what may be there once', async () => {
  const edge = await start();
  const cases: readonly [Record<string, unknown>, string][] = [
    [{ id: undefined }, 'FIELD_MISSING id'],
    [{ id: '' }, 'FIELD_MISSING id'],
    [{ imp: undefined }, 'FIELD_MISSING imp'],
    [{ imp: [] }, 'FIELD_MISSING imp'],
    [{ imp: {} }, 'FIELD_TYPE imp'],
    [{ imp: [null] }, 'FIELD_TYPE imp[0]'],
    [{ imp: [{ banner }] }, 'FIELD_MISSING imp[0].id'],
    [
      {
        imp: [
          { id: '1', banner },
          { id: '1', banner },
        ],
      },
      'DUPLICATE_ID imp[1].id',
    ],
    [{ imp: [{ id: '1' }] }, 'FIELD_MISSING imp[0]'],
    [{ imp: [{ id: '1', video: {} }] }, 'FIELD_MISSING imp[0].video.mimes'],
    [{ imp: [{ id: '1', video: { mimes: [] } }] }, 'FIELD_MISSING imp[0].video.mimes'],
    [{ imp: [{ id: '1', audio: {} }] }, 'FIELD_MISSING imp[0].audio.mimes'],
    [{ imp: [{ id: '1', native: {} }] }, 'FIELD_MISSING imp[0].native.request'],
    [{ imp: [{ id: '1', native: { request: {} } }] }, 'FIELD_TYPE imp[0].native.request'],
    [{ imp: [{ id: '1', native: { request: '{' } }] }, 'FIELD_TYPE imp[0].native.request'],
    [{ imp: [{ id: '1', banner, pmp: { deals: [{}] } }] }, 'FIELD_MISSING imp[0].pmp.deals[0].id'],
    [{ app: { id: 'a' } }, 'CONFLICT site'],
    [{ dooh: { id: 'd' } }, 'CONFLICT site'],
    [{ tmax: -1 }, 'FIELD_RANGE tmax'],
    [
      { imp: [{ id: '1', banner: { format: [{ w: 300, h: 250, wratio: 4, hratio: 3 }] } }] },
      'CONFLICT imp[0].banner.format[0]',
    ],
    [{ imp: [{ id: '1', video: { mimes: ['video/mp4'], minbitrate: -1 } }] }, 'FIELD_RANGE imp[0].video.minbitrate'],
  ];
  for (const [change, reason] of cases) {
    const answer = await edge.bid(bidBody(change));
    expect([answer.status, answer.headers.get('x-gavelin-error')?.startsWith(reason), reason]).toEqual([
      400,
      true,
      reason,
    ]);
  }
  // A banner without any size is legal and matches nothing.
  expect((await edge.bid(bidBody({ imp: [{ id: '1', banner: {} }] }))).status).toBe(204);
  expect(edge.counter('faults')).toBe(cases.length);
});

test('9: lists that exclude each other are both obeyed, and counted', async () => {
  const edge = await start();
  const both = await edge.bid(bidBody({ wseat: ['adv-cpm', 'adv-cpc'], bseat: ['adv-cpm'] }));
  expect(both.json?.seatbid?.[0]?.seat).toBe('adv-cpc');
  expect((await edge.bid(bidBody({ bcat: ['IAB2'], acat: ['IAB2-3'] }))).status).toBe(204);
  expect(edge.counter('privacy_conflicts')).toBe(2);
});

test('10: unknown fields and values are ignored; what is not said is not 0', async () => {
  const edge = await start();
  const odd = bidBody({
    foo: { bar: [1, 'x', null] },
    at: 77,
    device: { devicetype: 99, os: 'TempleOS', geo: { country: 'Atlantis' } },
    regs: { coppa: null, ext: null },
    imp: [{ id: '1', banner: { ...banner, pos: 99, api: [99] }, secure: null, unknown: 1 }],
  });
  expect((await edge.bid(odd)).status).toBe(200);
});

test('11: numbers and flags come as text too, money never', async () => {
  const edge = await start();
  const texts = bidBody({
    tmax: '2000',
    at: '1',
    test: '1',
    badv: 'nobody.example',
    imp: [{ id: 7, banner: { w: '300', h: '250' }, instl: '0', secure: '0' }],
  });
  const answer = await edge.bid(texts);
  expect(answer.bid?.impid).toBe('7');
  expect(answer.bid?.ext).toBeDefined();
  expect(edge.counter('coercions')).toBeGreaterThanOrEqual(8);
  const money = await edge.bid(bidBody({ imp: [{ id: '1', banner, bidfloor: '0.5' }] }));
  expect([money.status, money.headers.get('x-gavelin-error')]).toEqual([
    400,
    'FIELD_TYPE imp[0].bidfloor must be a number: money is not taken from text',
  ]);
});

test('12, G16: a test=1 copy of a winning request gets the same price and moves nothing', async () => {
  const edge = await start();
  const before = edge.money();
  const tested = await edge.bid(bidBody({ test: 1, user: { id: 'u1' } }));
  expect(edge.money()).toBe(before);
  expect(edge.records.at(-1)?.test).toBe(true);
  const { burl, adm } = tested.bid!;
  const notice = async (url: string): Promise<number> =>
    (
      await edge.request(
        'GET',
        url.slice(url.indexOf('/notice/')).replace('${AUCTION_PRICE}', '2').replace('${AUCTION_CURRENCY}', 'USD'),
      )
    ).status;
  expect(await notice(burl)).toBe(204);
  expect(await notice(/src="([^"]*\/notice\/view[^"]*)"/u.exec(adm)![1]!)).toBe(204);
  expect(await notice(/href="([^"]*)"/u.exec(adm)![1]!)).toBe(302);
  expect(edge.money()).toBe(before);
  expect(edge.notices).toEqual([]);
  const real = await edge.bid(bidBody({ user: { id: 'u1' } }));
  expect(real.bid?.price).toBe(tested.bid?.price);
  expect(real.bid?.adid).toBe(tested.bid?.adid);
  expect(edge.money()).not.toBe(before);
  expect(edge.counter('test_requests')).toBe(1);
});

test('13: whatever `at` says, our price is our own value: the exchange clears', async () => {
  const edge = await start();
  for (const at of [undefined, 1, 2, 3, 500, 'two', -1]) expect((await edge.bid(bidBody({ at }))).bid?.price).toBe(2);
});

test('14, G14: without time for an answer there is none, at once, and nothing stays reserved', async () => {
  const edge = await start({ tmaxMs: 5, safetyMs: 5 });
  const hopeless = await edge.bid(bidBody({ tmax: 5, test: 1 }));
  expect(hopeless.json).toMatchObject({ nbr: 15, seatbid: [], ext: { gavelin: { reason: 'tooLate' } } });
  expect((await edge.bid(bidBody({ tmax: 5 }))).status).toBe(204);
  // No tmax: the caller's default, which is as short.
  expect((await edge.bid(bidBody({ tmax: undefined }))).status).toBe(204);
  expect(edge.counter('refused')).toBe(3);
  expect(edge.reservedNanos()).toBe(0n);
  expect(edge.records).toEqual([]);
});

test('14: an answer that would come late is dropped, what it reserved is given back, and it is in no log', async () => {
  const edge = await start({ scoringMs: 60 });
  const before = edge.money();
  const late = await edge.bid(bidBody({ tmax: 40 }));
  expect(late.status).toBe(204);
  expect(edge.counter('late')).toBe(1);
  expect(edge.money()).toBe(before);
  expect(edge.records).toEqual([]);
  expect((await edge.bid(bidBody({ tmax: 2000 }))).status).toBe(200);
});

test('14: the clock starts with the head of the request, not with the end of its body', async () => {
  const edge = await start();
  const body = JSON.stringify(bidBody({ tmax: 60, test: 1 }));
  const connection = await RawConnection.open(edge.port);
  connection.send(`POST /openrtb2/bid HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n`);
  connection.send(body.slice(0, 10));
  await new Promise((resolve) => {
    setTimeout(resolve, 90);
  });
  connection.send(body.slice(10));
  expect((await connection.answer())?.body).toContain('"nbr":15');
  connection.destroy();
});

test('14: a caller who hangs up leaves nothing reserved', async () => {
  const edge = await start({ scoringMs: 250 });
  const body = JSON.stringify(bidBody());
  const connection = await RawConnection.open(edge.port);
  connection.send(`POST /openrtb2/bid HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await expect.poll(() => edge.admission.inFlight).toBe(1);
  connection.destroy();
  await expect.poll(() => edge.admission.inFlight).toBe(0);
  expect(edge.reservedNanos()).toBe(0n);
});

const far = 8e15;
const eurUsd = { currency: 'EUR', numerator: 11, denominator: 10 };

test('15: the answer is in a currency that the request allows, converted once, rounded down', async () => {
  const edge = await start({ rates: new Rates([eurUsd, { currency: 'JPY', numerator: 2, denominator: 300 }], far) });
  const prices = async (cur: unknown): Promise<unknown[]> => {
    const { json, bid } = await edge.bid(bidBody({ cur }));
    return [json?.cur, bid?.price];
  };
  expect(await prices(undefined)).toEqual(['USD', 2]);
  expect(await prices(['USD'])).toEqual(['USD', 2]);
  // 2 USD ÷ 1.10 = 1.8181818…
  expect(await prices(['EUR'])).toEqual(['EUR', 1.818181]);
  expect(await prices(['GBP', 'JPY'])).toEqual(['JPY', 300]);
  expect(await prices(['EUR', 'USD'])).toEqual(['USD', 2]);
  expect((await edge.bid(bidBody({ cur: ['GBP'] }))).status).toBe(204);
  const why = await edge.bid(bidBody({ cur: ['GBP'], test: 1 }));
  expect(why.json?.ext?.gavelin.reason).toBe('noRate');
});

test('15: a stale rate is none', async () => {
  const edge = await start({ rates: new Rates([eurUsd], 1000) });
  expect((await edge.bid(bidBody({ cur: ['EUR'] }))).status).toBe(204);
  expect((await edge.bid(bidBody({ imp: [{ id: '1', banner, bidfloor: 0.01, bidfloorcur: 'EUR' }] }))).status).toBe(
    204,
  );
  expect((await edge.bid(bidBody())).status).toBe(200);
});

test('15, 16, G9: a floor of 1.00 EUR is met by 1.10 USD exactly, and not by a nano less', async () => {
  const item = (bidNanos: number) => catalogOf([{ id: 'cpm', priceType: 'CPM', bidNanos, creative: {} }]);
  const rates = new Rates([eurUsd], far);
  const imp = [{ id: '1', banner, bidfloor: 1, bidfloorcur: 'EUR' }];
  const exact = await start({ catalog: item(1_100_000), rates });
  expect((await exact.bid(bidBody({ imp }))).bid?.price).toBe(1.1);
  // In the floor's own currency the price is the floor: rounding loses no bid that holds.
  expect((await exact.bid(bidBody({ imp, cur: ['EUR'] }))).bid?.price).toBe(1);
  const less = await start({ catalog: item(1_099_999), rates });
  expect((await less.bid(bidBody({ imp }))).status).toBe(204);
  const noRate = await start({ catalog: item(9_000_000) });
  expect((await noRate.bid(bidBody({ imp }))).status).toBe(204);
});

test('16: floors are inclusive, gross, and of a video the highest that is stated', async () => {
  const edge = await start();
  const floor = async (bidfloor: number): Promise<number> =>
    (await edge.bid(bidBody({ imp: [{ id: '1', banner, bidfloor }] }))).status;
  expect([await floor(2), await floor(2.000001), await floor(0), await floor(1e300)]).toEqual([200, 204, 200, 204]);
  const film = async (video: object): Promise<number> =>
    (await edge.bid(bidBody({ imp: [{ id: '1', video: { mimes: ['video/mp4'], maxduration: 30, ...video } }] })))
      .status;
  expect(await film({})).toBe(200);
  expect(await film({ mincpmpersec: 0.16 })).toBe(200);
  expect(await film({ mincpmpersec: 0.17 })).toBe(204);
  expect(await film({ durfloors: [{ mindur: 1, maxdur: 20, bidfloor: 5 }] })).toBe(200);
  expect(
    await film({
      durfloors: [
        { mindur: 1, maxdur: 20, bidfloor: 1 },
        { mindur: 15, maxdur: 30, bidfloor: 5.1 },
      ],
    }),
  ).toBe(204);
});

test('17, G18: who and what is blocked is never served', async () => {
  const edge = await start();
  const seat = async (change: Record<string, unknown>): Promise<string | undefined> =>
    (await edge.bid(bidBody(change))).json?.seatbid?.[0]?.seat;
  expect(await seat({})).toBe('adv-cpm');
  expect(await seat({ badv: ['ADV-CPM.Example'] })).toBe('adv-cpc');
  expect(await seat({ badv: ['adv-cpm.example.', 'adv-cpc.example'] })).toBeUndefined();
  expect(await seat({ badv: ['pm.example'] })).toBe('adv-cpm');
  expect(await seat({ bcat: ['IAB2'] })).toBeUndefined();
  expect(await seat({ bcat: ['IAB2-3'] })).toBeUndefined();
  expect(await seat({ bcat: ['IAB2-4', 'IAB3'] })).toBe('adv-cpm');
  expect(await seat({ wseat: ['adv-cpc'] })).toBe('adv-cpc');
  expect(await seat({ bseat: ['adv-cpm'] })).toBe('adv-cpc');
  expect(await seat({ imp: [{ id: '1', banner: { ...banner, btype: [2] } }] })).toBeUndefined();
  const wrong = await edge.bid(bidBody({ bcat: [{}] }));
  expect(wrong.status).toBe(200);
  expect((await edge.bid(bidBody({ badv: { a: 1 } }))).status).toBe(400);
});

test('17, G18: a subdomain of a blocked domain is blocked', async () => {
  const catalog = catalogOf([
    { id: 'car', priceType: 'CPM', bidNanos: 2_000_000, creative: { domain: 'www.ford.com' } },
  ]);
  const edge = await start({ catalog });
  expect((await edge.bid(bidBody())).bid?.adomain).toEqual(['www.ford.com']);
  expect((await edge.bid(bidBody({ badv: ['Ford.com'] }))).status).toBe(204);
  expect((await edge.bid(bidBody({ badv: ['rd.com'] }))).status).toBe(200);
});

test('17: a secure impression gets https markup only; billing is then left to burl', async () => {
  const imp = [
    { id: '1', banner, secure: 1 },
    { id: '2', video: { mimes: ['video/mp4'] }, secure: 1 },
  ];
  const plain = await start();
  const overHttp = await plain.bid(bidBody({ imp }));
  for (const seat of overHttp.json!.seatbid!) {
    expect(seat.bid[0]!.adm).not.toContain('http://');
    expect(seat.bid[0]!.adm).toContain('https://shop.example/');
    expect(seat.bid[0]!.burl).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/notice\/bill\?t=/u);
  }
  const tls = await start({ publicUrl: 'https://bid.example/base' });
  const overHttps = await tls.bid(bidBody({ imp }));
  for (const seat of overHttps.json!.seatbid!) {
    expect(seat.bid[0]!.adm).not.toContain('http://');
    expect(seat.bid[0]!.adm).toContain('https://bid.example/base/notice/view?t=');
    expect(seat.bid[0]!.adm).toContain('https://bid.example/base/notice/click?t=');
  }
});

test('19: imps are sold one by one; an advertiser gets one place of a page, and reserves for that one', async () => {
  const edge = await start();
  const imp = ['a', 'b', 'c'].map((id) => ({ id, banner }));
  const { json } = await edge.bid(bidBody({ imp }));
  const places = json?.seatbid?.map(({ seat, bid }) => `${seat} ${bid.length}`);
  expect(places?.toSorted()).toEqual(['adv-cpc 1', 'adv-cpm 1']);
  expect(new Set(json?.seatbid?.flatMap(({ bid }) => bid.map((each) => each.impid))).size).toBe(2);
  expect(edge.reservedNanos()).toBe(2_000_000n);
});

test('19: two places of one seat share a seatbid', async () => {
  const shared = { advertiser: 'big', priceType: 'CPM', bidNanos: 1_000_000 } as const;
  const catalog = catalogOf([
    { id: 'x', ...shared, creative: {} },
    { id: 'y', ...shared, creative: { width: 320, height: 50 } },
    { id: 'z', ...shared, advertiser: 'other', creative: { width: 728, height: 90 } },
  ]);
  const edge = await start({ catalog });
  const imp = [banner, { w: 320, h: 50 }, { w: 728, h: 90 }].map((size, index) => ({ id: `i${index}`, banner: size }));
  const { json } = await edge.bid(bidBody({ imp }));
  // Competitive separation: the same advertiser wins one place, whatever the format of the others.
  expect(json?.seatbid?.map(({ seat }) => seat).toSorted()).toEqual(['big', 'other']);
});

test('21, G17: consent is read from both places, the new one wins, a conflict is counted', async () => {
  const edge = await start({ knownUsers: ['u1'] });
  const consent = acceptAllConsent(Date.UTC(2026, 0, 15));
  const known = async (change: Record<string, unknown>): Promise<boolean> => {
    const { status } = await edge.bid(bidBody({ user: { id: 'u1' }, ...change }));
    expect(status).toBe(200);
    return edge.records.at(-1)!.userKey === 'u1';
  };
  expect(await known({})).toBe(true);
  expect(await known({ regs: { gdpr: 1 }, user: { id: 'u1', consent } })).toBe(true);
  expect(await known({ regs: { ext: { gdpr: 1 } }, user: { id: 'u1', ext: { consent } } })).toBe(true);
  expect(await known({ regs: { gdpr: 1 } })).toBe(false);
  expect(await known({ regs: { ext: { gdpr: 1 } } })).toBe(false);
  expect(await known({ regs: { gdpr: 1 }, user: { id: 'u1', consent: 'garbage' } })).toBe(false);
  expect(await known({ device: { geo: { country: 'DEU' } } })).toBe(false);
  expect(await known({ device: { geo: { country: 'DEU' } }, regs: { gdpr: 0 } })).toBe(true);
  expect(edge.counter('privacy_conflicts')).toBe(0);
  expect(await known({ regs: { gdpr: 0, ext: { gdpr: 1 } } })).toBe(true);
  expect(edge.counter('privacy_conflicts')).toBe(1);
  expect(await known({ regs: { coppa: 1 } })).toBe(false);
  expect(await known({ device: { lmt: 1 } })).toBe(false);
  expect(await known({ device: { dnt: 1 } })).toBe(false);
  expect(await known({ regs: { us_privacy: '1YYN' } })).toBe(false);
  expect(await known({ regs: { ext: { us_privacy: '1YYN' } } })).toBe(false);
  expect(await known({ regs: { us_privacy: '1YNN' } })).toBe(true);
  expect(await known({ regs: { us_privacy: 'nonsense' } })).toBe(true);
  expect(await known({ regs: { gpp: 'nonsense', gpp_sid: [7] } })).toBe(false);
  expect(await known({ regs: { gpp: '\ud800~~~' } })).toBe(true);
});

test('21: without consent nothing about the user is logged, and caps by user do not hold', async () => {
  const edge = await start({ knownUsers: ['u1'] });
  await edge.bid(bidBody({ user: { id: 'u1', data: [{ segment: [{ id: 'IAB2' }] }] }, regs: { coppa: 1 } }));
  const record = edge.records.at(-1)!;
  expect([record.userKey, record.userRow, record.userIdCount]).toEqual(['', 0xffff_ffff, 0]);
  const { bid } = await edge.bid(bidBody({ user: { id: 'u1' }, regs: { coppa: 1 } }));
  const view = /src="[^"]*(\/notice\/view[^"]*)"/u.exec(bid!.adm)![1]!;
  expect((await edge.request('GET', view)).status).toBe(204);
  expect([edge.notices[0]?.userHashHigh, edge.notices[0]?.userHashLow]).toEqual([0, 0]);
});

test('23: a bid says all that an exchange needs, and no more than that without being asked', async () => {
  const edge = await start();
  const { json, bid } = await edge.bid(bidBody({ id: 'r"\\\u0001é\ud800' }));
  expect(json?.id).toBe('r"\\\u0001é\ud800');
  expect(json?.bidid).toMatch(/^[0-9a-f]{16}$/u);
  expect(json?.cur).toBe('USD');
  expect(bid).toMatchObject({
    id: `${json?.bidid}-0`,
    impid: '1',
    price: 2,
    adid: 'cpm.cr-cpm',
    crid: 'cr-cpm',
    cid: 'c-cpm',
    adomain: ['adv-cpm.example'],
    cat: ['IAB2-3'],
    cattax: 1,
    w: 300,
    h: 250,
    mtype: 1,
    exp: 60,
  });
  expect(bid?.ext).toBeUndefined();
  expect(bid?.nurl).toContain('&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}');
  expect(bid?.burl).toContain('&p=${AUCTION_PRICE}&c=${AUCTION_CURRENCY}');
  expect(bid?.lurl).toContain('&l=${AUCTION_LOSS}');
  const debugged = await edge.bid(bidBody({ imp: [{ id: '1', banner, exp: 20 }] }), { 'x-gavelin-debug': '1' });
  expect(debugged.bid?.exp).toBe(20);
  expect(debugged.bid?.ext?.gavelin).toEqual({
    auction_id: debugged.json?.bidid,
    model_id: 'test-model',
    rung: 'full',
    p_click: expect.closeTo(0.02, 6) as number,
  });
});

test('23: video and native bids name their kind, and their markup is whole', async () => {
  const edge = await start();
  const request = JSON.stringify({
    ver: '1.2',
    assets: [
      { id: 9, required: 1, title: { len: 90 } },
      { id: 4, img: { type: 3 } },
    ],
  });
  const imp = [
    { id: 'v', video: { mimes: ['video/mp4'], protocols: [2, 3] } },
    { id: 'n', native: { request } },
  ];
  const { json } = await edge.bid(bidBody({ imp }));
  const bids = json!.seatbid!.flatMap(({ bid }) => bid);
  const film = bids.find(({ impid }) => impid === 'v')!;
  expect(film).toMatchObject({ mtype: 2, dur: 15, protocol: 3, w: 640, h: 360 });
  expect(film.adm).toContain('<VAST version="3.0">');
  const feed = bids.find(({ impid }) => impid === 'n')!;
  expect(feed.mtype).toBe(4);
  const native = JSON.parse(feed.adm) as { assets: { id: number }[]; link: { url: string }; imptrackers: string[] };
  expect(native.assets.map(({ id }) => id)).toEqual([9, 4]);
  expect(native.link.url).toContain('/notice/click?t=');
  expect(native.imptrackers[0]).toContain('/notice/view?t=');
});

test('24: prices are CPM in whole nanos per impression, rounded down; the margin comes off the value', async () => {
  const catalog = catalogOf([{ id: 'cpc', priceType: 'CPC', bidNanos: 33_333_333, creative: {} }]);
  const edge = await start({ catalog, click: () => 0.0123 });
  const { bid } = await edge.bid(bidBody());
  const record = edge.records[0]!;
  const valueNanos = (BigInt(record.candidateBidNanos[0]!) * BigInt(record.candidateClickQ30[0]!)) >> 30n;
  expect(bid?.price).toBe(Number(valueNanos) / 1e6);
  const margin = await start({ catalog, click: () => 0.0123, marginPpm: 100_000 });
  const kept = (valueNanos * 900_000n) / 1_000_000n;
  expect((await margin.bid(bidBody())).bid?.price).toBe(Number(kept) / 1e6);
  // The floor is met by the value, so it is met by the answer.
  const floor = Number(valueNanos) / 1e6;
  expect((await margin.bid(bidBody({ imp: [{ id: '1', banner, bidfloor: floor }] }))).bid?.price).toBe(floor);
});

test('30: a request id that comes again is a new auction with the same answer', async () => {
  const edge = await start();
  const answers = await Promise.all(Array.from({ length: 8 }, () => edge.bid(bidBody())));
  expect(new Set(answers.map(({ json }) => json?.bidid)).size).toBe(8);
  expect(new Set(answers.map(({ bid }) => `${bid?.adid} ${bid?.price}`)).size).toBe(1);
  expect(edge.reservedNanos()).toBe(8n * 2_000_000n);
  // One of them is billed, the rest are lost: spent once.
  const url = (text: string): string => text.slice(text.indexOf('/notice/')).replace('${AUCTION_PRICE}', '1.5');
  for (const { bid } of answers.slice(1)) await edge.request('GET', url(bid!.lurl));
  for (let repeat = 0; repeat < 3; repeat++)
    expect((await edge.request('GET', url(answers[0]!.bid!.burl))).status).toBe(204);
  expect(edge.reservedNanos()).toBe(0n);
  expect(edge.ledger.snapshot(edge.writer.lineItemOf('cpm')).spentNanos).toBe(1_500_000n);
});

test('overload is a 204, quickly, and never more than that', async () => {
  const edge = await start({ inFlightMax: 2, scoringMs: 50 });
  const answers = await Promise.all(Array.from({ length: 10 }, () => edge.bid(bidBody())));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(2);
  expect(answers.filter(({ status }) => status === 204)).toHaveLength(8);
  expect(edge.counter('shed')).toBe(8);
});

test('a queue moves the load level, a lone request on a slow machine does not', async () => {
  const edge = await start({ scoringMs: 60 });
  for (let call = 0; call < 6; call++) expect((await edge.bid(bidBody())).status).toBe(200);
  expect(edge.admission.ladder.startRung).toBe(0);
  for (let wave = 0; wave < 4; wave++) await Promise.all(Array.from({ length: 6 }, () => edge.bid(bidBody())));
  expect(edge.admission.ladder.startRung).toBeGreaterThan(0);
  expect(edge.records.at(-1)!.rung).toBeGreaterThan(0);
});

test('answers are never compressed, so no caller gets what he did not ask for', async () => {
  const edge = await start();
  const connection = await RawConnection.open(edge.port);
  const body = gzipSync(JSON.stringify(bidBody()));
  expect(gunzipSync(body).length).toBeGreaterThan(0);
  connection.send(
    `POST /openrtb2/bid HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nContent-Encoding: gzip\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  connection.send(body);
  const answer = await connection.answer();
  expect(answer?.headers['content-encoding']).toBeUndefined();
  expect(JSON.parse(answer!.body)).toMatchObject({ id: 'r1' });
  connection.destroy();
});
