import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BundleError } from '#inference/bundle-errors.ts';
import { canonicalJson, type JsonValue, parseCanonical } from '#inference/canonical-json.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('canonical JSON', () => {
  test('sorts keys by UTF-16 code units, at every depth, and writes no white space', () => {
    expect(canonicalJson({ b: [1, { z: null, a: true }], a: 'x', é: 1, '': 2, '\u{1F600}': 3, '\uFFFF': 4 })).toBe(
      '{"":2,"a":"x","b":[1,{"a":true,"z":null}],"é":1,"\u{1F600}":3,"\uFFFF":4}',
    );
  });

  test('writes numbers as ECMAScript does', () => {
    const numbers = [0, -0, 1e21, 1e-7, Number('333333333.33333329'), 4.5, 2e-3, 0.000000000000000000000000001, 1e30];
    expect(canonicalJson(numbers)).toBe('[0,0,1e+21,1e-7,333333333.3333333,4.5,0.002,1e-27,1e+30]');
  });

  test('writes strings with the shortest escapes', () => {
    expect(canonicalJson('\u20ac$\u000f\nA\'B"\\/\u007f')).toBe('"€$\\u000f\\nA\'B\\"\\\\/\u007f"');
  });

  test('has no spelling for what JSON cannot hold', () => {
    expect(() => canonicalJson(Number.NaN)).toThrow(TypeError);
    expect(() => canonicalJson([Number.POSITIVE_INFINITY])).toThrow(TypeError);
    expect(() => canonicalJson('\ud800')).toThrow(TypeError);
    expect(() => canonicalJson({ '\udc00': 1 })).toThrow(TypeError);
    expect(() => canonicalJson(1n as unknown as JsonValue)).toThrow(TypeError);
  });

  test('equal values have one spelling, and it means the value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value);
        expect(canonicalJson(JSON.parse(text))).toBe(text);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe('a canonical file', () => {
  test.each([
    ['white space', '{"a": 1}'],
    ['keys out of order', '{"b":1,"a":2}'],
    ['a key twice', '{"a":1,"a":1}'],
    ['a number in another spelling', '{"a":1.0}'],
    ['an escape that is not needed', '{"a":"\\u0041"}'],
    ['a lone surrogate', '{"a":"\\ud800"}'],
  ])('with %s is refused', (_, text) => {
    expect(() => parseCanonical(bytes(text), 'manifest.json')).toThrow(
      expect.objectContaining({ code: 'BUNDLE_MANIFEST_NOT_CANONICAL' }),
    );
  });

  test.each(['', '{', '[]', 'null', '1', '\u{feff}{}', '{"a":1}}'])('%j is not an object in JSON', (text) => {
    expect(() => parseCanonical(bytes(text), 'manifest.json')).toThrow(
      expect.objectContaining({ code: 'BUNDLE_MANIFEST_INVALID' }),
    );
    expect(() => parseCanonical(bytes(text), 'manifest.json')).toThrow(BundleError);
  });

  test('that is not UTF-8 is refused', () => {
    expect(() => parseCanonical(Uint8Array.of(0x22, 0xff, 0x22), 'x')).toThrow(BundleError);
  });
});
