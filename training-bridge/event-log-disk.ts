import { open, rm } from 'node:fs/promises';

/** One file that the log appends to. Positions are explicit, so that a write can be repeated. */
export type LogFile = {
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** fdatasync. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
};

/** What the writer asks of the file system; a test hands in one that fails. */
export type LogDisk = {
  /** Existing content stays with 'continue' and goes with 'begin'. */
  open(path: string, how: 'continue' | 'begin'): Promise<LogFile>;
  /** Makes names in a folder durable. */
  syncFolder(path: string): Promise<void>;
  remove(path: string): Promise<void>;
};

export const nodeDisk: LogDisk = {
  async open(path, how) {
    const handle = await open(path, how === 'begin' ? 'w' : 'r+');
    return {
      async write(bytes, position) {
        let done = 0;
        // A write may be short, for instance at the disk's end; the rest then says why.
        while (done < bytes.length) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
          done += bytesWritten;
        }
      },
      sync: () => handle.datasync(),
      truncate: (length) => handle.truncate(length),
      close: () => handle.close(),
    };
  },
  async syncFolder(path) {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  remove: (path) => rm(path, { force: true }),
};
