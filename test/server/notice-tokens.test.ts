import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type NoticeClaims, noticeKinds } from '#server/notice-claims.ts';
import { UserHash } from '#auction/user-hash.ts';
import { noticeLifetimesMs, NoticeSigner, userHashSeeds } from '#server/notice-tokens.ts';
import { claimsOf, key, noonMs } from './notice-fixtures.ts';

const word = fc.integer({ min: 0, max: 0xffff_ffff });
const nanos = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const anyClaims = fc
  .record({
    auctionHigh: word,
    auctionLow: word,
    impIndex: fc.integer({ min: 0, max: 15 }),
    adId: fc.string({ maxLength: 64, unit: 'binary' }).map((text) => text.toWellFormed()),
    priceType: fc.constantFrom(0, 1, 2),
    bidNanos: nanos,
    chargeNanos: nanos,
    clickQ30: fc.integer({ min: 0, max: 2 ** 30 }),
    reservation: fc.option(fc.tuple(fc.integer({ min: 0, max: 0x7fff_ffff }), word, nanos)),
    userHashHigh: word,
    userHashLow: word,
    siteKey: fc.oneof(fc.constant(0), word),
    interest: fc.constantFrom(0, 1, 2),
    issuedAtMs: fc.integer({ min: 0, max: 2 ** 47 }),
    isTest: fc.boolean(),
    currency: fc.constantFrom('USD', 'EUR', 'JPY'),
    clickUrl: fc.webUrl({ withQueryParameters: true, withFragments: true }),
  })
  .map(({ reservation, priceType, interest, ...rest }) =>
    claimsOf({
      ...rest,
      priceType,
      interest,
      reservationHandle: reservation?.[0] ?? -1,
      reservationGeneration: reservation?.[1] ?? 0,
      reservedNanos: reservation?.[2] ?? 0,
    }),
  );

const signer = new NoticeSigner(key);

/** What the tokens that a page shows to anybody may tell. */
const publicPart = (claims: NoticeClaims, kind: 'click' | 'conversion'): NoticeClaims => ({
  ...claims,
  bidNanos: 0,
  chargeNanos: claims.priceType === 0 ? 0 : claims.chargeNanos,
  clickQ30: 0,
  reservationHandle: -1,
  reservationGeneration: 0,
  reservedNanos: 0,
  userHashHigh: kind === 'click' ? claims.userHashHigh : 0,
  userHashLow: kind === 'click' ? claims.userHashLow : 0,
  siteKey: kind === 'click' ? claims.siteKey : 0,
  interest: kind === 'click' ? claims.interest : 0,
  currency: 'USD',
});

test('what was signed is read back, from click and conversion only what they need, and the target from the click alone', () => {
  fc.assert(
    fc.property(anyClaims, (claims) => {
      const tokens = signer.sign(claims);
      for (const kind of noticeKinds) {
        const verified = signer.verify(kind, tokens[kind], claims.issuedAtMs);
        const told = kind === 'click' || kind === 'conversion' ? publicPart(claims, kind) : claims;
        expect(verified).toEqual({
          kind,
          claims: kind === 'click' ? told : { ...told, clickUrl: '' },
          expiresAtMs: claims.issuedAtMs + noticeLifetimesMs[kind],
        });
      }
    }),
  );
});

test('a token of one kind is valid as no other', () => {
  const tokens = signer.sign(claimsOf());
  for (const kind of noticeKinds) {
    const acceptedAs = noticeKinds.filter((other) => signer.verify(other, tokens[kind], noonMs) !== 'BAD');
    expect(acceptedAs).toEqual([kind]);
  }
});

test('every flipped bit is found, in the text too', () => {
  const token = signer.sign(claimsOf({ reservationHandle: 3, userHashLow: 9 })).bill;
  const bytes = Buffer.from(token, 'base64url');
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const forged = Buffer.from(bytes);
    forged[bit >> 3]! ^= 1 << (bit & 7);
    expect(signer.verify('bill', forged.toString('base64url'), noonMs)).toBe('BAD');
  }
  // Spellings that decode to the same bytes are not tokens either.
  expect(signer.verify('bill', `${token}=`, noonMs)).toBe('BAD');
  expect(signer.verify('bill', ` ${token}`, noonMs)).toBe('BAD');
  const standard = bytes.toString('base64');
  expect(standard).toMatch(/[+/=]/u);
  expect(signer.verify('bill', standard, noonMs)).toBe('BAD');
});

test('junk of any kind is bad and never throws', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: 'binary' }), fc.base64String(), fc.constant('A'.repeat(100_000))),
      (junk) => {
        expect(signer.verify('click', junk, noonMs)).toBe('BAD');
      },
    ),
  );
});

test('another key signs other tokens', () => {
  const other = new NoticeSigner(Uint8Array.from(key, (byte) => byte ^ 1));
  expect(other.verify('win', signer.sign(claimsOf()).win, noonMs)).toBe('BAD');
  expect(() => new NoticeSigner(new Uint8Array(15))).toThrow('16 bytes');
});

test('each kind lives as long as it is said to, to the millisecond', () => {
  const tokens = signer.sign(claimsOf());
  for (const kind of noticeKinds) {
    const lastMs = noonMs + noticeLifetimesMs[kind];
    expect(signer.verify(kind, tokens[kind], lastMs)).toMatchObject({ kind, expiresAtMs: lastMs });
    expect(signer.verify(kind, tokens[kind], lastMs + 1)).toBe('EXPIRED');
  }
});

test('a conversion token is the same whether made from the bid or from its click', () => {
  fc.assert(
    fc.property(anyClaims, (claims) => {
      const { click, conversion } = signer.sign(claims);
      const clicked = signer.verify('click', click, claims.issuedAtMs);
      if (typeof clicked === 'string') throw new Error(clicked);
      expect(signer.signOne('conversion', clicked.claims)).toBe(conversion);
    }),
  );
});

test('only another currency than that of the catalog makes a token longer', () => {
  const { bill } = signer.sign(claimsOf());
  expect(signer.sign(claimsOf({ currency: 'USD' })).bill).toBe(bill);
  expect(signer.sign(claimsOf({ currency: 'EUR' })).bill.length).toBe(bill.length + 4);
});

test('the seeds of user hashes are those of the key alone', () => {
  const seeds = userHashSeeds(key);
  expect(userHashSeeds(key.slice())).toEqual(seeds);
  expect(seeds.high).not.toBe(seeds.low);
  const other = userHashSeeds(key.map((byte) => byte ^ 1));
  expect([other.high, other.low]).not.toContain(seeds.high);
  const hash = new UserHash(seeds.high, seeds.low);
  hash.of('user-1');
  const otherHash = new UserHash(other.high, other.low);
  otherHash.of('user-1');
  expect([otherHash.high, otherHash.low]).not.toEqual([hash.high, hash.low]);
});

test('tokens fit into an address: 200 characters with reservation, user and an id of 64 bytes', () => {
  const tokens = signer.sign(
    claimsOf({
      adId: 'a'.repeat(64),
      reservationHandle: 2 ** 31 - 1,
      reservationGeneration: 2 ** 32 - 1,
      reservedNanos: 2 ** 44,
      userHashHigh: 1,
      userHashLow: 2,
    }),
  );
  for (const kind of noticeKinds) {
    expect(tokens[kind]).toMatch(/^[A-Za-z0-9_-]+$/u);
    expect(tokens[kind].length).toBeLessThanOrEqual(200);
  }
});

test('no two tokens show that they are of one person', () => {
  const user = { userHashHigh: 0xdead_beef, userHashLow: 0x1234_5678 };
  const clear = Buffer.alloc(8);
  clear.writeUInt32LE(user.userHashHigh, 0);
  clear.writeUInt32LE(user.userHashLow, 4);
  const bodies = [1, 2].flatMap((auctionLow) =>
    [0, 1].map((impIndex) => {
      const { view, click } = signer.sign(claimsOf({ ...user, auctionLow, impIndex }));
      for (const token of [view, click]) expect(Buffer.from(token, 'base64url').includes(clear)).toBe(false);
      // Where the user lies in a click's body, which has no reservation.
      return Buffer.from(click, 'base64url').toString('hex', 35, 43);
    }),
  );
  expect(new Set(bodies).size).toBe(4);
});

test('tokens that carry the user as it is, as they did before, stay valid', () => {
  const token = 'EAR4VjQS8N68mgAAts41ngFAQg8AAABAQg8AAAAHABSuRwEFAAAABgAAAGxpMS5jcjExuyA2QhwM4hY_wDJ1pxVV';
  expect(signer.verify('view', token, noonMs)).toMatchObject({ claims: { userHashHigh: 5, userHashLow: 6 } });
});
