/** The closed lists of the demo world. A position in a list is how its typed arrays name the thing. */
export const categories = Array.from({ length: 23 }, (_, index) => `IAB${index + 1}`);
export const audienceSegments = Array.from({ length: 40 }, (_, index) => `seg${String(index + 1).padStart(2, '0')}`);
/** Interests first: an interest is the id of a category. */
export const segments: readonly string[] = [...categories, ...audienceSegments];
export const segmentsPerUserMax = 8;

export const ages = ['13-17', '18-24', '25-34', '35-44', '45-54', '55-64', '65+'] as const;
export const genders = ['M', 'F', 'O'] as const;
export const countries = ['USA', 'GBR', 'DEU', 'FRA', 'CAN', 'AUS', 'BRA'] as const;
export const countryShares = [45, 20, 15, 8, 5, 4, 3];
/** Main language of each country, then a second one that some of its people use. */
export const languages = ['en', 'de', 'fr', 'pt', 'es'] as const;
export const countryLanguages: readonly (readonly [number, number])[] = [
  [0, 4],
  [0, 2],
  [1, 0],
  [2, 0],
  [0, 2],
  [0, 4],
  [3, 0],
];
export const devices = ['phone', 'tablet', 'desktop', 'tv', 'other'] as const;
export const osNames = ['ios', 'android', 'windows', 'macos', 'linux', 'other'] as const;
/** Share of each operating system on each device. */
export const deviceOs: readonly (readonly number[])[] = [
  [42, 58, 0, 0, 0, 0],
  [60, 40, 0, 0, 0, 0],
  [0, 0, 68, 25, 7, 0],
  [0, 50, 0, 0, 30, 20],
  [0, 0, 0, 0, 20, 80],
];

export type SizeClass = {
  readonly word: string;
  readonly format: 'banner' | 'video' | 'native';
  readonly width: number;
  readonly height: number;
  /** Share of the creatives, and of ordinary requests, in percent. */
  readonly adShare: number;
  readonly requestShare: number;
};
/** 300x250 dominates as on the real web: at 10 K ads over 2,000 stay eligible there, so a light ranker has work. */
export const sizeClasses: readonly SizeClass[] = [
  { word: 'banner:300x250', format: 'banner', width: 300, height: 250, adShare: 39, requestShare: 40 },
  { word: 'banner:320x50', format: 'banner', width: 320, height: 50, adShare: 20, requestShare: 22 },
  { word: 'banner:728x90', format: 'banner', width: 728, height: 90, adShare: 16, requestShare: 15 },
  { word: 'banner:160x600', format: 'banner', width: 160, height: 600, adShare: 6, requestShare: 5 },
  { word: 'banner:300x600', format: 'banner', width: 300, height: 600, adShare: 5, requestShare: 5 },
  { word: 'banner:970x250', format: 'banner', width: 970, height: 250, adShare: 4, requestShare: 3 },
  { word: 'video', format: 'video', width: 640, height: 360, adShare: 6, requestShare: 6 },
  { word: 'native', format: 'native', width: 1200, height: 627, adShare: 4, requestShare: 4 },
];

/** Share of a day's requests in each UTC hour, as weights. */
export const hourWeights = [
  30, 26, 22, 20, 20, 22, 28, 36, 44, 50, 54, 56, 58, 60, 62, 64, 66, 68, 70, 72, 70, 62, 50, 40,
];
