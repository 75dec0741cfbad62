import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gppSections, isUsSection, optsOut } from '#server/gpp-string.ts';

const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function base64Of(bits: string): string {
  const padded = bits.padEnd(Math.ceil(bits.length / 6) * 6, '0');
  let text = '';
  for (let at = 0; at < padded.length; at += 6) text += digits[Number.parseInt(padded.slice(at, at + 6), 2)];
  return text;
}

/** The Fibonacci code of a number ≥ 1, by its definition: the Zeckendorf sum, smallest first, closed by a 1. */
function fibonacciBits(value: number): string {
  const numbers = [1, 2];
  while (numbers.at(-1)! <= value) numbers.push(numbers.at(-1)! + numbers.at(-2)!);
  let rest = value;
  let bits = '';
  let isStarted = false;
  for (const number of numbers.toReversed()) {
    if (number <= rest) {
      rest -= number;
      bits = `1${bits}`;
      isStarted = true;
    } else if (isStarted) bits = `0${bits}`;
  }
  return `${bits}1`;
}

/** A header that names the sections one by one: type 3, version 1, how many, then distances. */
function headerOf(ids: readonly number[]): string {
  const bits = (value: number, width: number): string => value.toString(2).padStart(width, '0');
  let last = 0;
  let text = bits(3, 6) + bits(1, 6) + bits(ids.length, 12);
  for (const id of ids) {
    text += `0${fibonacciBits(id - last)}`;
    last = id;
  }
  return base64Of(text);
}

test('reads the example of the specification', () => {
  expect([...gppSections('DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA')!.keys()]).toEqual([2]);
  const two = gppSections('DBACNYA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN')!;
  expect([...two.keys()]).toEqual([2, 6]);
  expect(two.get(6)).toBe('1YNN');
});

test('reads back any list of sections', () => {
  const lists = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(lists, (list) => {
      const ids = list.toSorted((left, right) => left - right);
      const text = [headerOf(ids), ...ids.map((id) => `s${id}`)].join('~');
      expect([...gppSections(text)!]).toEqual(ids.map((id) => [id, `s${id}`]));
    }),
  );
});

test('a range is a range, and a mad one is refused', () => {
  const bits = (value: number, width: number): string => value.toString(2).padStart(width, '0');
  const range = (count: number, span: number): string =>
    base64Of(`${bits(3, 6)}${bits(1, 6)}${bits(count, 12)}1${fibonacciBits(6)}${fibonacciBits(span)}`);
  expect([...gppSections(`${range(1, 2)}~a~b~c`)!.keys()]).toEqual([6, 7, 8]);
  expect(gppSections(`${range(1, 5000)}~a`)).toBeUndefined();
  expect(gppSections(`${range(4000, 1)}~a`)).toBeUndefined();
});

test('anything else is not a GPP string, and does no harm', () => {
  for (const text of ['', '~', 'A', 'DBABMA', 'DBABMA~a~b', '\ud800', 'D'.repeat(9000)])
    expect(gppSections(text)).toBeUndefined();
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      const sections = gppSections(text);
      expect(sections === undefined || sections.size <= 64).toBe(true);
    }),
  );
});

test('an opt-out of sale, sharing or targeted advertising is seen in each US section', () => {
  expect([optsOut(6, '1YNN'), optsOut(6, '1YYN'), optsOut(6, '1---'), optsOut(6, '1Y')]).toEqual([
    false,
    true,
    false,
    true,
  ]);
  const section = (firstBit: number, choices: readonly number[]): string =>
    base64Of(
      '0'.repeat(firstBit) + choices.map((choice) => choice.toString(2).padStart(2, '0')).join('') + '0'.repeat(30),
    );
  // National: six notices before three opt-outs; California, Virginia…: three before two.
  expect(optsOut(7, section(18, [2, 2, 2]))).toBe(false);
  for (const at of [0, 1, 2]) expect(optsOut(7, section(18, [2, 2, 2].with(at, 1)))).toBe(true);
  expect(optsOut(8, section(12, [2, 0]))).toBe(false);
  expect(optsOut(8, section(12, [0, 1]))).toBe(true);
  // What cannot be read counts as opted out.
  expect(optsOut(8, 'B')).toBe(true);
  expect([isUsSection(5), isUsSection(6), isUsSection(27), isUsSection(2)]).toEqual([false, true, true, false]);
});
