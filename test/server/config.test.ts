import { expect, test } from 'vitest';
import { readConfig, settings, unknownSettings } from '#server/config.ts';

function complaintOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as Error).message;
  }
  return '';
}

test('without anything set every setting has its default', () => {
  const config = readConfig({});
  for (const [name, setting] of Object.entries(settings))
    expect(config[name as keyof typeof config]).toBe(setting.default);
});

test('every mistake is said at once, by name', () => {
  const wrong = {
    GAVELIN_BID_PORT: '70000',
    GAVELIN_HTTP: 'telnet',
    GAVELIN_MARGIN_PPM: '1.5',
    GAVELIN_ML_BUDGET_MS: 'ten',
    GAVELIN_PUBLIC_URL: 'https://bid.example/"><script>',
  };
  const message = complaintOf(() => readConfig(wrong));
  expect(message).toMatch(/^Unusable/u);
  for (const name of Object.keys(wrong)) expect(message).toContain(name);
});

test('spaces do not count, and an empty value is the default', () => {
  expect(readConfig({ GAVELIN_BID_PORT: ' 9000 ', GAVELIN_HTTP: '' })).toMatchObject({ bidPort: 9000, http: 'uws' });
  expect(readConfig({ GAVELIN_PUBLIC_URL: 'https://bid.example:8443/rtb' }).publicUrl).toBe(
    'https://bid.example:8443/rtb',
  );
});

test('who listens everywhere says where notices are to go', () => {
  for (const host of ['0.0.0.0', '::']) {
    expect(complaintOf(() => readConfig({ GAVELIN_BID_HOST: host }))).toContain('GAVELIN_PUBLIC_URL must be set');
    const config = readConfig({ GAVELIN_BID_HOST: host, GAVELIN_PUBLIC_URL: 'https://bid.example' });
    expect(config.bidHost).toBe(host);
  }
  expect(readConfig({ GAVELIN_BID_HOST: '::1' }).publicUrl).toBe('');
});

test('what looks like a setting and is none is found', () => {
  const env = { GAVELIN_BID_PROT: '1', GAVELIN_BID_PORT: '1', GAVELIN_RESEARCH_DATA: '/x', HOME: '/y' };
  expect(unknownSettings(env)).toEqual(['GAVELIN_BID_PROT']);
});
