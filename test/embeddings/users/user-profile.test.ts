import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeUserProfile, encodeUserProfile } from '#embeddings/users/user-profile.ts';

test('a profile reads back as it was written, whatever its words', () => {
  const word = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((text) => text.isWellFormed());
  fc.assert(
    fc.property(fc.record({ age: word, gender: word, segments: fc.array(word, { maxLength: 12 }) }), (profile) => {
      expect(decodeUserProfile(encodeUserProfile(profile))).toEqual(profile);
    }),
  );
});

test('bytes that are no profile give none', () => {
  expect(decodeUserProfile(Buffer.alloc(0))).toBeUndefined();
  expect(decodeUserProfile(Buffer.of(0))).toBeUndefined();
  expect(decodeUserProfile(Buffer.of(3, 65, 66))).toBeUndefined();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      decodeUserProfile(Buffer.from(bytes));
    }),
  );
});

test('a word or a list beyond its limit is refused', () => {
  expect(() => encodeUserProfile({ age: 'x'.repeat(256), gender: '', segments: [] })).toThrow(RangeError);
  expect(() => encodeUserProfile({ age: '', gender: '', segments: Array.from({ length: 201 }, () => 's') })).toThrow(
    RangeError,
  );
});
