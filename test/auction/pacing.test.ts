import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BudgetLedger } from '#auction/budget-ledger.ts';
import { PacingController, stepFor } from '#auction/pacing-controller.ts';
import { hourWeightsDefault, ImpressionForecast } from '#auction/pacing-forecast.ts';
import { PacingRates } from '#auction/pacing.ts';
import { seededRandom } from '#inference/seeded-random.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
const budget = 200e9;
const paced = Uint8Array.of(1);

type Simulation = {
  /** Spend per minute at rate 1, in budgets per day, at a moment: 4 = traffic for four times the budget. */
  readonly supply: (nowMs: number) => number;
  readonly forecast?: ImpressionForecast;
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly eventNanos?: number;
};
type Minute = { readonly nowMs: number; readonly spent: number; readonly plan: number; readonly rate: number };

/** A day of one line item on a simulated clock, in ticks of a second, with random arrivals of whole events. */
function simulate({ supply, forecast, fromMs = 0, toMs = dayMs, eventNanos = 5e6 }: Simulation): Minute[] {
  const rates = new PacingRates(PacingRates.allocate(1));
  let spent = 0;
  const money = { targetNanos: () => budget, committedNanos: () => spent };
  const controller = new PacingController(rates, money, forecast === undefined ? {} : { forecast });
  const random = seededRandom(5);
  const minutes: Minute[] = [];
  for (let nowMs = fromMs; nowMs < toMs; nowMs += 1000) {
    controller.tick(nowMs, 1, paced);
    const events = (supply(nowMs) * rates.rateOf(0) * budget) / (86_400 * eventNanos);
    const whole = Math.floor(events) + (random() < events % 1 ? 1 : 0);
    spent = Math.min(budget, spent + whole * eventNanos);
    if ((nowMs + 1000) % minuteMs === 0) {
      minutes.push({ nowMs, spent, plan: controller.planNanos(0, nowMs), rate: rates.rateOf(0) });
    }
  }
  return minutes;
}

const day = new ImpressionForecast();
/** Traffic in the shape of the default forecast: 1 on average over the day. */
const shape = (nowMs: number): number => day.weights[Math.floor((nowMs % dayMs) / hourMs)]! * 24;

/** Furthest from the plan, as a share of the budget, from the first hour on. */
function worst(minutes: readonly Minute[], fromMs = hourMs): number {
  const later = minutes.filter(({ nowMs }) => nowMs >= fromMs);
  return Math.max(...later.map(({ spent, plan }) => Math.abs(spent - plan) / budget));
}

/** How often an hour spending crosses its plan, beyond a band of 0.05 % of the budget: swings, not noise. */
function crossingsPerHour(minutes: readonly Minute[]): number {
  let side = 0;
  let crossings = 0;
  for (const { spent, plan } of minutes) {
    const now = Math.abs(spent - plan) < budget * 5e-4 ? 0 : Math.sign(spent - plan);
    if (now !== 0 && side !== 0 && now !== side) crossings++;
    if (now !== 0) side = now;
  }
  return crossings / (minutes.length / 60);
}

test.each([2, 10, 40])(
  'steady traffic for %s times the budget: spending follows the plan all day and reaches it',
  (times) => {
    const minutes = simulate({ supply: (nowMs) => times * shape(nowMs) });
    expect(worst(minutes)).toBeLessThan(0.005);
    expect(minutes.at(-1)!.spent / budget).toBeGreaterThan(0.995);
    expect(crossingsPerHour(minutes)).toBeLessThan(1);
  },
);

test('five times the traffic for half an hour: ahead of the plan for a while, never by more than 3 % of the budget, and back within two hours', () => {
  const burst = (nowMs: number): number => (nowMs >= 12 * hourMs && nowMs < 12.5 * hourMs ? 5 : 1);
  const minutes = simulate({ supply: (nowMs) => 4 * shape(nowMs) * burst(nowMs) });
  expect(worst(minutes)).toBeLessThan(0.03);
  const settled = minutes.filter(({ nowMs }) => nowMs > 14.5 * hourMs);
  expect(worst(settled)).toBeLessThan(0.01);
  expect(minutes.at(-1)!.spent / budget).toBeGreaterThan(0.995);
});

test('no traffic for ten minutes: behind by what was missed, and made up for within the hour', () => {
  const hole = (nowMs: number): number => (nowMs >= 12 * hourMs && nowMs < 12 * hourMs + 10 * minuteMs ? 0 : 1);
  const minutes = simulate({ supply: (nowMs) => 4 * shape(nowMs) * hole(nowMs) });
  expect(worst(minutes)).toBeLessThan(0.012);
  expect(worst(minutes.filter(({ nowMs }) => nowMs > 13.2 * hourMs))).toBeLessThan(0.005);
  expect(minutes.at(-1)!.spent / budget).toBeGreaterThan(0.995);
});

test.each([0.5, 1.5])(
  'a forecast that is off by half (traffic × %s, and a day of another shape): spending still follows the plan',
  (factor) => {
    const tilted = (nowMs: number): number => factor * 8 * (1 + 0.5 * Math.sin((2 * Math.PI * nowMs) / dayMs));
    const minutes = simulate({ supply: tilted });
    expect(worst(minutes)).toBeLessThan(0.012);
    expect(minutes.at(-1)!.spent / budget).toBeGreaterThan(0.995);
    expect(crossingsPerHour(minutes)).toBeLessThan(1);
  },
);

test('few, large events (a conversion every ten minutes at full rate): no swings, and the budget is spent', () => {
  const minutes = simulate({ supply: (nowMs) => 3 * shape(nowMs), eventNanos: budget / 48 });
  // One event is 2 % of the budget.
  expect(worst(minutes)).toBeLessThan(0.1);
  expect(minutes.at(-1)!.spent / budget).toBeGreaterThan(0.9);
});

test('traffic for less than the budget: nobody is held back for long', () => {
  const minutes = simulate({ supply: (nowMs) => 0.6 * shape(nowMs) });
  const later = minutes.filter(({ nowMs }) => nowMs > hourMs);
  expect(later.every(({ rate }) => rate === 1)).toBe(true);
  // What the slow start cost: less than 1 % of what there was.
  expect(minutes.at(-1)!.spent / (0.6 * budget)).toBeGreaterThan(0.99);
});

test('started at three in the afternoon: what is left is spread over what is left of the day', () => {
  const minutes = simulate({ supply: (nowMs) => 10 * shape(nowMs), fromMs: 15 * hourMs });
  const firstHour = minutes.filter(({ nowMs }) => nowMs < 16 * hourMs).at(-1)!;
  const meant = (day.shareBefore(16 * hourMs) - day.shareBefore(15 * hourMs)) / (1 - day.shareBefore(15 * hourMs));
  expect(Math.abs(firstHour.spent / budget - meant)).toBeLessThan(0.03);
  expect(minutes.at(-1)!.spent / budget).toBeGreaterThan(0.98);
});

test('wins without a single notice: reservations run out and come back, nobody is refused, and nobody starves', () => {
  const ledger = new BudgetLedger(BudgetLedger.allocate(1, 4096));
  const rates = new PacingRates(PacingRates.allocate(1));
  const controller = new PacingController(rates, ledger);
  // 150 units for the day; every second twenty wins of 0.005 at full rate, each held for a minute.
  ledger.setBudget(0, 150e9);
  let refused = 0;
  let auctions = 0;
  for (let nowMs = 0; nowMs < 40 * minuteMs; nowMs += 1000) {
    ledger.expire(nowMs);
    ledger.decayExpected(nowMs);
    controller.tick(nowMs, 1, paced);
    for (let win = 0; win < 20; win++) {
      if (rates.passes(0, auctions++) && ledger.reserve(0, 5e6, nowMs + minuteMs) < 0) refused++;
    }
  }
  expect(refused).toBe(0);
  expect(rates.rateOf(0)).toBeGreaterThan(0.1);
  expect(ledger.spendableNanos(0)).toBeGreaterThan(140e9);
});

test('a new day starts a new plan, at the rate the last one ended with', () => {
  let spent = 0;
  const rates = new PacingRates(PacingRates.allocate(1));
  const controller = new PacingController(rates, { targetNanos: () => budget, committedNanos: () => spent });
  const spend = (nowMs: number): void => {
    controller.tick(nowMs, 1, paced);
    spent += (4 * shape(nowMs) * rates.rateOf(0) * budget) / 86_400;
  };
  for (let nowMs = 20 * hourMs; nowMs < dayMs; nowMs += 1000) spend(nowMs);
  const before = rates.rateOf(0);
  spent = 0;
  for (let nowMs = dayMs; nowMs < dayMs + 10_000; nowMs += 1000) spend(nowMs);
  expect(controller.planNanos(0, dayMs)).toBe(0);
  expect(Math.abs(rates.rateOf(0) / before - 1)).toBeLessThan(0.03);
});

test('a budget that is raised at noon is spread over the afternoon', () => {
  let spent = budget / 2;
  let target = budget;
  const rates = new PacingRates(PacingRates.allocate(1));
  const controller = new PacingController(rates, { targetNanos: () => target, committedNanos: () => spent });
  controller.tick(12 * hourMs, 1, paced);
  target = 2 * budget;
  controller.tick(12 * hourMs + 1000, 1, paced);
  expect(controller.planNanos(0, 12 * hourMs + 1000)).toBeCloseTo(spent, -3);
  expect(controller.planNanos(0, dayMs - 1)).toBeGreaterThan(1.99 * budget);
});

test('the rate never moves by more than 10 % a minute, in whatever ticks', () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true }), fc.integer({ min: 1, max: 60 }), (error, ticks) => {
      let step = 1;
      for (let tick = 0; tick < ticks; tick++) step *= stepFor(error, minuteMs / ticks);
      expect(step).toBeGreaterThan(0.9 - 1e-9);
      expect(step).toBeLessThan(1.1 + 1e-9);
      expect(Math.sign(step - 1) * Math.sign(error)).toBeGreaterThanOrEqual(0);
    }),
  );
});

test('whatever the traffic, the rate stays between its floor and 1', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000), { minLength: 1, maxLength: 300 }), (jumps) => {
      const rates = new PacingRates(PacingRates.allocate(1));
      let spent = 0;
      const controller = new PacingController(rates, { targetNanos: () => 1e6, committedNanos: () => spent });
      for (const [index, jump] of jumps.entries()) {
        spent += jump * 1000;
        controller.tick(index * 10_000, 1, paced);
        expect(rates.rateOf(0)).toBeGreaterThan(0.0049);
        expect(rates.rateOf(0)).toBeLessThanOrEqual(1);
      }
    }),
  );
});

test('line items that spend as fast as they may take part in every auction, also when they change to it', () => {
  const rates = new PacingRates(PacingRates.allocate(2));
  const controller = new PacingController(rates, { targetNanos: () => budget, committedNanos: () => 0 });
  controller.tick(0, 2, Uint8Array.of(1, 0));
  expect([rates.rateOf(0) < 1, rates.rateOf(1)]).toEqual([true, 1]);
  controller.tick(1000, 2, Uint8Array.of(0, 0));
  expect(rates.rateOf(0)).toBe(1);
});

test('the draw lets through the share it was set to, per line item and independently of the others', () => {
  const rates = new PacingRates(PacingRates.allocate(2));
  rates.setRate(0, 0.2);
  rates.setRate(1, 0.2);
  const count = 50_000;
  let [first, both] = [0, 0];
  for (let auction = 0; auction < count; auction++) {
    const passes = rates.passes(0, auction);
    if (passes) first++;
    if (passes && rates.passes(1, auction)) both++;
    expect(rates.passes(0, auction)).toBe(passes);
  }
  // Within five standard deviations.
  expect(Math.abs(first - 0.2 * count)).toBeLessThan(5 * Math.sqrt(count * 0.16));
  expect(Math.abs(both - 0.04 * count)).toBeLessThan(5 * Math.sqrt(count * 0.0384));
});

test('at the lowest rates ordinary traffic still finds a bid: of 500 throttled line items some take part in 99 of 100 auctions', () => {
  const rates = new PacingRates(PacingRates.allocate(1000));
  for (let lineItem = 0; lineItem < 1000; lineItem++) rates.setRate(lineItem, 0.005);
  let empty = 0;
  for (let auction = 0; auction < 1000; auction++) {
    let taking = 0;
    for (let lineItem = 0; lineItem < 1000; lineItem++) if (rates.passes(lineItem, auction * 77)) taking++;
    if (taking === 0) empty++;
  }
  expect(empty).toBeLessThan(20);
});

test('the forecast runs from 0 to 1 and never falls, and learns the shape of a whole day of own traffic', () => {
  const forecast = new ImpressionForecast();
  let before = 0;
  for (let nowMs = 0; nowMs < dayMs; nowMs += 7 * minuteMs) {
    const share = forecast.shareBefore(nowMs);
    expect(share).toBeGreaterThanOrEqual(before);
    before = share;
  }
  expect(forecast.shareBefore(0)).toBe(0);
  expect(forecast.shareBefore(dayMs - 1)).toBeGreaterThan(0.999);
  // All traffic between six and seven.
  for (let nowMs = 0; nowMs <= dayMs; nowMs += minuteMs)
    forecast.observe(nowMs, Math.floor(nowMs / hourMs) === 6 ? 10 : 0);
  expect(forecast.weights[6]).toBeGreaterThan(0.4);
  expect(forecast.weights.reduce((sum, each) => sum + each, 0)).toBeCloseTo(1, 12);
});

test('half a day teaches nothing', () => {
  const forecast = new ImpressionForecast();
  for (let nowMs = 12 * hourMs; nowMs <= dayMs; nowMs += minuteMs) forecast.observe(nowMs, 10);
  expect(forecast.weights).toEqual(new ImpressionForecast().weights);
});

test.each([[[]], [[1, 2]], [[...hourWeightsDefault.slice(1), 0]], [[...hourWeightsDefault.slice(1), Number.NaN]]])(
  'weights %o are no day',
  (weights) => {
    expect(() => new ImpressionForecast(weights)).toThrow(expect.objectContaining({ code: 'AUCTION_SETTING_INVALID' }));
  },
);
