import { seededRandom } from '#inference/seeded-random.ts';
import { AudienceSampler, type ImpressionContext, newContext } from './context.ts';
import { hashNormal } from './draws.ts';
import type { MarketLayout } from './layout.ts';
import { LoggingPolicy } from './logging-policy.ts';
import { ages, categories, countries, devices, genders, segments, segmentsPerUserMax, sizeClasses } from './words.ts';

const factorCount = 4;
/** What the log shows on average; calibrated a little above, since repeated views tire (about −6 % over a week). */
const baseClickRate = 0.0213;
const baseConversionRate = 0.05;
/** How well the truth itself would rank the clicks of the log: 1 would be a world without chance. */
const bestAuc = 0.842;
const calibrationDraws = 40_000;

/** Standard deviations of the parts of the logit: their shares say what can be learnt from what; `#calibrate` scales the whole. */
const spread = {
  category: 0.48,
  advertiser: 0.36,
  lineItem: 0.22,
  ad: 0.1,
  size: 0.3,
  site: 0.5,
  device: 0.22,
  hour: 0.22,
  country: 0.15,
  age: 0.2,
  gender: 0.1,
  segment: 0.16,
  person: 0.12,
  taste: 0.82,
  siteTaste: 0.3,
  interestMatch: 1.1,
  siteMatch: 0.8,
  fatigue: 0.15,
} as const;

const kind = {
  category: 101,
  advertiser: 102,
  lineItem: 103,
  ad: 104,
  size: 105,
  site: 106,
  device: 107,
  country: 109,
  age: 110,
  gender: 111,
  segment: 112,
  person: 113,
  factor: 200,
  conversion: 300,
  prior: 400,
} as const;

/**
 * What the people of the demo world truly do. Lives in the simulator and the traffic driver only: a server that read it would
 * be marking its own homework. Factors of people and ads are made when first asked for.
 */
export class World {
  readonly layout: MarketLayout;
  readonly #seed: number;
  readonly #segmentFactors: Float32Array;
  readonly #ageFactors: Float32Array;
  readonly #genderFactors: Float32Array;
  readonly #siteFactors: Float32Array;
  readonly #userFactors: Float32Array;
  readonly #userBias: Float32Array;
  readonly #userMade: Uint8Array;
  readonly #adFactors: Float32Array;
  readonly #adBias: Float32Array;
  readonly #adMade: Uint8Array;
  readonly #siteBias: Float32Array;
  readonly #sizeBias: Float32Array;
  readonly #deviceBias: Float32Array;
  readonly #countryBias: Float32Array;
  readonly #hourBias: Float32Array;
  #clickScale = 1;
  #clickIntercept = Math.log(baseClickRate);
  #conversionIntercept = Math.log(baseConversionRate / (1 - baseConversionRate));

  constructor(layout: MarketLayout) {
    this.layout = layout;
    const { ads, users, seed } = layout.parameters;
    this.#seed = seed;
    const factors = (which: number, count: number): Float32Array =>
      Float32Array.from({ length: count * factorCount }, (_, at) => hashNormal(seed, kind.factor + which, at));
    const biases = (which: number, count: number, deviation: number): Float32Array =>
      Float32Array.from({ length: count }, (_, at) => deviation * hashNormal(seed, which, at));
    this.#segmentFactors = factors(0, segments.length);
    this.#ageFactors = factors(1, ages.length);
    this.#genderFactors = factors(2, genders.length);
    this.#siteFactors = factors(3, layout.siteCount);
    this.#userFactors = new Float32Array(users * factorCount);
    this.#userBias = new Float32Array(users);
    this.#userMade = new Uint8Array(users);
    this.#adFactors = new Float32Array(ads * factorCount);
    this.#adBias = new Float32Array(ads);
    this.#adMade = new Uint8Array(ads);
    this.#siteBias = biases(kind.site, layout.siteCount, spread.site);
    this.#sizeBias = biases(kind.size, sizeClasses.length, spread.size);
    this.#deviceBias = biases(kind.device, devices.length, spread.device);
    this.#countryBias = biases(kind.country, countries.length, spread.country);
    this.#hourBias = Float32Array.from(
      { length: 24 },
      (_, hour) => spread.hour * Math.SQRT2 * Math.sin((2 * Math.PI * (hour - 14)) / 24),
    );
    this.#calibrate();
  }

  /** P(click | shown). User −1 and site −1 are unknown; `views` = earlier views of the line item by this user today. */
  trueClickProbability(user: number, ad: number, context: ImpressionContext, views: number): number {
    const liking = this.#clickScale * this.#clickLogit(user, ad, context) + this.#clickIntercept;
    return 1 / (1 + Math.exp(spread.fatigue * Math.log(1 + views) - liking));
  }

  /** P(conversion | click). */
  trueConversionProbability(user: number, ad: number, context: ImpressionContext): number {
    return 1 / (1 + Math.exp(-this.#conversionLogit(user, ad, context) - this.#conversionIntercept));
  }

  /**
   * What an advertiser would guess for the line item before any traffic: within a factor of two of the truth about as often
   * as not. This is the only number that reaches the market files, rounded to two digits.
   */
  roughClickPrior(item: number): number {
    const guess = 0.02 * Math.exp(0.5 * this.#lineItemBias(item) + 0.45 * hashNormal(this.#seed, kind.prior, item));
    return Number(Math.min(0.2, Math.max(0.002, guess)).toPrecision(2));
  }

  roughConversionPrior(item: number): number {
    const guess = baseConversionRate * Math.exp(0.4 * hashNormal(this.#seed, kind.prior + 1, item));
    return Number(guess.toPrecision(2));
  }

  #lineItemBias(item: number): number {
    const advertiser = this.layout.lineItemAdvertiser[item]!;
    const category = this.layout.advertiserCategory[advertiser]!;
    return (
      spread.category * hashNormal(this.#seed, kind.category, category) +
      spread.advertiser * hashNormal(this.#seed, kind.advertiser, advertiser) +
      spread.lineItem * hashNormal(this.#seed, kind.lineItem, item)
    );
  }

  #clickLogit(user: number, ad: number, context: ImpressionContext): number {
    const { layout } = this;
    if (this.#adMade[ad] === 0) this.#makeAd(ad);
    const category = layout.adCategory(ad);
    const adAt = ad * factorCount;
    let logit =
      this.#adBias[ad]! +
      this.#sizeBias[context.size]! +
      this.#deviceBias[context.device]! +
      this.#countryBias[context.country]! +
      this.#hourBias[context.hour]!;
    if (user >= 0) {
      if (this.#userMade[user] === 0) this.#makeUser(user);
      const userAt = user * factorCount;
      let taste = 0;
      for (let d = 0; d < factorCount; d += 1) taste += this.#userFactors[userAt + d]! * this.#adFactors[adAt + d]!;
      logit += this.#userBias[user]! + (spread.taste / Math.sqrt(factorCount)) * taste;
      if (layout.hasInterest(user, category)) logit += spread.interestMatch;
    }
    if (context.site >= 0) {
      const siteAt = context.site * factorCount;
      let taste = 0;
      for (let d = 0; d < factorCount; d += 1) taste += this.#siteFactors[siteAt + d]! * this.#adFactors[adAt + d]!;
      logit += this.#siteBias[context.site]! + (spread.siteTaste / Math.sqrt(factorCount)) * taste;
      if (layout.siteCategory[context.site] === category) logit += spread.siteMatch;
    }
    return logit;
  }

  #conversionLogit(user: number, ad: number, context: ImpressionContext): number {
    const advertiser = this.layout.lineItemAdvertiser[this.layout.adLineItem[ad]!]!;
    const category = this.layout.advertiserCategory[advertiser]!;
    let logit =
      0.4 * hashNormal(this.#seed, kind.conversion, category) +
      0.4 * hashNormal(this.#seed, kind.conversion + 1, advertiser) +
      0.3 * hashNormal(this.#seed, kind.conversion + 2, context.device);
    if (user >= 0) {
      logit +=
        0.3 * hashNormal(this.#seed, kind.conversion + 3, this.layout.userAge[user]! * categories.length + category);
      if (this.layout.hasInterest(user, category)) logit += 0.4;
    }
    return logit;
  }

  /** Of the variance of a person's taste about 95 % follows from what the profile says, the rest is their own. */
  #makeUser(user: number): void {
    const { layout } = this;
    const at = user * factorCount;
    const age = layout.userAge[user]!;
    const gender = layout.userGender[user]!;
    const start = user * segmentsPerUserMax;
    let held = 0;
    let bias =
      spread.age * hashNormal(this.#seed, kind.age, age) +
      spread.gender * hashNormal(this.#seed, kind.gender, gender) +
      spread.person * hashNormal(this.#seed, kind.person, user);
    while (held < segmentsPerUserMax && layout.userSegments[start + held] !== 0) {
      bias += spread.segment * hashNormal(this.#seed, kind.segment, layout.userSegments[start + held]!);
      held += 1;
    }
    const share = 0.75 / Math.sqrt(Math.max(1, held));
    for (let d = 0; d < factorCount; d += 1) {
      let sum =
        0.45 * this.#ageFactors[age * factorCount + d]! +
        0.35 * this.#genderFactors[gender * factorCount + d]! +
        0.22 * hashNormal(this.#seed, kind.factor + 10, at + d);
      for (let place = start; place < start + held; place += 1) {
        sum += share * this.#segmentFactors[(layout.userSegments[place]! - 1) * factorCount + d]!;
      }
      this.#userFactors[at + d] = sum;
    }
    this.#userBias[user] = bias;
    this.#userMade[user] = 1;
  }

  #makeAd(ad: number): void {
    const item = this.layout.adLineItem[ad]!;
    const advertiser = this.layout.lineItemAdvertiser[item]!;
    const category = this.layout.advertiserCategory[advertiser]!;
    const part = (which: number, index: number, d: number): number =>
      hashNormal(this.#seed, kind.factor + which, index * factorCount + d);
    for (let d = 0; d < factorCount; d += 1) {
      this.#adFactors[ad * factorCount + d] =
        0.9 * part(20, category, d) + 0.35 * part(21, advertiser, d) + 0.15 * part(22, item, d) + 0.1 * part(23, ad, d);
    }
    this.#adBias[ad] = this.#lineItemBias(item) + spread.ad * hashNormal(this.#seed, kind.ad, ad);
    this.#adMade[ad] = 1;
  }

  /** Sets scale and intercepts on a seeded sample, so that every seed gives the base rates and the best possible AUC that we promise. */
  #calibrate(): void {
    const random = seededRandom(this.#seed ^ 0x51ab);
    const audience = new AudienceSampler(this.layout, random);
    const policy = new LoggingPolicy(this.layout, random);
    const context = newContext();
    const clickLogits: number[] = [];
    const conversionLogits: number[] = [];
    for (let draw = 0; draw < calibrationDraws; draw += 1) {
      const user = audience.drawUser();
      audience.drawContext(user, (draw / calibrationDraws) * 7 * 86_400_000, context);
      const ad = policy.choose(user, context);
      if (ad < 0) continue;
      clickLogits.push(this.#clickLogit(user, ad, context));
      if (draw % 4 === 0) conversionLogits.push(this.#conversionLogit(user, ad, context));
    }
    const sorted = Float64Array.from(clickLogits).sort();
    let low = 0.5;
    let high = 2;
    for (let step = 0; step < 14; step += 1) {
      this.#clickScale = (low + high) / 2;
      const scaled = sorted.map((logit) => this.#clickScale * logit);
      this.#clickIntercept = interceptFor(scaled, baseClickRate);
      if (expectedAuc(scaled, this.#clickIntercept) < bestAuc) low = this.#clickScale;
      else high = this.#clickScale;
    }
    this.#conversionIntercept = interceptFor(conversionLogits, baseConversionRate);
  }
}

/** The constant that makes the mean probability of these logits the wanted rate. */
function interceptFor(logits: ArrayLike<number> & Iterable<number>, rate: number): number {
  let intercept = Math.log(rate / (1 - rate));
  for (let step = 0; step < 30; step += 1) {
    let sum = 0;
    let slope = 0;
    for (const logit of logits) {
      const p = 1 / (1 + Math.exp(-logit - intercept));
      sum += p;
      slope += p * (1 - p);
    }
    const move = (rate * logits.length - sum) / slope;
    intercept += move;
    if (Math.abs(move) < 1e-9) break;
  }
  return intercept;
}

/** The AUC that the truth expects of itself: every pair of rows counts by the chance that one clicks and the other does not. */
function expectedAuc(sortedLogits: Float64Array, intercept: number): number {
  let clicks = 0;
  let skips = 0;
  let ordered = 0;
  for (const logit of sortedLogits) {
    const p = 1 / (1 + Math.exp(-logit - intercept));
    ordered += p * (skips + (1 - p) / 2);
    clicks += p;
    skips += 1 - p;
  }
  return ordered / (clicks * skips);
}
