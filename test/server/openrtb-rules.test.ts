import { afterEach, expect, test } from 'vitest';
import { acceptAllConsent } from '#deploy/demo/consent-string.ts';
import { Edge, type EdgeOptions } from '../support/edge.ts';
import { RawConnection } from '../support/raw-http.ts';
import { banner, bidBody, catalogOf, videoCreative } from '../support/small-catalog.ts';

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
  expect([edge.counter('auctions'), edge.counter('live_auctions')]).toEqual([2, 1]);
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

test('17: where no click can be told, only ads paid per impression are offered', async () => {
  const catalog = catalogOf([
    { id: 'click', priceType: 'CPC', bidNanos: 900_000_000, creative: {} },
    { id: 'view', priceType: 'CPM', bidNanos: 1_000_000, creative: {} },
  ]);
  const secure = bidBody({ imp: [{ id: '1', banner, secure: 1 }] });
  const plain = await start({ catalog });
  expect((await plain.bid(bidBody())).bid?.adid).toBe('click.cr-click');
  expect((await plain.bid(secure)).bid?.adid).toBe('view.cr-view');
  const tls = await start({ catalog, publicUrl: 'https://bid.example' });
  expect((await tls.bid(secure)).bid?.adid).toBe('click.cr-click');
});

test('17: where no view can be told there is no video, which VAST would not allow', async () => {
  const video = { mimes: ['video/mp4'] };
  const plain = await start();
  expect((await plain.bid(bidBody({ imp: [{ id: '1', video }] }))).bid?.mtype).toBe(2);
  const why = await plain.bid(bidBody({ imp: [{ id: '1', video, secure: 1 }], test: 1 }));
  expect(why.json?.ext?.gavelin.reason).toBe('noCandidate');
  const catalog = catalogOf([
    { id: 'film', priceType: 'CPM', bidNanos: 9_000_000, creative: videoCreative },
    { id: 'still', priceType: 'CPM', bidNanos: 1_000_000, creative: {} },
  ]);
  const both = bidBody({ imp: [{ id: '1', banner, video, secure: 1 }] });
  const overHttp = await start({ catalog });
  expect((await overHttp.bid(both)).bid?.cid).toBe('c-still');
  const tls = await start({ catalog, publicUrl: 'https://bid.example' });
  expect((await tls.bid(both)).bid?.adm).toContain('<Impression><![CDATA[https://bid.example/notice/view?t=');
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
  expect(await known({ regs: { gpp_sid: [7] } })).toBe(false);
  expect(await known({ regs: { ext: { gpp_sid: [8] } } })).toBe(false);
  expect(await known({ regs: { gpp: '', gpp_sid: [5] } })).toBe(true);
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
