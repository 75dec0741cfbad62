import type { UserProfile } from '#embeddings/users/user-profile.ts';
import { type FeatureSchema, vocabularyIndex } from '#inference/feature-schema.ts';

type Field = { readonly name: string; readonly width: number; readonly ids: ReadonlyMap<string, number> };

const noWords: readonly string[] = [];

/** The words of a profile as the vocabulary ids of one model's user fields, identity first. */
export class ProfileVocabulary {
  readonly #fields: readonly Field[];
  /** Ids per user, the identity included. */
  readonly width: number;

  constructor(schema: FeatureSchema) {
    this.#fields = schema.user.map((field) => ({
      name: field.name,
      width: field.width,
      ids: vocabularyIndex(field),
    }));
    this.width = this.#fields.reduce((sum, { width }) => sum + width, 0);
  }

  /** All fields, the identity among them, from `at` on. Words that the model does not know are 0; what is beyond a field's width is left out. */
  idsInto(target: Int32Array, at: number, userId: string, profile: UserProfile): void {
    let place = at;
    for (const field of this.#fields) {
      fill(target, place, field, wordsOf(field.name, userId, profile));
      place += field.width;
    }
  }

  /** The fields after the identity, as serving keeps them. */
  profileIdsInto(target: Uint32Array, profile: UserProfile): void {
    let place = 0;
    for (let index = 1; index < this.#fields.length; index++) {
      const field = this.#fields[index]!;
      fill(target, place, field, wordsOf(field.name, '', profile));
      place += field.width;
    }
  }
}

function wordsOf(field: string, userId: string, { age, gender, segments }: UserProfile): readonly string[] {
  switch (field) {
    case 'user':
      return [userId];
    case 'age':
      return [age];
    case 'gender':
      return [gender];
    case 'segment':
      return segments;
    default:
      return noWords;
  }
}

function fill(target: Int32Array | Uint32Array, at: number, { width, ids }: Field, words: readonly string[]): void {
  for (let place = 0; place < width; place++) target[at + place] = ids.get(words[place] ?? '') ?? 0;
}
