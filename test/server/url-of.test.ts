import { expect, test } from 'vitest';
import { isWildcard, urlOf } from '#server/url-of.ts';

test.each([
  ['127.0.0.1', 8080, 'http://127.0.0.1:8080'],
  ['bid.example', 80, 'http://bid.example:80'],
  ['::1', 8080, 'http://[::1]:8080'],
  ['2001:db8::9', 1, 'http://[2001:db8::9]:1'],
])('%s and port %d are %s, which can be read back', (host, port, url) => {
  expect(urlOf(host, port)).toBe(url);
  expect(Number(new URL(url).port || 80)).toBe(port);
});

test('a wildcard is no address to send anybody to', () => {
  expect(['0.0.0.0', '::', '0', '0:0:0:0:0:0:0:0', '::0'].filter((host) => !isWildcard(host))).toEqual([]);
  expect(['127.0.0.1', '10.0.0.0', '::1', 'fe80::', 'host0', ''].filter((host) => isWildcard(host))).toEqual([]);
});
