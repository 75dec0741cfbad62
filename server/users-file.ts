import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { type UserProfile, userProfileProblem } from '#embeddings/users/user-profile.ts';

/** One profile of the users file: {"id","age","gender","segments"}, one JSON object a line. */
export type Profile = UserProfile & { readonly id: string };

/** Problems reported before the rest is only counted. */
const problemCountMax = 50;
/** 64 bytes an id, 200 segments: longer lines are no profiles. */
const lineCharsMax = 65_536;
/** Users among whom repetitions are found: a Set ends at 16.7 million, and the stores take the last of two anyway. */
const repetitionsSeenMax = 8_000_000;
/** Longest key that a request may bring: see openrtb-privacy.ts. */
const idCharsMax = 512;

/**
 * The profiles of a users file, or its first `countMax`, one after another. Throws at the end with every bad line (the first fifty by
 * number) at once; a caller that must not act on part of a file takes all of it first.
 */
export async function* usersOf(path: string, countMax = Number.POSITIVE_INFINITY): AsyncGenerator<Profile> {
  const problems: string[] = [];
  let problemCount = 0;
  const seen = new Set<string>();
  let lineNumber = 0;
  let count = 0;
  if (countMax > 0) {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      lineNumber++;
      if (line.trim() === '') continue;
      const profile = parseProfile(line);
      if (typeof profile === 'string' || seen.has(profile.id)) {
        problemCount++;
        const why = typeof profile === 'string' ? profile : `id "${profile.id.slice(0, 64)}" is there twice`;
        if (problems.length < problemCountMax) problems.push(`line ${lineNumber}: ${why}`);
        continue;
      }
      if (seen.size < repetitionsSeenMax) seen.add(profile.id);
      yield profile;
      if (++count >= countMax) break;
    }
  }
  if (problemCount > 0) throw new Error(`${path} has ${problemCount} bad lines:\n${problems.join('\n')}`);
}

function parseProfile(line: string): Profile | string {
  if (line.length > lineCharsMax) return `is longer than ${lineCharsMax} characters`;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return 'is not JSON';
  }
  if (typeof value !== 'object' || value === null) return 'is not a JSON object';
  const { id, age, gender, segments } = value as Record<string, unknown>;
  if (typeof id !== 'string' || id === '' || id.length > idCharsMax)
    return `id must be a text of 1 to ${idCharsMax} characters`;
  if (age !== undefined && typeof age !== 'string') return 'age must be a text';
  if (gender !== undefined && typeof gender !== 'string') return 'gender must be a text';
  if (segments !== undefined && !(Array.isArray(segments) && segments.every((each) => typeof each === 'string'))) {
    return 'segments must be a list of texts';
  }
  const profile = { id, age: age ?? '', gender: gender ?? '', segments: segments ?? [] };
  return userProfileProblem(profile) ?? profile;
}
