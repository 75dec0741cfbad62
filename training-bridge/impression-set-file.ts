import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { CategoricalField, FeatureSchema } from '#inference/feature-schema.ts';
import { checkImpressionSet } from './check-impression-set.ts';
import type { EntityTable, ImpressionSet } from './impression-set.ts';
import { TrainerError } from './trainer-errors.ts';

/**
 * One file, little-endian: `[8 bytes mark][u32 version][u32 bytes of the header][header, JSON][columns…][u32 crc32 of all before it]`, every
 * part padded to 8 bytes. The header holds schema and ids; what the columns are follows from it.
 */
const mark = 'GVLIMPR\n';
const version = 1;
/** A schema of a million users and a million ads is about 60 MB of JSON; a length beyond this is damage. */
const headerBytesMax = 1 << 29;
const rowCountMax = 2 ** 31;

type Column = Uint8Array | Uint32Array | Float32Array | Float64Array;
type Header = {
  readonly schema: FeatureSchema;
  readonly rowCount: number;
  readonly userIds: readonly string[];
  readonly adIds: readonly string[];
};

/** Writes the set whole or not at all: a reader never sees a half-written file. A million rows are about 70 MB and 0.2 s. */
export async function saveImpressionSet(path: string, set: ImpressionSet): Promise<void> {
  const { schema, rowCount } = set;
  const header: Header = { schema, rowCount, userIds: set.users.ids, adIds: set.ads.ids };
  const headerBytes = new TextEncoder().encode(JSON.stringify(header));
  const start = new Uint8Array(16);
  start.set(new TextEncoder().encode(mark));
  const startView = new DataView(start.buffer);
  startView.setUint32(8, version, true);
  startView.setUint32(12, headerBytes.length, true);
  const unfinished = `${path}.${randomUUID()}.part`;
  try {
    const file = await open(unfinished, 'wx');
    try {
      let checksum = 0;
      const write = async (bytes: Uint8Array): Promise<void> => {
        for (const part of [bytes, new Uint8Array(padding(bytes.length))]) {
          checksum = crc32(part, checksum);
          for (let done = 0; done < part.length;) done += (await file.write(part, done)).bytesWritten;
        }
      };
      await write(start);
      await write(headerBytes);
      for (const column of columnsOf(set)) {
        await write(new Uint8Array(column.buffer, column.byteOffset, column.byteLength));
      }
      const end = new Uint8Array(4);
      new DataView(end.buffer).setUint32(0, checksum, true);
      await file.write(end);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, path);
  } catch (cause) {
    await rm(unfinished, { force: true });
    throw new TrainerError('IMPRESSIONS_UNREADABLE', { cause, detail: path });
  }
}

/** Reads a set back and checks all of it: checksum, lengths, and that every id lies inside its vocabulary. */
export async function loadImpressionSet(path: string): Promise<ImpressionSet> {
  let file: FileHandle;
  let fileBytes: number;
  try {
    file = await open(path, 'r');
    fileBytes = (await file.stat()).size;
  } catch (cause) {
    throw new TrainerError('IMPRESSIONS_UNREADABLE', { cause, detail: path });
  }
  const damaged = (detail: string): TrainerError =>
    new TrainerError('IMPRESSIONS_DAMAGED', { detail: `${path}: ${detail}` });
  try {
    let checksum = 0;
    let position = 0;
    const read = async <Target extends Column>(target: Target): Promise<Target> => {
      const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
      const pad = new Uint8Array(padding(bytes.length));
      if (position + bytes.length + pad.length > fileBytes) throw damaged('it ends too early');
      for (const part of [bytes, pad]) {
        for (let done = 0; done < part.length;) {
          const { bytesRead } = await file.read(part, done, part.length - done, position);
          if (bytesRead === 0) throw damaged('it ends too early');
          done += bytesRead;
          position += bytesRead;
        }
        checksum = crc32(part, checksum);
      }
      return target;
    };
    const start = await read(new Uint8Array(16));
    const startView = new DataView(start.buffer);
    if (new TextDecoder().decode(start.subarray(0, 8)) !== mark) throw damaged('it does not begin like one');
    const found = startView.getUint32(8, true);
    if (found !== version) throw new TrainerError('IMPRESSIONS_VERSION', { detail: `${path}: version ${found}` });
    const headerBytes = startView.getUint32(12, true);
    if (headerBytes > Math.min(headerBytesMax, fileBytes)) throw damaged('its header is longer than the file');
    const header = headerFrom(await read(new Uint8Array(headerBytes)), damaged);
    const bytesNeeded = columnBytes(header) + position + 4;
    if (bytesNeeded !== fileBytes) throw damaged(`${fileBytes} bytes where its header says ${bytesNeeded}`);
    const set = emptySet(header);
    for (const column of columnsOf(set)) await read(column);
    const expected = checksum;
    const end = new Uint8Array(4);
    await file.read(end, 0, 4, position);
    if (new DataView(end.buffer).getUint32(0, true) !== expected) throw damaged('its checksum differs');
    checkImpressionSet(set);
    return set;
  } finally {
    await file.close();
  }
}

function padding(length: number): number {
  return (8 - (length % 8)) % 8;
}

/** The order of the columns in the file. */
function columnsOf(set: ImpressionSet): Column[] {
  return [
    ...set.users.values,
    ...set.ads.values,
    set.userIndex,
    set.adIndex,
    set.contextIds,
    set.views,
    set.timeMs,
    set.click,
    set.conversion,
    set.weight,
  ];
}

function contextWidth(schema: FeatureSchema): number {
  return schema.context.reduce((sum, { width }) => sum + width, 0);
}

/** Worked out before anything is allocated, so that a damaged header cannot ask for more memory than the file has bytes. */
function columnBytes({ schema, rowCount, userIds, adIds }: Header): number {
  const padded = (length: number): number => length + padding(length);
  const entities = (fields: readonly CategoricalField[], count: number): number =>
    fields.reduce((sum, { width }) => sum + padded(4 * width * count), 0);
  const rows = [4, 4, 4 * contextWidth(schema), 1, 8, 1, 1, 4].reduce(
    (sum, bytes) => sum + padded(bytes * rowCount),
    0,
  );
  return entities(schema.user, userIds.length) + entities(schema.ad, adIds.length) + rows;
}

function emptySet({ schema, rowCount, userIds, adIds }: Header): ImpressionSet {
  const table = (ids: readonly string[], fields: readonly CategoricalField[]): EntityTable => ({
    ids,
    values: fields.map(({ width }) => new Uint32Array(ids.length * width)),
  });
  return {
    schema,
    rowCount,
    users: table(userIds, schema.user),
    ads: table(adIds, schema.ad),
    userIndex: new Uint32Array(rowCount),
    adIndex: new Uint32Array(rowCount),
    contextIds: new Uint32Array(rowCount * contextWidth(schema)),
    views: new Uint8Array(rowCount),
    timeMs: new Float64Array(rowCount),
    click: new Uint8Array(rowCount),
    conversion: new Uint8Array(rowCount),
    weight: new Float32Array(rowCount),
  };
}

function headerFrom(bytes: Uint8Array, damaged: (detail: string) => TrainerError): Header {
  let header: Partial<Header> | null;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Partial<Header> | null;
  } catch {
    throw damaged('its header is not JSON');
  }
  const isText = (value: unknown): boolean => typeof value === 'string';
  const isField = (field: Partial<CategoricalField> | null): boolean =>
    isText(field?.name) &&
    Number.isSafeInteger(field?.size) &&
    Number.isSafeInteger(field?.width) &&
    field!.width! > 0 &&
    field!.size! > 0 &&
    (field?.vocabulary === undefined || (Array.isArray(field.vocabulary) && field.vocabulary.every(isText)));
  const isFields = (fields: unknown): boolean => Array.isArray(fields) && fields.length > 0 && fields.every(isField);
  const schema = header?.schema as Partial<FeatureSchema> | undefined;
  const isWhole =
    [schema?.user, schema?.ad, schema?.context].every(isFields) &&
    schema?.version === 1 &&
    Array.isArray(schema.cross) &&
    schema.cross.every(isText) &&
    [header?.userIds, header?.adIds].every((ids) => Array.isArray(ids) && ids.every(isText)) &&
    Number.isSafeInteger(header?.rowCount) &&
    header!.rowCount! >= 0 &&
    header!.rowCount! < rowCountMax;
  if (!isWhole) throw damaged('its header is not what this format has');
  return header as Header;
}
