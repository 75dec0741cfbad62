import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Callers, defaultCaller } from '#server/callers.ts';
import { nodeListener } from '#server/node-listener.ts';
import { uwsListener } from '#server/uws-listener.ts';
import { Edge, type EdgeOptions } from '../support/edge.ts';
import { RawConnection } from '../support/raw-http.ts';
import { banner, bidBody } from '../support/small-catalog.ts';

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
  expect(edge.admission.ladder.levelIndex).toBe(0);
  for (let wave = 0; wave < 4; wave++) await Promise.all(Array.from({ length: 6 }, () => edge.bid(bidBody())));
  expect(edge.admission.ladder.levelIndex).toBeGreaterThan(0);
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
