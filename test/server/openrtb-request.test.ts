import { describe, expect, test } from 'vitest';
import { acceptAllConsent } from '#deploy/demo/consent-string.ts';
import type { BidRequest } from '#server/bid-request.ts';
import { countryAlpha3 } from '#server/country-codes.ts';
import { allowsProfile } from '#server/openrtb-privacy.ts';
import { readBidRequest } from '#server/openrtb-request.ts';
import { parseJsonObject } from '#server/parse-json.ts';

const options = { defaultAuctionType: 2, userIdFields: ['buyeruid', 'id'], isSecureByDefault: false } as const;
const banner = { w: 300, h: 250 };

function read(change: Readonly<Record<string, unknown>>, more: Partial<typeof options> | object = {}): BidRequest {
  const request = readBidRequest({ id: 'r', imp: [{ id: '1', banner }], ...change }, { ...options, ...more });
  if (request.kind === 'fault') throw new Error(`${request.code} ${request.path} ${request.message}`);
  return request;
}
const imp = (change: Readonly<Record<string, unknown>>) => read({ imp: [{ id: '1', ...change }] }).imps[0]!;

describe('imp', () => {
  test('sizes come from format, else from w and h', () => {
    const sizes = (slot: object) => imp({ banner: slot }).banner?.sizes;
    expect(sizes({ w: 300, h: 250 })).toEqual([{ width: 300, height: 250 }]);
    expect(
      sizes({
        w: 1,
        h: 1,
        format: [
          { w: 300, h: 250 },
          { w: 320, h: 50 },
        ],
      }),
    ).toEqual([
      { width: 300, height: 250 },
      { width: 320, height: 50 },
    ]);
    expect(sizes({ format: [{ wratio: 16, hratio: 9, wmin: 100 }] })).toBeUndefined();
    expect(sizes({ w: 70_000, h: 10 })).toBeUndefined();
    expect(sizes({ ...banner, btype: [1, 2] })).toBeUndefined();
    expect(sizes({})).toBeUndefined();
  });

  test('video: limits in ms, exact durations win, the old protocol field counts', () => {
    const video = (slot: object) => imp({ video: { mimes: ['video/mp4'], ...slot } }).video!;
    expect(video({})).toMatchObject({
      durationMsMin: 0,
      durationMsMax: Number.POSITIVE_INFINITY,
      durationsMs: [],
      protocols: [],
    });
    expect(video({ minduration: 5, maxduration: 30, protocol: 3 })).toMatchObject({
      durationMsMin: 5000,
      durationMsMax: 30_000,
      protocols: [3],
    });
    expect(video({ poddur: 60 }).durationMsMax).toBe(60_000);
    expect(video({ rqddurs: [15, 30], maxduration: 20 })).toMatchObject({
      durationsMs: [15_000, 30_000],
      durationMsMax: Number.POSITIVE_INFINITY,
    });
  });

  test('floors: rounded up, and for video the highest that is stated', () => {
    expect(imp({ banner, bidfloor: 0.000_000_1 }).floorNanos).toBe(1);
    expect(imp({ banner, bidfloorcur: 'eur' }).floorCurrency).toBe('EUR');
    const video = {
      mimes: ['video/mp4'],
      maxduration: 30,
      mincpmpersec: 0.1,
      durfloors: [{ bidfloor: 2 }, { bidfloor: 4 }, 'x'],
    };
    expect(imp({ video, bidfloor: 1 })).toMatchObject({ floorNanos: 1_000_000, videoFloorNanos: 4_000_000 });
    expect(imp({ video: { ...video, durfloors: [] }, bidfloor: 5 }).videoFloorNanos).toBe(5_000_000);
  });

  test('native: wrapped or not, assets by kind, what is unknown is dropped and counted', () => {
    const assets = [
      { id: 1, required: 1, title: { len: 25 } },
      { id: 2, img: { type: 1 } },
      { id: 3, data: { type: 1, len: 9 } },
      { id: 4 },
      7,
    ];
    for (const text of [JSON.stringify({ ver: '1.1', assets }), JSON.stringify({ native: { ver: '1.1', assets } })]) {
      const request = read({ imp: [{ id: '1', native: { request: text } }] });
      expect(request.imps[0]!.native).toEqual({
        version: '1.1',
        assets: [
          { id: 1, isRequired: true, kind: 'title', type: 0, charsMax: 25 },
          { id: 2, isRequired: false, kind: 'image', type: 1, charsMax: 0 },
          { id: 3, isRequired: false, kind: 'data', type: 1, charsMax: 9 },
        ],
      });
      expect(request.leniency.ignored).toBe(2);
    }
  });

  test('secure is what is said, else what the caller says', () => {
    expect(imp({ banner }).isSecure).toBe(false);
    expect(imp({ banner, secure: 1 }).isSecure).toBe(true);
    const strict = { isSecureByDefault: true };
    expect(read({}, strict).imps[0]!.isSecure).toBe(true);
    expect(read({ imp: [{ id: '1', banner, secure: 0 }] }, strict).imps[0]!.isSecure).toBe(false);
  });

  test('blocked attributes of all its slots, and whether only deals are wanted', () => {
    const both = imp({ banner: { ...banner, battr: [1] }, video: { mimes: ['video/mp4'], battr: [6, '9'] } });
    expect(both.blockedAttributes).toEqual([1, 6, 9]);
    expect(imp({ banner, pmp: { private_auction: 1, deals: [{ id: 'd' }] } }).isPrivateAuction).toBe(true);
    expect(imp({ banner, pmp: { private_auction: '0' } }).isPrivateAuction).toBe(false);
  });
});

describe('place and device', () => {
  test('the domain of a site, or the host of its page; the bundle of an app', () => {
    expect(read({ site: { domain: 'News.Example' } }).place).toMatchObject({ kind: 'site', domain: 'news.example' });
    expect(read({ site: { page: 'https://u:p@Sub.News.example:8443/a?b#c' } }).place.domain).toBe('sub.news.example');
    expect(read({ site: { page: 'about:blank' } }).place.domain).toBe('');
    expect(read({ app: { bundle: 'com.a', id: '9' } }).place).toMatchObject({ kind: 'app', bundle: 'com.a', id: '9' });
    expect(read({ dooh: { id: 'd' } }).place.kind).toBe('dooh');
    expect(read({}).place.kind).toBe('none');
  });

  test('type and system from the fields, else from the agent', () => {
    const device = (fields: object) => {
      const { type, os } = read({ device: fields }).device;
      return [type, os];
    };
    expect(device({ devicetype: 5, os: 'iPadOS' })).toEqual(['tablet', 'ios']);
    expect(device({ devicetype: '2', os: 'Mac OS X' })).toEqual(['desktop', 'macos']);
    expect(device({ os: 'Android 14' })).toEqual(['', 'android']);
    expect(device({ os: 'TempleOS' })).toEqual(['', 'other']);
    expect(device({ ua: 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) Mobile/15E148' })).toEqual([
      'phone',
      'ios',
    ]);
    expect(device({ ua: 'Mozilla/5.0 (Linux; Android 15; Pixel 9) Mobile' })).toEqual(['phone', 'android']);
    expect(device({ ua: 'Mozilla/5.0 (Windows NT 10.0; Win64; x64)' })).toEqual(['desktop', 'windows']);
    expect(device({ ua: 'Mozilla/5.0 (X11; Linux x86_64)' })).toEqual(['desktop', 'linux']);
    expect(device({ ua: 'Mozilla/5.0 (iPad; CPU OS 17_0)' })).toEqual(['tablet', 'ios']);
    expect(device({ ua: 'SmartTV' })).toEqual(['tv', '']);
  });

  test('country by two or three letters, of the device first; language without its region', () => {
    expect(read({ device: { geo: { country: 'de' } } }).device.country).toBe('DEU');
    expect(read({ user: { geo: { country: 'GBR' } } }).device.country).toBe('GBR');
    expect(read({ device: { geo: { country: 'USA' } }, user: { geo: { country: 'GBR' } } }).device.country).toBe('USA');
    expect(read({ device: { language: 'en-US' } }).device.language).toBe('en');
    expect(read({ device: { langb: 'pt_BR' } }).device.language).toBe('pt');
    expect(['US', 'usa', 'XX', '', 'Germany', 'gb'].map(countryAlpha3)).toEqual(['USA', 'USA', '', '', '', 'GBR']);
  });
});

describe('user', () => {
  test('the first id field that is there, in the order of the caller', () => {
    const user = { id: 'i', buyeruid: 'b' };
    expect(read({ user }).user.key).toBe('b');
    expect(read({ user }, { userIdFields: ['id'] }).user.key).toBe('i');
    expect(read({ user: { id: 42 } }).user.key).toBe('42');
    expect(read({ user: { id: 'x'.repeat(600) } }).user.key).toBe('');
    expect(
      read({ user: { id: 'i', data: [{ segment: [{ id: 'a' }, {}, 5] }, null, { segment: 'x' }] } }).user.segments,
    ).toEqual(['a']);
  });

  test('each refusal has its name, and takes key and segments away', () => {
    const refusal = (change: object) => {
      const { user } = read({ user: { id: 'u', data: [{ segment: [{ id: 's' }] }] }, ...change });
      expect([user.key !== '', user.segments.length]).toEqual(user.isKeyAllowed ? [true, 1] : [false, 0]);
      return user.refusal;
    };
    expect(refusal({})).toBe('');
    expect(refusal({ regs: { gdpr: 1 } })).toBe('GDPR_NO_CONSENT');
    expect(refusal({ regs: { gdpr: '1' } })).toBe('GDPR_NO_CONSENT');
    expect(refusal({ device: { geo: { country: 'FRA' } } })).toBe('EEA_NO_SIGNAL');
    expect(refusal({ device: { geo: { country: 'CHE' } } })).toBe('');
    expect(refusal({ regs: { coppa: 1 } })).toBe('COPPA');
    expect(refusal({ regs: { ext: { coppa: 1 } } })).toBe('COPPA');
    expect(refusal({ device: { lmt: true } })).toBe('LMT');
    expect(refusal({ regs: { us_privacy: '1NYN' } })).toBe('US_PRIVACY');
    expect(refusal({ regs: { gpp: 'DBABBg~1YYN' } })).toBe('GPP_OPT_OUT');
    expect(refusal({ regs: { gpp: 'DBABBg~1YYN', gpp_sid: [7] } })).toBe('GPP_OPT_OUT');
    expect(refusal({ regs: { gpp: 'DBABBg~1YNN' } })).toBe('');
  });

  test('a consent string must be version 2, whole, and allow purposes 1, 3 and 4', () => {
    const consent = acceptAllConsent(Date.UTC(2026, 0, 1));
    expect(allowsProfile(consent)).toBe(true);
    expect(allowsProfile(`${consent}.YAAAAAAAAAA`)).toBe(true);
    expect(allowsProfile(consent.slice(0, 30))).toBe(false);
    expect(allowsProfile(`B${consent.slice(1)}`)).toBe(false);
    expect(allowsProfile(`${consent.slice(0, 20)}!${consent.slice(21)}`)).toBe(false);
    // Bits 152 to 155 are purposes 1 to 4: character 25 holds 150 to 155.
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const withPurposes = (bits: number): string =>
      consent.slice(0, 25) + letters[(letters.indexOf(consent[25]!) & 0b110000) | bits] + consent.slice(26);
    expect([0b1111, 0b1011, 0b0011, 0b1001, 0b1010].map((bits) => allowsProfile(withPurposes(bits)))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });
});

describe('the request as a whole', () => {
  test('time limits, currencies, block lists', () => {
    expect([
      read({ tmax: 120.9 }).tmaxMs,
      read({ tmax: '80' }).tmaxMs,
      read({ tmax: 0 }).tmaxMs,
      read({ tmax: 1e9 }).tmaxMs,
    ]).toEqual([120, 80, undefined, 60_000]);
    expect(read({ cur: 'eur' }).currencies).toEqual(['EUR']);
    expect(readBidRequest({ id: 'r', imp: [{ id: '1', banner }], cur: [1] }, options)).toMatchObject({
      kind: 'fault',
      path: 'cur',
    });
    expect(read({ badv: 'Ford.com., a.example' }).blocked.advertiserDomains).toEqual(['ford.com', 'a.example']);
    expect(read({ wlangb: ['en-GB'] }).blocked.allowedLanguages).toEqual(['en']);
    expect([
      read({}).auctionType,
      read({ at: 1 }).auctionType,
      read({ at: 9 }).auctionType,
      read({ at: 501 }).auctionType,
    ]).toEqual([2, 1, 2, 501]);
    expect(read({ ext: { a: 1 } }).ext).toEqual({ a: 1 });
  });

  test('what a body must be before it is looked at', () => {
    const parse = (text: string | Uint8Array) => {
      const parsed = parseJsonObject(typeof text === 'string' ? Buffer.from(text) : text);
      return parsed.kind === 'fault' ? parsed.code : parsed.object;
    };
    expect(parse('')).toBe('BODY_EMPTY');
    expect(parse('{"a":')).toBe('BODY_NOT_JSON');
    expect(parse('[1]')).toBe('BODY_NOT_OBJECT');
    expect(parse('null')).toBe('BODY_NOT_OBJECT');
    expect(parse(`{"a":${'['.repeat(63)}${']'.repeat(63)}}`)).toHaveProperty('a');
    expect(parse(`{"a":${'['.repeat(64)}${']'.repeat(64)}}`)).toBe('TOO_DEEP');
    // Brackets inside a text nest nothing.
    expect(parse(`{"a":"${'[{\\"'.repeat(200)}"}`)).toHaveProperty('a');
    expect(parse(Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d))).toEqual({});
    expect(parse(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d))).toEqual({ '\ufffd': 1 });
    const fault = parseJsonObject(Buffer.from('{"secret": "john@example.com" oops}'));
    expect(JSON.stringify(fault)).not.toContain('john');
  });
});
