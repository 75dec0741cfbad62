/** What is known of a person for a day: words, so that it means the same to every model. */
export type UserProfile = { readonly age: string; readonly gender: string; readonly segments: readonly string[] };

/** Version of the payload in its envelope. */
export const userProfileVersion = 1;
const wordBytesMax = 255;
/** Age, gender and 200 segments: longer lists are no profiles. */
const wordCountMax = 202;

/** Every word as `[u8 bytes][UTF-8]`: age, gender, then the segments. Throws RangeError for a word beyond 255 bytes or too many. */
export function encodeUserProfile({ age, gender, segments }: UserProfile): Buffer {
  const words = [age, gender, ...segments].map((word) => Buffer.from(word));
  if (words.length > wordCountMax) throw new RangeError(`${segments.length} segments are more than a profile holds`);
  const parts: Buffer[] = [];
  for (const word of words) {
    if (word.length > wordBytesMax)
      throw new RangeError(`a word of ${word.length} bytes is longer than a profile holds`);
    parts.push(Buffer.of(word.length), word);
  }
  return Buffer.concat(parts);
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
