import { AliasTable, hashUniform, pick, sumOf, zipfWeights } from './draws.ts';
import type { MarketLayout } from './layout.ts';
import { countries, countryLanguages, countryShares, deviceOs, sizeClasses } from './words.ts';

/** Where and when one impression happens: positions in the lists of words.ts; site −1 is one that nobody knows. Reused by its owner. */
export type ImpressionContext = {
  site: number;
  country: number;
  device: number;
  os: number;
  language: number;
  /** Position in `sizeClasses`. */
  size: number;
  /** UTC; Sunday is day 0. */
  hour: number;
  day: number;
};

export function newContext(): ImpressionContext {
  return { site: -1, country: 0, device: 0, os: 0, language: 0, size: 0, hour: 0, day: 0 };
}

const countryShareSum = sumOf(countryShares);
const requestShares = sizeClasses.map(({ requestShare }) => requestShare);
const requestShareSum = sumOf(requestShares);
const appDevices = [85, 13, 0, 2, 0];
const webDevices = [42, 8, 48, 1, 1];
const osSums = deviceOs.map(sumOf);
const anonymousShare = 0.06;
const unknownSiteShare = 0.03;
const size320x50 = 1;
const size300x250 = 0;
const size728x90 = 2;

/** Ordinary traffic: users and sites by Zipf, devices by surface, hours from the clock of whoever asks. */
export class AudienceSampler {
  readonly #layout: MarketLayout;
  readonly #random: () => number;
  readonly #users: AliasTable;
  readonly #sites: AliasTable;

  constructor(layout: MarketLayout, random: () => number) {
    this.#layout = layout;
    this.#random = random;
    this.#users = new AliasTable(zipfWeights(layout.parameters.users));
    this.#sites = new AliasTable(zipfWeights(layout.siteCount).map((weight) => weight ** 0.8));
  }

  /** A user's number, or −1 for somebody without a profile. */
  drawUser(): number {
    return this.#random() < anonymousShare ? -1 : this.#users.draw(this.#random());
  }

  drawContext(user: number, timeMs: number, into: ImpressionContext): void {
    const random = this.#random;
    into.site = random() < unknownSiteShare ? -1 : this.#sites.draw(random());
    const isApp = into.site >= 0 && this.#layout.siteIsApp[into.site] === 1;
    into.device = pick(isApp ? appDevices : webDevices, 100, random());
    into.os = pick(deviceOs[into.device]!, osSums[into.device]!, random());
    // People stay where they live and speak what they speak.
    const home = user < 0 ? random() : hashUniform(this.#layout.parameters.seed, 71, user);
    into.country = pick(countryShares, countryShareSum, home);
    const tongue = user < 0 ? random() : hashUniform(this.#layout.parameters.seed, 72, user);
    into.language = countryLanguages[into.country]![tongue < 0.88 ? 0 : 1];
    let size = pick(requestShares, requestShareSum, random());
    // A phone has no room for a leaderboard, a desktop no use for a phone's banner.
    if (into.device === 0 && size >= size728x90 && size <= 5) size = size === size728x90 ? size320x50 : size300x250;
    else if (into.device >= 2 && size === size320x50) size = size728x90;
    into.size = size;
    const hours = Math.floor(timeMs / 3_600_000);
    into.hour = hours % 24;
    // 1970-01-01 was a Thursday.
    into.day = (Math.floor(hours / 24) + 4) % 7;
  }
}

/** EEA members among the countries of the world: GDPR applies there. */
export function isEea(country: number): boolean {
  return countries[country] === 'DEU' || countries[country] === 'FRA';
}
