import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Callers, defaultCaller, isLoopback, onlyDefaultCaller, readCallers } from '#server/callers.ts';
import { readRates } from '#server/rates.ts';

const defaults = { tmaxMs: 120 };
const key = 'exchange-one-key-0001';

function callersOf(file: unknown): Callers {
  const reading = readCallers(JSON.stringify(file), defaults);
  if (reading.kind === 'problems') throw new Error(JSON.stringify(reading.problems));
  return reading.callers;
}
const here = (): string => '127.0.0.1';
const elsewhere = (): string => '192.0.2.7';

test('an entry says what holds for its requests; what it leaves out is the default', () => {
  const callers = callersOf({
    callers: [
      { id: 'one', key },
      {
        id: 'two',
        key: 'exchange-two-key-0002',
        tmax_ms: 80,
        at: 1,
        currencies: ['EUR', 'USD'],
        no_bid: 'nbr',
        explore: false,
        tier: 'standard',
        user_id: ['id'],
        secure: true,
      },
    ],
  });
  expect(callers.find(key, elsewhere)).toEqual({ ...defaultCaller(defaults), id: 'one', key });
  expect(callers.find('exchange-two-key-0002', elsewhere)).toEqual({
    id: 'two',
    key: 'exchange-two-key-0002',
    tmaxMs: 80,
    parse: { defaultAuctionType: 1, userIdFields: ['id'], isSecureByDefault: true },
    currencies: ['EUR', 'USD'],
    noBid: 'nbr',
    mayExplore: false,
    tier: 'standard',
  });
  expect(callers.find('exchange-one-key-0002', here)).toBeUndefined();
});

test('without a key there is the default caller, on the loopback alone, and only where it is wanted', () => {
  expect(onlyDefaultCaller(defaults).find('', here)?.id).toBe('default');
  expect(onlyDefaultCaller(defaults).find('', elsewhere)).toBeUndefined();
  expect(onlyDefaultCaller(defaults).find('', () => '')).toBeUndefined();
  expect(callersOf({ callers: [] }).find('', here)?.tmaxMs).toBe(120);
  expect(callersOf({ default: { tmax_ms: 50 } }).find('', here)?.tmaxMs).toBe(50);
  expect(callersOf({ default: null }).find('', here)).toBeUndefined();
});

test.each(['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1'])('%s is the loopback', (address) => {
  expect(isLoopback(address)).toBe(true);
});
test.each(['', '10.0.0.1', '::2', '127.0.0.1.evil.example', '1127.0.0.1', 'localhost'])('%s is not', (address) => {
  expect(isLoopback(address)).toBe(false);
});

test('every mistake at once, by path, and no key in any message', () => {
  const secret = 'top-secret-key-00000001';
  const reading = readCallers(
    JSON.stringify({
      other: 1,
      default: { id: 'd', key: secret },
      callers: [
        { id: 'a b', key: 'short' },
        {
          key: secret,
          tmax_ms: 1,
          at: 3,
          currencies: [],
          no_bid: 'none',
          explore: 'yes',
          tier: 9,
          user_id: ['id', 'id'],
          secure: 0,
          colour: 'red',
        },
        { id: 'same', key: secret },
        { id: 'same', key: `${secret} ` },
        'text',
      ],
    }),
    defaults,
  );
  const problems = reading.kind === 'problems' ? reading.problems : [];
  expect(problems.map(({ path }) => path)).toEqual([
    'other',
    'default.key',
    'callers[0].id',
    'callers[0].key',
    'callers[1].colour',
    'callers[1].id',
    'callers[1].tmax_ms',
    'callers[1].at',
    'callers[1].user_id',
    'callers[1].secure',
    'callers[1].currencies',
    'callers[1].no_bid',
    'callers[1].explore',
    'callers[1].tier',
    'callers[3].key',
    'callers[4]',
    'callers[2].key',
    'callers[3].id',
  ]);
  expect(JSON.stringify(problems)).not.toContain(secret);
  for (const text of ['', '[]', '7', '{"callers":{}}']) expect(readCallers(text, defaults).kind).toBe('problems');
});

test('the examples of the README can be used as they stand', () => {
  const readme = readFileSync(join(import.meta.dirname, '../../server/README.md'), 'utf8');
  const examples = [...readme.matchAll(/```json\n(.*?)```/gsu)].map(([, text]) => text!);
  const callers = examples.filter((text) => text.includes('"callers"'));
  const rates = examples.filter((text) => text.includes('"usd_per"'));
  expect([callers.length, rates.length]).toEqual([1, 1]);
  expect(readCallers(callers[0]!, defaults)).toMatchObject({ kind: 'callers', count: 1 });
  expect(readRates(rates[0]!).kind).toBe('rates');
});
