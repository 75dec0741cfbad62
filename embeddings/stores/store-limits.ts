import { StoreError } from './store-errors.ts';
import { type StoreEntry, storeKeyBytesMax, storeValueBytesMax } from './store.ts';

/** Before anything of a call is written: throws for the first key or value that is too long. */
export function checkEntries(entries: readonly StoreEntry[]): void {
  for (const { key, value } of entries) {
    checkKey(key);
    if (value.length > storeValueBytesMax)
      throw new StoreError('STORE_VALUE_TOO_LONG', `It has ${value.length} bytes, ${storeValueBytesMax} are the most.`);
  }
}

export function checkKeys(keys: readonly Buffer[]): void {
  for (const key of keys) checkKey(key);
}

export function checkAppend(key: Buffer, record: Buffer, countMax: number): void {
  checkKey(key);
  const bytes = record.length * countMax;
  if (bytes > storeValueBytesMax)
    throw new StoreError(
      'STORE_VALUE_TOO_LONG',
      `A list of ${countMax} records could reach ${bytes} bytes, ${storeValueBytesMax} are the most.`,
    );
}

function checkKey(key: Buffer): void {
  if (key.length === 0 || key.length > storeKeyBytesMax)
    throw new StoreError('STORE_KEY_TOO_LONG', `It has ${key.length} bytes, 1 to ${storeKeyBytesMax} are taken.`);
}
