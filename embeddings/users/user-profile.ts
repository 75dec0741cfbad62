/** What is known of a person for a day: words, so that it means the same to every model. */
export type UserProfile = { readonly age: string; readonly gender: string; readonly segments: readonly string[] };

/** Version of the payload in its envelope. */
export const userProfileVersion = 1;
const wordBytesMax = 255;
/** Age, gender and 200 segments: longer lists are no profiles. */
const wordCountMax = 202;

/** Why a profile cannot be kept, or undefined. */
export function userProfileProblem({ age, gender, segments }: UserProfile): string | undefined {
  if (segments.length + 2 > wordCountMax) return `may have ${wordCountMax - 2} segments`;
  const isTooLong = [age, gender, ...segments].some((word) => Buffer.byteLength(word) > wordBytesMax);
  return isTooLong ? `a word may have ${wordBytesMax} bytes` : undefined;
}

/** Every word as `[u8 bytes][UTF-8]`: age, gender, then the segments. Throws RangeError for a profile with a `userProfileProblem`. */
export function encodeUserProfile(profile: UserProfile): Buffer {
  const problem = userProfileProblem(profile);
  if (problem !== undefined) throw new RangeError(problem);
  const words = [profile.age, profile.gender, ...profile.segments].map((word) => Buffer.from(word));
  return Buffer.concat(words.flatMap((word) => [Buffer.of(word.length), word]));
}

/** The profile in a payload; undefined for bytes that are none. */
export function decodeUserProfile(payload: Buffer): UserProfile | undefined {
  const words: string[] = [];
  let at = 0;
  while (at < payload.length) {
    const end = at + 1 + payload[at]!;
    if (end > payload.length || words.length === wordCountMax) return undefined;
    words.push(payload.toString('utf8', at + 1, end));
    at = end;
  }
  if (words.length < 2) return undefined;
  const [age, gender, ...segments] = words;
  return { age: age!, gender: gender!, segments };
}
