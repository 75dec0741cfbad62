import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Breaker, breakerDefaults, noPass } from '#embeddings/lookup/breaker.ts';

const limits = breakerDefaults;

function failTimes(breaker: Breaker, count: number, nowMs: number): void {
  for (let index = 0; index < count; index++) breaker.failed(breaker.enter(nowMs), nowMs);
}

describe('a breaker', () => {
  test('opens after five failures in a row, not after five with a success among them', () => {
    const breaker = new Breaker(limits);
    failTimes(breaker, 4, 0);
    breaker.succeeded(breaker.enter(0), 0);
    failTimes(breaker, 4, 0);
    expect(breaker.state).toBe('closed');
    failTimes(breaker, 1, 0);
    expect(breaker.state).toBe('open');
    expect(breaker.enter(29_999)).toBe(noPass);
  });

  test('opens when half of at least twenty calls of the last ten seconds failed', () => {
    const breaker = new Breaker(limits);
    for (let index = 0; index < 10; index++) {
      const nowMs = index * 500;
      breaker.succeeded(breaker.enter(nowMs), nowMs);
      expect(breaker.state).toBe('closed');
      breaker.failed(breaker.enter(nowMs), nowMs);
    }
    expect(breaker.state).toBe('open');
    const spread = new Breaker(limits);
    for (let index = 0; index < 100; index++) {
      const nowMs = index * 1250;
      spread.succeeded(spread.enter(nowMs), nowMs);
      spread.failed(spread.enter(nowMs), nowMs);
    }
    expect(spread.state).toBe('closed');
  });

  test('lets one probe through after thirty seconds; its failure opens it for thirty more, its success closes it', () => {
    const breaker = new Breaker(limits);
    failTimes(breaker, 5, 1000);
    const first = breaker.enter(31_000);
    expect(first).not.toBe(noPass);
    expect([breaker.state, breaker.enter(31_000), breaker.enter(90_000)]).toEqual(['half-open', noPass, noPass]);
    breaker.failed(first, 90_000);
    expect([breaker.state, breaker.enter(119_999)]).toEqual(['open', noPass]);
    const second = breaker.enter(120_000);
    breaker.succeeded(second, 120_001);
    expect(breaker.state).toBe('closed');
    failTimes(breaker, 4, 120_002);
    expect(breaker.state).toBe('closed');
    expect(breaker.openedCount).toBe(2);
  });

  test('outcomes of calls from before it opened neither close it nor open it again', () => {
    const breaker = new Breaker(limits);
    const old = breaker.enter(0);
    failTimes(breaker, 5, 0);
    breaker.succeeded(old, 1);
    expect(breaker.state).toBe('open');
    const probe = breaker.enter(30_000);
    breaker.succeeded(old, 30_000);
    breaker.failed(old, 30_000);
    breaker.forget(old);
    expect([breaker.state, breaker.enter(30_000)]).toEqual(['half-open', noPass]);
    breaker.succeeded(probe, 30_001);
    breaker.failed(old, 30_001);
    expect(breaker.state).toBe('closed');
  });

  test('a probe that says nothing makes room for another', () => {
    const breaker = new Breaker(limits);
    failTimes(breaker, 5, 0);
    const probe = breaker.enter(30_000);
    breaker.forget(probe);
    expect(breaker.state).toBe('half-open');
    expect(breaker.enter(30_000)).not.toBe(noPass);
  });

  test('whatever happens, never two probes at once, and open means thirty seconds of nothing', () => {
    const step = fc.record({
      what: fc.constantFrom('enter', 'succeed', 'fail', 'forget'),
      which: fc.nat(),
      gapMs: fc.constantFrom(0, 1, 500, 5000, 30_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const breaker = new Breaker(limits);
        let nowMs = 1_790_000_000_000;
        let openedMs = -1;
        const wrong: number[] = [];
        const passes: { pass: number; isProbe: boolean }[] = [];
        for (const { what, which, gapMs } of steps) {
          nowMs += gapMs;
          const before = breaker.state;
          if (what === 'enter') {
            const pass = breaker.enter(nowMs);
            const isLetIn = pass !== noPass;
            if (before === 'open' && isLetIn !== nowMs >= openedMs + limits.openMs) wrong.push(nowMs);
            if (pass !== noPass) passes.push({ pass, isProbe: breaker.state === 'half-open' });
          } else if (passes.length > 0) {
            const [{ pass }] = passes.splice(which % passes.length, 1) as [{ pass: number; isProbe: boolean }];
            if (what === 'succeed') breaker.succeeded(pass, nowMs);
            else if (what === 'fail') breaker.failed(pass, nowMs);
            else breaker.forget(pass);
          }
          if (breaker.state === 'open' && before !== 'open') openedMs = nowMs;
          const newest = Math.max(...passes.map(({ pass }) => pass), 0);
          const probes = passes.filter(({ pass, isProbe }) => isProbe && pass === newest);
          expect(breaker.state === 'half-open' ? probes.length : 0).toBeLessThanOrEqual(1);
        }
        expect(wrong).toEqual([]);
      }),
    );
  });
});
