import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { acceptAllConsent } from '#deploy/demo/consent-string.ts';
import type { BidRequest, RequestFault } from '#server/bid-request.ts';
import { parseBidRequest, readBidRequest } from '#server/openrtb-request.ts';
import { Edge } from '../support/edge.ts';
import { RawConnection } from '../support/raw-http.ts';

const options = { defaultAuctionType: 2, userIdFields: ['buyeruid', 'id'], isSecureByDefault: false } as const;

/** A request that says everything that we read, and more. */
const full = {
  id: 'r1',
  test: 0,
  at: 1,
  tmax: 500,
  cur: ['USD', 'EUR'],
  wseat: ['adv-cpm', 'adv-cpc'],
  bcat: ['IAB25', 'IAB7-39'],
  badv: ['blocked.example'],
  bapp: ['com.blocked'],
  cattax: 1,
  wlang: ['en'],
  imp: [
    {
      id: '1',
      banner: {
        w: 300,
        h: 250,
        format: [
          { w: 300, h: 250 },
          { wratio: 4, hratio: 3, wmin: 200 },
        ],
        btype: [4],
        battr: [9],
        pos: 1,
      },
      bidfloor: 0.25,
      bidfloorcur: 'USD',
      secure: 1,
      instl: 0,
      exp: 30,
      tagid: 't1',
      pmp: { private_auction: 0, deals: [{ id: 'd1', bidfloor: 1.5, at: 3, wseat: ['x'] }] },
    },
    {
      id: '2',
      video: {
        mimes: ['video/mp4'],
        minduration: 5,
        maxduration: 30,
        protocols: [2, 3],
        w: 640,
        h: 360,
        rqddurs: [15],
        mincpmpersec: 0.01,
        durfloors: [{ mindur: 1, maxdur: 30, bidfloor: 0.1 }],
      },
    },
    { id: '3', native: { request: '{"ver":"1.2","assets":[{"id":1,"required":1,"title":{"len":50}}]}', ver: '1.2' } },
    { id: '4', audio: { mimes: ['audio/mp4'] } },
  ],
  site: { id: 's', domain: 'news.example', page: 'https://news.example/a', cat: ['IAB12'], publisher: { id: 'p' } },
  device: {
    ua: 'Mozilla/5.0 (iPhone)',
    devicetype: 4,
    os: 'iOS',
    language: 'en',
    langb: 'en-US',
    lmt: 0,
    dnt: 0,
    geo: { country: 'USA' },
  },
  user: {
    id: 'u1',
    buyeruid: 'b1',
    consent: acceptAllConsent(0),
    data: [{ segment: [{ id: 'IAB2' }] }],
    ext: { consent: '' },
    geo: { country: 'USA' },
  },
  regs: {
    gdpr: 1,
    coppa: 0,
    us_privacy: '1YNN',
    gpp: 'DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA',
    gpp_sid: [2],
    ext: { gdpr: 1 },
  },
  source: { tid: 't', schain: { complete: 1, nodes: [] } },
  ext: { anything: [1, { deep: true }] },
};

type Path = readonly (string | number)[];

function pathsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [
    path,
    ...Object.entries(value).flatMap(([key, each]) =>
      pathsOf(each, [...path, Array.isArray(value) ? Number(key) : key]),
    ),
  ];
}
const paths = pathsOf(full).filter((path) => path.length > 0);

function withChange(path: Path, change: (old: unknown) => unknown): Record<string, unknown> {
  const copy = structuredClone(full) as unknown as Record<string, unknown>;
  let at: Record<string | number, unknown> = copy;
  for (const step of path.slice(0, -1)) {
    const next = at[step];
    // An earlier change may have put something else where the path leads.
    if (typeof next !== 'object' || next === null) return copy;
    at = next as Record<string | number, unknown>;
  }
  const last = path.at(-1)!;
  const changed = change(at[last]);
  if (changed === undefined) delete at[last];
  else at[last] = changed;
  return copy;
}

const nasty = fc.oneof(
  fc.constantFrom<unknown>(
    undefined,
    null,
    true,
    false,
    0,
    -0,
    -1,
    1.5,
    1e300,
    -1e300,
    5e-324,
    2 ** 53,
    4_294_967_296,
    1_249_995,
    '',
    '0',
    '1',
    '-1',
    'NaN',
    'Infinity',
    '1e999',
    '\ud800',
    '\udc00\ud800',
    '\u0000',
    '__proto__',
    'constructor',
    '<script>"\'&]]>',
    'x'.repeat(10_240),
    [],
    {},
    [[]],
    [null],
    [{}],
    [1, 'a', null, {}, []],
    { __proto__: null, a: 1 },
    { length: 3 },
    Array.from({ length: 1000 }, () => 'IAB1'),
  ),
  fc.jsonValue({ maxDepth: 4 }),
  fc.string({ unit: 'binary', maxLength: 64 }),
  fc.double(),
);

/** Every answer that the endpoint may give to anything at all. */
const allowed = [200, 204, 400, 413];

let edge: Edge;
beforeAll(async () => {
  edge = await Edge.start({ bodyBytesMax: 262_144 });
});
afterAll(async () => {
  await edge.stop();
});

/** What is wrong with what was read: a fault must have a code, the numbers of a request must be what their types promise. */
function oddities(read: BidRequest | RequestFault): string[] {
  if (read.kind === 'fault') return /^[A-Z_]+$/u.test(read.code) ? [] : [`code ${read.code}`];
  const odd: string[] = [];
  const must = (isFine: boolean, what: string): void => {
    if (!isFine) odd.push(what);
  };
  const isSide = (side: number): boolean => Number.isInteger(side) && side > 0 && side <= 65_535;
  must(read.imps.length > 0, 'no imps');
  must(read.tmaxMs === undefined || (read.tmaxMs > 0 && read.tmaxMs <= 60_000), `tmax ${read.tmaxMs}`);
  must(new Set(read.imps.map(({ id }) => id)).size === read.imps.length, 'imp ids repeat');
  for (const imp of read.imps) {
    must(imp.id.length > 0, 'empty imp id');
    must(Number.isSafeInteger(imp.floorNanos) && imp.floorNanos >= 0, `floor ${imp.floorNanos}`);
    must(Number.isSafeInteger(imp.videoFloorNanos) && imp.videoFloorNanos >= imp.floorNanos, 'video floor');
    for (const { width, height } of imp.banner?.sizes ?? []) must(isSide(width) && isSide(height), 'side');
  }
  return odd;
}

test('the whole request is a request', () => {
  const read = readBidRequest(full, options);
  expect(read).toMatchObject({ kind: 'request', user: { key: 'b1', isKeyAllowed: true } });
});

test('a request with one or two fields changed to anything is read or refused, never thrown at', () => {
  const mutation = fc.tuple(fc.constantFrom(...paths), nasty);
  fc.assert(
    fc.property(mutation, fc.option(mutation), ([path, value], second) => {
      let changed = withChange(path, () => value);
      if (second !== null) {
        const base = changed;
        changed = { ...base, ...withChange(second[0], () => second[1]), [path[0]!]: base[path[0]!] };
      }
      const read = parseBidRequest(Buffer.from(JSON.stringify(changed)), options);
      expect(oddities(read)).toEqual([]);
    }),
    { numRuns: 3000 },
  );
});

test('every single field left out, null, or of another type is read or refused', () => {
  for (const path of paths) {
    for (const value of [undefined, null, 'text', 17, -3, [], {}, true]) {
      const read = parseBidRequest(Buffer.from(JSON.stringify(withChange(path, () => value))), options);
      expect(oddities(read)).toEqual([]);
    }
  }
});

test('any bytes at all are refused or read', () => {
  const seeds = fc.constantFrom(JSON.stringify(full), '{"id":"1","imp":[{"id":"1","banner":{"w":1,"h":1}}]}', '');
  fc.assert(
    fc.property(seeds, fc.uint8Array({ maxLength: 64 }), fc.nat(4000), fc.nat(200), (seed, noise, at, cut) => {
      const text = Buffer.from(seed);
      const place = Math.min(at, text.length);
      const bytes = Buffer.concat([text.subarray(0, place), noise, text.subarray(Math.min(text.length, place + cut))]);
      const read = parseBidRequest(bytes, options);
      expect(['request', 'fault']).toContain(read.kind);
    }),
    { numRuns: 2000 },
  );
});

test('the endpoint answers changed requests 200, 204 or 400, and sells nothing below a floor', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), nasty, async (path, value) => {
      const body = withChange(path, () => value);
      const { status, json, text, headers } = await edge.bid(JSON.stringify(body));
      expect(allowed).toContain(status);
      expect(status === 200 || text === '').toBe(true);
      expect(headers.get('x-gavelin-error') ?? '').toMatch(status === 400 ? /^[A-Z_0-9]+ [ -~]*$/u : /^$/u);
      for (const { bid } of json?.seatbid ?? []) {
        for (const each of bid) {
          const imp = (body['imp'] as { id: unknown; bidfloor?: number }[]).find(({ id }) => String(id) === each.impid);
          expect(imp).toBeDefined();
          expect(each.price).toBeGreaterThan(0);
          expect(each.price).toBeGreaterThanOrEqual(imp?.bidfloor ?? 0);
        }
      }
    }),
    { numRuns: 300 },
  );
  expect(edge.errors).toEqual([]);
});

test('the endpoint answers bytes, gzipped or not, and is there for the next', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), fc.boolean(), async (bytes, isZipped, saysSo) => {
      const body = isZipped ? gzipSync(bytes) : bytes;
      const { status } = await edge.bid(Buffer.from(body), saysSo ? { 'content-encoding': 'gzip' } : {});
      expect([204, 400]).toContain(status);
    }),
    { numRuns: 150 },
  );
  expect((await edge.bid(JSON.stringify(full))).status).toBe(200);
});

test.each([
  ['nests 100,000 deep', '['.repeat(100_000)],
  ['nests in objects', `${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}`],
  ['nests inside ext', JSON.stringify(full).replace('"deep":true', `"deep":${'['.repeat(500)}${']'.repeat(500)}`)],
  ['has an id of 10 KB', JSON.stringify({ ...full, id: 'i'.repeat(10_240) })],
  ['has an imp id of 10 KB', JSON.stringify(withChange(['imp', 0, 'id'], () => 'i'.repeat(10_240)))],
  [
    'has a thousand imps',
    JSON.stringify({
      ...full,
      imp: Array.from({ length: 1000 }, (_, index) => ({ id: `${index}`, banner: { w: 300, h: 250 } })),
    }),
  ],
  ['says NaN', JSON.stringify(full).replace('0.25', 'NaN')],
  ['says Infinity', JSON.stringify(full).replace('0.25', '-Infinity')],
])('a body that %s is 400', async (_, body) => {
  const { status, text } = await edge.bid(body);
  expect([status, text]).toEqual([400, '']);
});

test.each([
  ['a floor of 1e400', JSON.stringify(full).replace('0.25', '1e400'), [200, 204]],
  ['a number of 10,000 digits', JSON.stringify(full).replace('0.25', '9'.repeat(10_000)), [200, 204]],
  ['lone surrogates everywhere', JSON.stringify(full).replaceAll('example', '\\ud83d'), [200, 204]],
  ['bytes that are not UTF-8', Buffer.from(JSON.stringify(full).replace('news', '\u00ff\u00fe'), 'latin1'), [200, 204]],
  ['a byte order mark', `\ufeff${JSON.stringify(full)}`, [200]],
  ['the same key twice', JSON.stringify(full).replace('"tmax":500', '"tmax":500,"tmax":400'), [200]],
  ['__proto__ as a key', JSON.stringify(full).replace('"source"', '"__proto__"'), [200]],
  ['100 KB of unknown fields', JSON.stringify({ ...full, unknown: 'x'.repeat(100_000) }), [200]],
] as const)('a body with %s is no trouble', async (_, body, statuses) => {
  const { status } = await edge.bid(body);
  expect(statuses).toContain(status);
});

test('10 MB are 413 or the end of the connection, however they come', async () => {
  const piece = Buffer.alloc(1 << 20, 0x20);
  for (const head of ['Content-Length: 10485760', 'Transfer-Encoding: chunked']) {
    const connection = await RawConnection.open(edge.port);
    connection.send(`POST /openrtb2/bid HTTP/1.1\r\nHost: h\r\n${head}\r\n\r\n`);
    for (let index = 0; index < 10; index++) {
      if (head.startsWith('T')) connection.send(`${piece.length.toString(16)}\r\n`);
      connection.send(piece);
    }
    const answer = await connection.answer();
    expect(answer?.status ?? 413).toBe(413);
    connection.destroy();
  }
  const bomb = gzipSync(Buffer.alloc(20_000_000));
  expect(bomb.length).toBeLessThan(262_144);
  expect((await edge.bid(bomb, { 'content-encoding': 'gzip' })).status).toBe(400);
  expect((await edge.bid(JSON.stringify(full))).status).toBe(200);
});
