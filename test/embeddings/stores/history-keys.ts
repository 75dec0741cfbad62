const timeBytes = 6;
const latestMs = 2 ** 48 - 1;

/** Key of one event in the history of an entity, as embeddings/stores/README.md has it: entity, zero, time counted backwards. */
export function historyKey(entity: Buffer, timeMs: number): Buffer {
  const time = Buffer.alloc(timeBytes);
  time.writeUIntBE(latestMs - timeMs, 0, timeBytes);
  return Buffer.concat([historyPrefix(entity), time]);
}

/** What all keys of an entity's history begin with. */
export function historyPrefix(entity: Buffer): Buffer {
  return Buffer.concat([entity, Buffer.alloc(1)]);
}
