import { SharedUserTable, type UserTableShared } from '#embeddings/shared-user-table.ts';
import { UserEmbeddingRows } from '#embeddings/users/user-embedding-row.ts';
import { LoadedModel } from '#inference/loaded-model.ts';
import type { ModelShared } from '#inference/model-tables.ts';
import { ContextVocabulary } from './context-words.ts';
import { ProfileVocabulary } from './profile-vocabulary.ts';
import type { ServingModel } from './pipeline-ports.ts';

/** A model and the profiles under its tower, as they cross to a serving thread: all of it is shared memory. */
export type ServedModelShared = {
  readonly model: ModelShared;
  readonly users: UserTableShared;
  /** Epoch ms. */
  readonly sinceMs: number;
};

/** Places of `idsOf`: age and gender, then the segments. See `userFieldNames`. */
const firstSegment = 2;

/** One serving thread's view of a model. `adLineItem`: line item number by ad row, of the catalog. */
export function servedModel(shared: ServedModelShared, adLineItem: Uint32Array): ServingModel {
  const loaded = new LoadedModel(shared.model, adLineItem);
  const users = new SharedUserTable(shared.users);
  const vocabulary = new ContextVocabulary(loaded.schema);
  const words = loaded.schema.user.find(({ name }) => name === 'segment')?.vocabulary ?? [];
  const profiles = new ProfileVocabulary(loaded.schema);
  const { userScale } = loaded;
  return {
    slot: loaded.slot,
    modelId: loaded.modelId,
    calibratorId: loaded.calibratorId,
    users,
    sinceMs: shared.sinceMs,
    userRows: userScale === undefined ? undefined : new UserEmbeddingRows(loaded.towerVersion, userScale),
    averageUserVector: userScale?.mean ?? users.vectorOf(0, new Float32Array(shared.model.userDimension)),
    predictionKey: loaded.predictionKey,
    userSegmentOf: (userIds) => loaded.userSegments.of(userIds),
    vocabulary,
    ranker: loaded.ranker,
    segmentWordsOf: (row) => {
      const ids = users.idsOf(row);
      const found: string[] = [];
      for (let place = firstSegment; place < ids.length; place++) {
        const word = words[ids[place]! - 1];
        if (word !== undefined) found.push(word);
      }
      return found;
    },
    profileIdsInto: (profile, ids) => profiles.profileIdsInto(ids, profile),
    requestVectorInto: (target, userVector, contextIds) => loaded.requestVectorInto(target, userVector, contextIds),
    crossInto: (target, rows, from, count, facts) => loaded.crossInto(target, rows, from, count, facts),
    clicksQ30Into: (rung, logits, first, count, target) => loaded.clicksQ30Into(rung, logits, first, count, target),
    clickQ30: (rung, logit) => loaded.clickQ30(rung, logit),
    conversionQ30: (rung, logit) => loaded.conversionQ30(rung, logit),
    lightConversionLogit: (row) => loaded.lightConversionLogit(row),
  };
}
