import { AuctionError } from './errors.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const hours = 24;
/** How much of the next day's forecast a day of own traffic is; the rest is what was believed before. */
const learningShare = 0.5;
/** Of a flat day: what an hour keeps at least, so that a night without traffic can be planned for again. */
const hourShareMin = 0.1;

/** Impressions by UTC hour, only their proportions count: low at four in the morning of Europe, high in its evening. */
export const hourWeightsDefault: readonly number[] = [
  70, 62, 55, 50, 48, 52, 62, 76, 90, 100, 106, 110, 114, 118, 122, 126, 130, 136, 140, 142, 138, 124, 104, 84,
];

/** How the impressions of a UTC day are expected to fall over its hours, as a running share; learns from own traffic. */
export class ImpressionForecast {
  readonly #weights: Float64Array;
  /** Share of the day before each hour, and 1 at the end. */
  readonly #before = new Float64Array(hours + 1);
  readonly #seen = new Float64Array(hours);
  #day = Number.NaN;
  #firstSeenMs = Number.NaN;

  constructor(weights: readonly number[] = hourWeightsDefault) {
    this.#weights = Float64Array.from(weights);
    const isUsable = weights.length === hours && weights.every((each) => each > 0 && Number.isFinite(each));
    if (!isUsable) throw new AuctionError('AUCTION_SETTING_INVALID', { detail: 'hour weights: 24 positive numbers' });
    this.#sumUp();
  }

  /** In order of the hours, summing to 1. */
  get weights(): number[] {
    return Array.from({ length: hours }, (_, hour) => this.#before[hour + 1]! - this.#before[hour]!);
  }

  /** Share of the UTC day's impressions that is expected before this moment: 0 at midnight, 1 just before the next. */
  shareBefore(nowMs: number): number {
    const inDay = ((nowMs % dayMs) + dayMs) % dayMs;
    const hour = Math.floor(inDay / hourMs);
    const into = (inDay - hour * hourMs) / hourMs;
    return this.#before[hour]! + into * (this.#before[hour + 1]! - this.#before[hour]!);
  }

  /** Counts own auctions. A UTC day that was seen from its first hour to its end moves the forecast halfway to it. */
  observe(nowMs: number, auctionCount: number): void {
    const day = Math.floor(nowMs / dayMs);
    if (day !== this.#day) {
      if (day === this.#day + 1 && this.#firstSeenMs % dayMs < hourMs) this.#learn();
      this.#seen.fill(0);
      this.#firstSeenMs = nowMs;
      this.#day = day;
    }
    this.#seen[Math.floor((nowMs - day * dayMs) / hourMs)]! += auctionCount;
  }

  #learn(): void {
    const total = this.#seen.reduce((sum, each) => sum + each, 0);
    if (total === 0) return;
    for (let hour = 0; hour < hours; hour++) {
      const expected = this.#before[hour + 1]! - this.#before[hour]!;
      const seen = Math.max(this.#seen[hour]! / total, hourShareMin / hours);
      this.#weights[hour] = expected + learningShare * (seen - expected);
    }
    this.#sumUp();
  }

  #sumUp(): void {
    const total = this.#weights.reduce((sum, each) => sum + each, 0);
    for (let hour = 0; hour < hours; hour++) {
      this.#before[hour + 1] = hour === hours - 1 ? 1 : this.#before[hour]! + this.#weights[hour]! / total;
    }
  }
}
