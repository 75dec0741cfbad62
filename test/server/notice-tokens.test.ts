import fc from 'fast-check';
import { expect, test } from 'vitest';
import { noticeKinds } from '#server/notice-claims.ts';
import { noticeLifetimesMs, NoticeSigner } from '#server/notice-tokens.ts';
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
    issuedAtMs: fc.integer({ min: 0, max: 2 ** 47 }),
    isTest: fc.boolean(),
    clickUrl: fc.webUrl({ withQueryParameters: true, withFragments: true }),
  })
  .map(({ reservation, priceType, ...rest }) =>
    claimsOf({
      ...rest,
      priceType,
      reservationHandle: reservation?.[0] ?? -1,
      reservationGeneration: reservation?.[1] ?? 0,
      reservedNanos: reservation?.[2] ?? 0,
    }),
  );

const signer = new NoticeSigner(key);

test('what was signed is read back, the click target only from the click token', () => {
  fc.assert(
    fc.property(anyClaims, (claims) => {
      const tokens = signer.sign(claims);
      for (const kind of noticeKinds) {
        const verified = signer.verify(kind, tokens[kind], claims.issuedAtMs);
        expect(verified).toEqual({
          kind,
          claims: kind === 'click' ? claims : { ...claims, clickUrl: '' },
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
