import type { ByteRing } from './byte-ring.ts';
import type { EventLogFault } from './errors.ts';

/** The writer's end of one channel. */
export type ChannelEnd = {
  readonly index: number;
  readonly auctions: ByteRing;
  readonly notices: ByteRing;
  /** Taken from the ring, not yet on disk. */
  noticesInHand: number;
};

/** Told what each stream's disk says, `undefined` when it took everything. */
export type LogFaults = {
  notices(fault: EventLogFault | undefined, error: unknown): void;
  auctions(fault: EventLogFault | undefined, error: unknown): void;
};

export function diskFaultOf(error: unknown): EventLogFault {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT' ? 'EVENT_LOG_DISK_FULL' : 'EVENT_LOG_WRITE_FAILED';
}
