/** The list after one more record: the last `countMax`; anew where what stands there is no whole number of such records. */
export function appended(list: Buffer | undefined, record: Buffer, countMax: number): Buffer {
  const { length } = record;
  if (list === undefined || length === 0 || list.length % length !== 0) return Buffer.from(record);
  const kept = Math.min(list.length, (countMax - 1) * length);
  const longer = Buffer.allocUnsafeSlow(kept + length);
  list.copy(longer, 0, list.length - kept);
  record.copy(longer, kept);
  return longer;
}

/** What follows every key that begins with `prefix`; undefined where nothing does. */
export function endOfPrefix(prefix: Buffer): Buffer | undefined {
  let { length } = prefix;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = Buffer.from(prefix.subarray(0, length));
  end[length - 1]!++;
  return end;
}
