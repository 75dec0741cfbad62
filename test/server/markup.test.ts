import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  bannerMarkup,
  escapeHtml,
  escapeXml,
  type MarkupCard,
  nativeMarkup,
  vastDuration,
  vastOf,
  videoMarkup,
} from '#server/markup.ts';

const card: MarkupCard = {
  adId: 'li1.cr1',
  creativeId: 'cr1',
  format: 'banner',
  width: 300,
  height: 250,
  durationMs: 15_000,
  mimes: ['video/webm', 'video/mp4'],
  imageUrl: 'https://cdn.example/a.jpg?x=1&y=2',
  videoUrl: 'https://cdn.example/a.mp4?x=1&y=2',
  title: 'Fine offer',
  domain: 'shop.example',
  landingUrl: 'https://shop.example/',
  advertiserName: 'The Shop',
};
const links = { viewUrl: 'https://bid.example/notice/view?t=V', clickUrl: 'https://bid.example/notice/click?t=C&x=1' };
const slot = {
  mimes: ['video/mp4'],
  protocols: [],
  durationMsMin: 0,
  durationMsMax: 60_000,
  durationsMs: [],
  width: 0,
  height: 0,
};
const title = { id: 1, isRequired: true, kind: 'title', type: 0, charsMax: 0 } as const;
const image = { id: 2, isRequired: false, kind: 'image', type: 3, charsMax: 0 } as const;
const data = (id: number, type: number, charsMax = 0) =>
  ({ id, isRequired: false, kind: 'data', type, charsMax }) as const;

/** Reads our own escapes back, as a parser would. */
const plain = (text: string): string =>
  text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');

test('a banner is an image that links, and a pixel', () => {
  expect(bannerMarkup(card, links)).toBe(
    '<a href="https://bid.example/notice/click?t=C&amp;x=1" target="_blank" rel="noopener">' +
      '<img src="https://cdn.example/a.jpg?x=1&amp;y=2" width="300" height="250" alt="Fine offer" style="border:0;display:block"></a>' +
      '<img src="https://bid.example/notice/view?t=V" width="1" height="1" alt="" style="position:absolute;visibility:hidden">',
  );
  expect(bannerMarkup(card, { viewUrl: '', clickUrl: '' })).not.toMatch(/<a |notice/u);
});

test('nothing in a text leaves its place in HTML or XML', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1 }), (text) => {
      const html = escapeHtml(text);
      expect(html).not.toMatch(/[<>"']/u);
      expect(plain(html)).toBe(text);
      const banner = bannerMarkup({ ...card, title: text, imageUrl: text }, { viewUrl: text, clickUrl: text });
      expect(banner.match(/</gu)).toHaveLength(4);
      expect(banner.match(/"/gu)!.length % 2).toBe(0);
      const xml = escapeXml(text);
      // oxlint-disable-next-line no-control-regex
      expect(xml).not.toMatch(/[<>"'\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/u);
      expect(xml.isWellFormed()).toBe(true);
    }),
  );
});

test('an address cannot end its CDATA section', () => {
  const evil = 'https://cdn.example/]]><script>';
  const markup = videoMarkup({ ...card, videoUrl: evil }, links, slot);
  const media = /<MediaFile [^>]*>(.*)<\/MediaFile>/u.exec(markup)![1]!;
  const sections = [...media.matchAll(/<!\[CDATA\[(.*?)\]\]>/gu)].map(([, inner]) => inner);
  expect(sections.join('')).toBe(evil);
  expect(media.replaceAll(/<!\[CDATA\[.*?\]\]>/gu, '')).toBe('');
});

test('a video is VAST of the newest version that the slot takes, in a type that it takes', () => {
  expect([[], [7], [2, 3], [2], [3, 7], [1, 4, 99]].map((protocols) => vastOf(protocols).version)).toEqual([
    '4.0',
    '4.0',
    '3.0',
    '2.0',
    '4.0',
    '4.0',
  ]);
  const markup = videoMarkup(card, links, { ...slot, protocols: [3] });
  expect(markup).toContain('<VAST version="3.0">');
  expect(markup).not.toContain('UniversalAdId');
  expect(markup).toContain('type="video/mp4"');
  expect(markup).toContain('<Impression><![CDATA[https://bid.example/notice/view?t=V]]></Impression>');
  expect(markup).toContain('<ClickThrough><![CDATA[https://bid.example/notice/click?t=C&x=1]]></ClickThrough>');
  expect(videoMarkup(card, links, slot)).toContain('<UniversalAdId idRegistry="unknown" idValue="cr1">');
  expect(videoMarkup(card, { ...links, clickUrl: '' }, slot)).not.toContain('VideoClicks');
  // Every element that opens closes, in order.
  const open: string[] = [];
  const elements = markup.replaceAll(/<!\[CDATA\[.*?\]\]>|<\?.*?\?>/gu, '').matchAll(/<(\/?)(\w+)[^>]*?>/gu);
  for (const [, closes, name] of elements) {
    if (closes === '' || open.at(-1) !== name) open.push(`${closes}${name}`);
    else open.pop();
  }
  expect(open).toEqual([]);
});

test.each([
  [15_000, '00:00:15'],
  [90_500, '00:01:30.500'],
  [3_600_001, '01:00:00.001'],
  [0, '00:00:00'],
])('%d ms is %s', (ms, text) => {
  expect(vastDuration(ms)).toBe(text);
});

test('a native ad has what was asked for and is there, under the numbers that were asked for', () => {
  const assets = [
    title,
    image,
    data(3, 1),
    data(4, 2),
    data(5, 11),
    data(6, 12),
    { ...title, id: 7, kind: 'video' } as const,
  ];
  const native = JSON.parse(nativeMarkup(card, links, { version: '1.2', assets })) as unknown;
  expect(native).toEqual({
    ver: '1.2',
    assets: [
      { id: 1, title: { text: 'Fine offer' } },
      { id: 2, img: { type: 3, url: card.imageUrl, w: 300, h: 250 } },
      { id: 3, data: { type: 1, value: 'The Shop' } },
      { id: 4, data: { type: 2, value: 'Fine offer' } },
      { id: 5, data: { type: 11, value: 'shop.example' } },
    ],
    link: { url: links.clickUrl },
    imptrackers: [links.viewUrl],
  });
});

test('version 1.0 wraps the ad in an object; texts keep to their length and to whole characters', () => {
  const old = JSON.parse(nativeMarkup(card, { ...links, viewUrl: '' }, { version: '1.0', assets: [] })) as unknown;
  expect(old).toEqual({ native: { ver: '1.0', assets: [], link: { url: links.clickUrl } } });
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.integer({ min: 1, max: 30 }), (text, charsMax) => {
      const markup = nativeMarkup({ ...card, title: text }, links, {
        version: '1.2',
        assets: [{ ...title, charsMax }],
      });
      const shown = (JSON.parse(markup) as { assets: { title: { text: string } }[] }).assets[0]!.title.text;
      expect(shown.length).toBeLessThanOrEqual(Math.max(charsMax, 1));
      expect(shown.isWellFormed()).toBe(true);
      expect(shown === text || text.startsWith(shown.replace(/…$/u, ''))).toBe(true);
    }),
  );
});
