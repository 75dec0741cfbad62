import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IdTable } from '#auction/id-table.ts';
import { SetMatcher } from '#auction/set-matcher.ts';
import { TextHeap, TextHeapWriter } from '#auction/text-heap.ts';
import { fromTemplate, toTemplate } from '#auction/text-template.ts';
import { WordSets, WordSetsWriter } from '#auction/word-sets.ts';

/** Texts as they come, among them empty, long and non-Latin ones. */
const texts = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ minLength: 100, maxLength: 20_000 }));

describe('a text heap', () => {
  test('gives every text back, before and after it is shared, to the writer and to readers', () => {
    fc.assert(
      fc.property(fc.array(texts), fc.array(texts), (before, after) => {
        const writer = new TextHeapWriter();
        const references = before.map((text) => writer.append(text));
        const shared = writer.share(after.reduce((sum, text) => sum + TextHeapWriter.bytesFor(text), 0));
        references.push(...after.map((text) => writer.append(text)));
        const reader = new TextHeap(structuredClone(shared));
        const expected = [...before, ...after];
        expect(references.map((reference) => writer.read(reference))).toEqual(expected);
        expect(references.map((reference) => reader.read(reference))).toEqual(expected);
      }),
    );
  });

  test('keeps a text once when asked to, and says when it is full', () => {
    const writer = new TextHeapWriter();
    expect(writer.intern('https://x')).toBe(writer.intern('https://x'));
    expect(writer.append('https://x')).not.toBe(writer.append('https://x'));
    expect(writer.freeBytes).toBe(Number.POSITIVE_INFINITY);
    writer.share(10);
    expect(writer.freeBytes).toBe(10);
    expect(() => writer.append('longer than ten')).toThrow(RangeError);
  });
});

test('a URL made of placeholders is the URL that it was made of', () => {
  const id = fc.stringMatching(/^[!-~]{1,12}$/u);
  const domain = fc.constantFrom('a.example', 'shop.a.example', 'x.io');
  fc.assert(
    fc.property(
      id,
      domain,
      fc.array(fc.oneof(id, domain, fc.constantFrom('https://', '/', '$&', '.')), { maxLength: 8 }),
      (id, domain, parts) => {
        const url = [...parts, id, domain].join('');
        expect(fromTemplate(toTemplate(url, id, domain), id, domain)).toBe(url);
      },
    ),
  );
  expect(toTemplate('https://cdn.a.example/cr0001.jpg', 'cr0001', 'a.example')).toBe(
    toTemplate('https://cdn.b.example/cr0002.jpg', 'cr0002', 'b.example'),
  );
});

describe('sets of words', () => {
  const words = fc.uniqueArray(fc.constantFrom('a', 'b', 'a-1', 'a-2', 'c', 'c-1'), { maxLength: 4 });
  const ancestors = (word: string): string[] => (word.includes('-') ? [word.slice(0, word.indexOf('-'))] : []);

  test('a request touches exactly the sets that hold one of its words or something below one', () => {
    fc.assert(
      fc.property(fc.array(words), fc.array(words), fc.array(words), (early, late, requests) => {
        const texts = new TextHeapWriter();
        const writer = new WordSetsWriter(texts);
        const sets = early.map((each) => ({ each, set: writer.add(each) }));
        const shared = writer.share();
        const reader = new WordSets(shared, new TextHeap(texts.share(10_000)));
        const matcher = new SetMatcher(reader, ancestors);
        for (const [turn, request] of requests.entries()) {
          // Sets that come while requests are answered.
          const more = late[turn];
          if (more !== undefined) sets.push({ each: more, set: writer.add(more) });
          matcher.begin();
          matcher.markAll(request);
          for (const { each, set } of sets) {
            const isMeant = (word: string): boolean =>
              request.some((asked) => [word, ...ancestors(word)].includes(asked));
            expect(set === 0).toBe(each.length === 0);
            expect(reader.wordsOf(set)).toEqual(each);
            expect(matcher.setStamps[set] === matcher.stamp).toBe(each.some(isMeant));
            expect(matcher.isCovered(set)).toBe(each.every(isMeant));
            expect(matcher.hasMarked || matcher.setStamps[set] !== matcher.stamp).toBe(true);
          }
        }
      }),
    );
  });

  test('the same words are the same set', () => {
    const writer = new WordSetsWriter(new TextHeapWriter());
    const list = ['x', 'y'];
    expect(writer.add(list)).toBe(writer.add(['x', 'y']));
    expect(writer.add(list)).toBe(writer.add(list));
    expect(writer.add(['y', 'x'])).not.toBe(writer.add(list));
    expect(writer.add([6, 9])).toBe(writer.add(['6', '9']));
    expect(writer.add([])).toBe(0);
    expect(writer.hasRoomFor(1e9, 1e9)).toBe(true);
    writer.share();
    expect(writer.hasRoomFor(256, 256)).toBe(true);
    expect(writer.hasRoomFor(1, 100_000)).toBe(false);
  });
});

test('an id table finds every id and no other', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string()), fc.string(), (ids, other) => {
      const table = new IdTable(ids.length, (number) => ids[number]!);
      for (const [number, id] of ids.entries()) table.add(id, number);
      expect(ids.map((id) => table.get(id))).toEqual([...ids.keys()]);
      expect(table.get(other)).toBe(ids.indexOf(other));
    }),
  );
});
