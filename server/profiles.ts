import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { SharedUserTable, type UserTableShared } from '#embeddings/shared-user-table.ts';
import type { VectorTableShared } from '#embeddings/vector-table.ts';
import { type FeatureSchema, vocabularyIndex } from '#inference/feature-schema.ts';

/** One profile of the users file: {"id","age","gender","segments"}, one JSON object a line. */
type Profile = {
  readonly id: string;
  readonly age: string;
  readonly gender: string;
  readonly segments: readonly string[];
};

export type Profiles = {
  readonly userCount: number;
  readonly ids: readonly string[];
  /** userCount × (1 + ids per user): identity, age, gender, segments, as the user tower takes them. */
  readonly towerIds: Int32Array;
  readonly towerWidth: number;
  /** Sum of the ids' bytes in UTF-8. */
  readonly textBytes: number;
};

/** Problems reported before the rest is only counted. */
const problemCountMax = 50;
/** 64 bytes an id, 200 segments: longer lines are no profiles. */
const lineCharsMax = 65_536;
/** Longest key that a request may bring: see openrtb-privacy.ts. */
const idCharsMax = 512;

/** Reads the users file in the words of a model's schema. Throws with every bad line (the first fifty by number) at once. */
export async function readProfiles(path: string, schema: FeatureSchema): Promise<Profiles> {
  const fields = schema.user.map((field) => ({ width: field.width, ids: vocabularyIndex(field) }));
  const towerWidth = fields.reduce((sum, { width }) => sum + width, 0);
  const problems: string[] = [];
  let problemCount = 0;
  const ids: string[] = [];
  const seen = new Set<string>();
  let towerIds = new Int32Array(towerWidth * 65_536);
  let textBytes = 0;
  let lineNumber = 0;
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
    seen.add(profile.id);
    const at = ids.length * towerWidth;
    if (at + towerWidth > towerIds.length) {
      const larger = new Int32Array(towerIds.length * 2);
      larger.set(towerIds);
      towerIds = larger;
    }
    fillIds(towerIds, at, profile, schema, fields);
    ids.push(profile.id);
    textBytes += Buffer.byteLength(profile.id);
  }
  if (problemCount > 0) throw new Error(`${path} has ${problemCount} bad lines:\n${problems.join('\n')}`);
  return { userCount: ids.length, ids, towerIds: towerIds.slice(0, ids.length * towerWidth), towerWidth, textBytes };
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
  return { id, age: age ?? '', gender: gender ?? '', segments: segments ?? [] };
}

/** Words that the model does not know are 0; segments beyond the field's width are left out. */
function fillIds(
  into: Int32Array,
  start: number,
  profile: Profile,
  schema: FeatureSchema,
  fields: readonly { readonly width: number; readonly ids: ReadonlyMap<string, number> }[],
): void {
  let at = start;
  for (const [index, { width, ids }] of fields.entries()) {
    const { name } = schema.user[index]!;
    const words =
      name === 'user'
        ? [profile.id]
        : name === 'age'
          ? [profile.age]
          : name === 'gender'
            ? [profile.gender]
            : name === 'segment'
              ? profile.segments
              : [];
    for (let place = 0; place < width; place++) into[at + place] = ids.get(words[place] ?? '') ?? 0;
    at += width;
  }
}

/** The ids as the user tower takes them, the unknown user's first: row by row what `shareProfiles` wants vectors for. */
export function towerIdsByRow({ userCount, towerIds, towerWidth }: Profiles): Int32Array {
  const ids = new Int32Array((userCount + 1) * towerWidth);
  ids.set(towerIds, towerWidth);
  return ids;
}

/** Profiles in shared memory beside their vectors, which are not copied: userCount + 1 rows, that of somebody unknown first. */
export function shareProfiles(profiles: Profiles, vectors: VectorTableShared): UserTableShared {
  const idsPerUser = profiles.towerWidth - 1;
  const shared = SharedUserTable.around(vectors, idsPerUser, profiles.textBytes);
  const table = new SharedUserTable(shared);
  const ids = new Uint32Array(idsPerUser);
  for (const [index, id] of profiles.ids.entries()) {
    const start = index * profiles.towerWidth + 1;
    for (let place = 0; place < idsPerUser; place++) ids[place] = profiles.towerIds[start + place]!;
    // Ids are there once each, so users get their rows in the order of the file.
    table.add(id, ids);
  }
  return shared;
}
