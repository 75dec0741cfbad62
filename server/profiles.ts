import { SharedUserTable, type UserTableShared, type UserVectorsShared } from '#embeddings/shared-user-table.ts';
import type { FeatureSchema } from '#inference/feature-schema.ts';
import { ProfileVocabulary } from './profile-vocabulary.ts';
import { usersOf } from './users-file.ts';

export type Profiles = {
  readonly userCount: number;
  readonly ids: readonly string[];
  /** userCount × (1 + ids per user): identity, age, gender, segments, as the user tower takes them. */
  readonly towerIds: Int32Array;
  readonly towerWidth: number;
  /** Sum of the ids' bytes in UTF-8. */
  readonly textBytes: number;
};

/** Reads the users file, or its first `countMax` users, in the words of a model's schema. Throws with every bad line at once. */
export async function readProfiles(
  path: string,
  schema: FeatureSchema,
  countMax = Number.POSITIVE_INFINITY,
): Promise<Profiles> {
  const vocabulary = new ProfileVocabulary(schema);
  const towerWidth = vocabulary.width;
  const ids: string[] = [];
  let towerIds = new Int32Array(towerWidth * 65_536);
  let textBytes = 0;
  for await (const profile of usersOf(path, countMax)) {
    const at = ids.length * towerWidth;
    if (at + towerWidth > towerIds.length) {
      const larger = new Int32Array(towerIds.length * 2);
      larger.set(towerIds);
      towerIds = larger;
    }
    vocabulary.idsInto(towerIds, at, profile.id, profile);
    ids.push(profile.id);
    textBytes += Buffer.byteLength(profile.id);
  }
  return { userCount: ids.length, ids, towerIds: towerIds.slice(0, ids.length * towerWidth), towerWidth, textBytes };
}

/** The ids as the user tower takes them, the unknown user's first: row by row what `shareProfiles` wants vectors for. */
export function towerIdsByRow({ userCount, towerIds, towerWidth }: Profiles): Int32Array {
  const ids = new Int32Array((userCount + 1) * towerWidth);
  ids.set(towerIds, towerWidth);
  return ids;
}

/** Profiles in shared memory beside their vectors, which are not copied: userCount + 1 rows, that of somebody unknown first. */
export function shareProfiles(profiles: Profiles, vectors: UserVectorsShared): UserTableShared {
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
