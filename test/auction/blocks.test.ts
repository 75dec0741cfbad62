import { expect, test } from 'vitest';
import { categoryAncestors, isCategory, topCategory } from '#auction/category-tree.ts';
import { advertisedApp, domainAncestors, isHostName } from '#auction/domain-blocks.ts';

test.each([
  ['www.ford.com', ['ford.com']],
  ['a.b.ford.co.uk', ['b.ford.co.uk', 'ford.co.uk']],
  ['ford.com', []],
  ['co.uk', []],
  ['localhost.localdomain', []],
  ['shop.brand.example', ['brand.example']],
])('what blocks %s beside itself: %j', (host, ancestors) => {
  expect(domainAncestors(host)).toEqual(ancestors);
});

test.each([
  ['brand.example', true],
  ['xn--mnchen-3ya.de', true],
  ['Brand.example', false],
  ['brand', false],
  ['brand.example.', false],
  ['-brand.example', false],
  ['https://brand.example', false],
  ['brand.example/path', false],
  [`${'a'.repeat(64)}.example`, false],
])('is %s a domain name: %s', (text, is) => {
  expect(isHostName(text)).toBe(is);
});

test.each([
  ['IAB1', true],
  ['IAB26', true],
  ['IAB26-4', true],
  ['IAB2-23', true],
  ['IAB27', false],
  ['IAB0', false],
  ['IAB2-0', false],
  ['IAB2-100', false],
  ['iab2', false],
  ['IAB2-3-4', false],
  ['483', false],
])('is %s a category of taxonomy 1.0: %s', (word, is) => {
  expect(isCategory(word)).toBe(is);
});

test('a category has its tier above it', () => {
  expect([topCategory('IAB2-3'), topCategory('IAB12')]).toEqual(['IAB2', 'IAB12']);
  expect([categoryAncestors('IAB2-3'), categoryAncestors('IAB12')]).toEqual([['IAB2'], []]);
});

test.each([
  ['https://play.google.com/store/apps/details?id=com.game.x&hl=de', 'com.game.x'],
  ['https://apps.apple.com/de/app/some-game/id123456', '123456'],
  ['https://itunes.apple.com/app/id99', '99'],
  ['https://play.google.com/store', ''],
  ['https://www.brand.example/?id=com.game.x', ''],
  ['not a url', ''],
])('the app that %s sells: "%s"', (url, app) => {
  expect(advertisedApp(url)).toBe(app);
});
