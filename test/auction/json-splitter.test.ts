import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonSplitter } from '#auction/json-splitter.ts';

/** What comes out when the document is cut at the places given. */
function split(text: string, cuts: readonly number[], lists: readonly string[]) {
  const found: { key: string; index: number; value: unknown }[] = [];
  const begun: string[] = [];
  const splitter = new JsonSplitter({
    isList: (key) => lists.includes(key),
    list: (key) => begun.push(key),
    value: (key, index, json) => found.push({ key, index, value: JSON.parse(json) as unknown }),
  });
  const bytes = Buffer.from(text);
  const places = [
    0,
    ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((left, right) => left - right),
    bytes.length,
  ];
  for (let index = 1; index < places.length; index++) splitter.push(bytes.subarray(places[index - 1], places[index]));
  splitter.end();
  return { found, begun, fault: splitter.fault };
}

const documents = fc.dictionary(
  fc.string({ maxLength: 6 }).filter((key) => key !== '__proto__'),
  fc.oneof(fc.array(fc.jsonValue({ maxDepth: 3 }), { maxLength: 5 }), fc.jsonValue({ maxDepth: 2 })),
  { maxKeys: 5 },
);
const texts = fc.tuple(documents, fc.constantFrom(0, 2)).map(([document, indent]) => ({
  document,
  text: JSON.stringify(document, null, indent),
}));

test('taken apart, a document is what JSON.parse says it is, wherever it is cut', () => {
  fc.assert(
    fc.property(texts, fc.array(fc.nat(), { maxLength: 12 }), ({ document, text }, cuts) => {
      const parsed = JSON.parse(text) as Record<string, unknown>;
      const lists = Object.keys(document).filter((key) => Array.isArray(parsed[key]));
      const { found, begun, fault } = split(text, cuts, lists);
      expect(fault).toBeUndefined();
      const expected = Object.entries(parsed).flatMap(([key, value]) =>
        Array.isArray(value)
          ? value.map((each: unknown, index) => ({ key, index, value: each }))
          : [{ key, index: -1, value }],
      );
      expect(found).toEqual(expected);
      expect(begun).toEqual(Object.keys(parsed).filter((key) => Array.isArray(parsed[key])));
    }),
  );
});

test('a document that is cut short is never taken for a whole one', () => {
  fc.assert(
    fc.property(texts, fc.nat(), ({ text }, place) => {
      const { fault } = split(text.trimEnd().slice(0, place % text.trimEnd().length), [], []);
      expect(fault).toBeDefined();
    }),
  );
});

test('garbage ends in a fault, not in a crash', () => {
  fc.assert(
    fc.property(fc.string(), fc.array(fc.nat(), { maxLength: 4 }), (text, cuts) => {
      let isJsonObject = false;
      try {
        const value: unknown = JSON.parse(text);
        isJsonObject = typeof value === 'object' && value !== null && !Array.isArray(value);
      } catch {
        isJsonObject = false;
      }
      fc.pre(!isJsonObject);
      expect(split(text, cuts, ['a']).fault).toBeDefined();
    }),
  );
});

test.each([
  ['{"a":[1,2', 'a[2]'],
  ['{"a":[1 2]}', 'a[1]'],
  ['{"a":[1,]}', 'a[1]'],
  ['{"a":1 "b":2}', 'a'],
  ['{"a":1,}', 'a'],
  ['{"a":}', 'a'],
  ['{"a" 1}', 'a'],
  ['{a:1}', ''],
  ['{"a":1}}', ''],
])('%s: the fault is told by path', (text, path) => {
  expect(split(text, [3], ['a']).fault).toMatchObject({ path });
});
