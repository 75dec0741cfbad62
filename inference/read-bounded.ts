import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { BundleError } from './bundle-errors.ts';

/**
 * A whole file, once it is known to be a plain one of at most `bytesMax` (and of exactly `bytes`, where a manifest said so):
 * a wrong file costs a look at its size, not the memory to hold it.
 */
export async function readBounded(path: string, name: string, bytesMax: number, bytes?: number): Promise<Buffer> {
  let file: FileHandle;
  try {
    // Not blocking: a pipe of that name would otherwise hang the reader.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    throw new BundleError('BUNDLE_FILE_MISSING', name, { cause });
  }
  try {
    const { size } = await regularStat(file, name);
    if (size > bytesMax) throw new BundleError('BUNDLE_FILE_SIZE', `${name}: ${size} bytes, at most ${bytesMax}`);
    if (bytes !== undefined && size !== bytes)
      throw new BundleError('BUNDLE_FILE_SIZE', `${name}: ${size} bytes, the manifest says ${bytes}`);
    const content = Buffer.allocUnsafeSlow(size);
    let done = 0;
    while (done < size) {
      const { bytesRead } = await file.read(content, done, size - done, done);
      if (bytesRead === 0) throw new BundleError('BUNDLE_FILE_SIZE', `${name}: it shrank while it was read`);
      done += bytesRead;
    }
    return content;
  } finally {
    await file.close();
  }
}

async function regularStat(file: FileHandle, name: string): Promise<{ size: number }> {
  const stat = await file.stat();
  if (!stat.isFile()) throw new BundleError('BUNDLE_FILE_MISSING', name);
  return stat;
}
