import { type FeatureSchema, vocabularyIndex } from '#inference/feature-schema.ts';
import type { BidDevice, BidPlace } from './bid-request.ts';

/** What a request says about where and when, in the words of the model's context fields; '' unknown. Reused per request. */
export type ContextWords = {
  site: string;
  site_category: string;
  surface: string;
  hour: string;
  day: string;
  device: string;
  os: string;
  country: string;
  size: string;
  language: string;
};

export function newContextWords(): ContextWords {
  return {
    site: '',
    site_category: '',
    surface: '',
    hour: '',
    day: '',
    device: '',
    os: '',
    country: '',
    size: '',
    language: '',
  };
}

/** 0..23 and 0..6 as words: made once, so that a request makes no strings. */
const numberWords = Array.from({ length: 24 }, (_, value) => String(value));

/** Fills everything but `size`, which belongs to an imp. `nowMs` is the clock that also sets hour and day (UTC). */
export function fillContextWords(words: ContextWords, place: BidPlace, device: BidDevice, nowMs: number): void {
  words.site = place.kind === 'app' ? place.bundle || place.id : place.domain || place.id;
  // The model knows top categories: IAB2-3 counts as IAB2.
  const category = place.categories[0] ?? '';
  const dash = category.indexOf('-');
  words.site_category = dash < 0 ? category : category.slice(0, dash);
  words.surface = place.kind === 'app' ? 'app' : place.kind === 'none' ? '' : 'site';
  words.hour = numberWords[hourOf(nowMs)]!;
  words.day = numberWords[dayOf(nowMs)]!;
  words.device = device.type;
  words.os = device.os;
  words.country = device.country;
  words.language = device.language;
}

export function hourOf(nowMs: number): number {
  return Math.floor(nowMs / 3_600_000) % 24;
}

/** UTC day of the week, Sunday 0: 1 January 1970 was a Thursday. */
export function dayOf(nowMs: number): number {
  return (Math.floor(nowMs / 86_400_000) + 4) % 7;
}

/** Words → vocabulary ids, in the order of the schema's context fields. Fields that Gavelin's requests do not have stay 0. */
export class ContextVocabulary {
  readonly #fields: readonly {
    readonly word: keyof ContextWords | undefined;
    readonly ids: ReadonlyMap<string, number>;
  }[];

  constructor(schema: FeatureSchema) {
    const known = newContextWords();
    this.#fields = schema.context.map((field) => ({
      word: Object.hasOwn(known, field.name) ? (field.name as keyof ContextWords) : undefined,
      ids: vocabularyIndex(field),
    }));
  }

  get fieldCount(): number {
    return this.#fields.length;
  }

  idsInto(words: ContextWords, ids: Uint32Array): void {
    for (let field = 0; field < this.#fields.length; field++) {
      const { word, ids: vocabulary } = this.#fields[field]!;
      ids[field] = word === undefined ? 0 : (vocabulary.get(words[word]) ?? 0);
    }
  }
}
