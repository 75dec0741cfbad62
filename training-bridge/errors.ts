export const eventLogFaults = {
  EVENT_LOG_DISK_FULL: 'The disk of the event log is full: nothing that is owed can be recorded.',
  EVENT_LOG_WRITE_FAILED: 'The event log cannot be written: the operating system refused a write or a sync.',
  EVENT_LOG_SLOW: 'The disk did not take a record within the time a notice may wait.',
  EVENT_LOG_FULL: 'More notices are waiting for the disk than the ring was sized for.',
  EVENT_LOG_CLOSED: 'The event log is closed.',
  EVENT_LOG_LOCKED: 'Another process writes this event log.',
  EVENT_LOG_DAMAGED: 'A record of the event log does not match its checksum or its own lengths.',
  EVENT_LOG_TOO_LARGE: 'An auction or a notice is larger than a record may be.',
} as const;
export type EventLogFault = keyof typeof eventLogFaults;

export class EventLogError extends Error {
  override readonly name = 'EventLogError';
  readonly code: EventLogFault;

  constructor(code: EventLogFault, options?: ErrorOptions & { detail?: string }) {
    super(options?.detail === undefined ? eventLogFaults[code] : `${eventLogFaults[code]} ${options.detail}`, options);
    this.code = code;
  }
}
