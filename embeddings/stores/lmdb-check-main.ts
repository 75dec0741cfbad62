import { checkLength, unreachableStatus } from './lmdb-file.ts';
import { LmdbFolder } from './lmdb-folder.ts';
import { StoreError } from './store-errors.ts';

// A process of its own (lmdb-file.ts): walks through every entry of the folder that it is told, and ends with 0 if it finds them all and in
// their order. Over damaged pages lmdb sometimes walks on as if they were the end.
const folder = opened(process.argv[2]!);
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

function opened(path: string): LmdbFolder {
  try {
    checkLength(path);
    return new LmdbFolder(path);
  } catch (error) {
    process.exit(error instanceof StoreError && error.code === 'STORE_UNREACHABLE' ? unreachableStatus : 1);
  }
}
