import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Rows of a public research set in the order of the file: an outcome and one text per field. They stay where they are. */
export type ResearchRows = {
  readonly name: string;
  readonly fieldNames: readonly string[];
  readonly outcomes: Uint8Array;
  /** `values[row][field]`; '' is missing. */
  readonly values: readonly (readonly string[])[];
};

/** The folder of `GAVELIN_RESEARCH_DATA`, or why there is none. */
export function researchFolder(): { readonly folder: string } | { readonly skipped: string } {
  const folder = process.env['GAVELIN_RESEARCH_DATA'];
  if (folder === undefined || folder === '') return { skipped: 'GAVELIN_RESEARCH_DATA is not set' };
  const missing = ['criteo-sample/criteo.train.tsv.gz', 'ipinyou-ctr-2997/train.fm.txt.gz'].filter(
    (file) => !existsSync(join(folder, file)),
  );
  return missing.length === 0 ? { folder } : { skipped: `${folder} lacks ${missing.join(', ')}` };
}

function lines(path: string): string[] {
  return gunzipSync(readFileSync(path)).toString('utf8').split('\n').filter(Boolean);
}

/** Criteo display advertising: 13 counts (as ⌊ln²⌋ buckets) and 26 hashed words; no user, no time. */
export function readCriteoSample(folder: string): ResearchRows {
  const rows = lines(join(folder, 'criteo-sample/criteo.train.tsv.gz')).map((line) => line.split('\t'));
  const bucket = (text: string): string => {
    if (text === '') return '';
    const value = Number(text);
    return value > 2 ? String(Math.floor(Math.log(value) ** 2)) : `small ${value}`;
  };
  return {
    name: 'criteo-sample',
    fieldNames: Array.from({ length: 39 }, (_, field) => (field < 13 ? `I${field + 1}` : `C${field - 12}`)),
    outcomes: Uint8Array.from(rows, ([label]) => Number(label)),
    values: rows.map((row) =>
      Array.from({ length: 39 }, (_, at) => (at < 13 ? bucket(row[at + 1]!) : (row[at + 1] ?? ''))),
    ),
  };
}

/** iPinYou campaign 2997: 16 one-hot fields, clicks in one row of a hundred. */
export function readIpinyou2997(folder: string): ResearchRows {
  const rows = lines(join(folder, 'ipinyou-ctr-2997/train.fm.txt.gz')).map((line) => line.trim().split(/\s+/u));
  return {
    name: 'ipinyou-ctr-2997',
    fieldNames: [
      'weekday',
      'hour',
      'useragent',
      'ip',
      'region',
      'city',
      'adexchange',
      'domain',
      'slotid',
      'slotwidth',
      'slotheight',
      'slotvisibility',
      'slotformat',
      'slotprice',
      'creative',
      'advertiser',
    ],
    outcomes: Uint8Array.from(rows, ([label]) => Number(label)),
    values: rows.map((row) => row.slice(1).map((pair) => pair.split(':')[0]!)),
  };
}

/** 32 bits of a field's text (FNV-1a, then mixed): the same on every machine. */
export function hashedWord(field: number, word: string): number {
  let hash = 0x811c9dc5 ^ field;
  for (let at = 0; at < word.length; at++) hash = Math.imul(hash ^ word.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return (hash ^ (hash >>> 16)) >>> 0;
}
