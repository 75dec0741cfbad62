import { LmdbFolder } from './lmdb-folder.ts';

// A process of its own (lmdb-file.ts): walks through every entry of the folder that it is told, and ends with 0 if it finds them all and in
// their order. Over damaged pages lmdb sometimes walks on as if they were the end.
const folder = new LmdbFolder(process.argv[2]!);
let count = 0;
let last = Buffer.alloc(0);
let isOrdered = true;
for (const { key } of folder.database.getRange()) {
  count++;
  if (Buffer.compare(last, key) >= 0) isOrdered = false;
  last = Buffer.from(key);
}
const { entryCount } = folder.database.getStats() as { entryCount: number };
process.exitCode = isOrdered && count === entryCount ? 0 : 1;
await folder.close();
