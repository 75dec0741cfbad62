/** What a person did that the next auction should know within a second. */
export type UserEvent = {
  readonly kind: 'click' | 'query';
  /** Epoch ms. */
  readonly timeMs: number;
  /** Of a click: keyed hash of the ad; of a query: of its words. Two halves of 32 bits. */
  readonly subjectHigh: number;
  readonly subjectLow: number;
  /** Position in `windowDevices`; 0 unknown. */
  readonly device: number;
  /** ISO 3166 alpha-3; '' unknown. */
  readonly country: string;
};

export const windowDevices = ['', 'phone', 'tablet', 'desktop', 'tv', 'other'] as const;
/** Length of one record; a window is a list of them, oldest first. */
export const userEventBytes = 24;

const kinds = ['', 'click', 'query'] as const;
const checkAt = 20;

/** `[u8 kind][u8 device][u16 country][u48 time, u16 0][u32 subject high][u32 subject low][u32 check]`, little-endian. */
export function encodeUserEvent(event: UserEvent): Buffer {
  const bytes = Buffer.alloc(userEventBytes);
  bytes[0] = kinds.indexOf(event.kind);
  bytes[1] = event.device;
  bytes.writeUInt16LE(packCountry(event.country), 2);
  bytes.writeUIntLE(Math.max(0, Math.floor(event.timeMs)), 4, 6);
  bytes.writeUInt32LE(event.subjectHigh >>> 0, 12);
  bytes.writeUInt32LE(event.subjectLow >>> 0, 16);
  bytes.writeUInt32LE(check(bytes, 0), checkAt);
  return bytes;
}

/**
 * A window as the next auction reads it: the events of the last `windowMs`, oldest first. Made once and refilled. Records that are
 * damaged, of an unknown kind or from the future by more than a minute (another pod's clock) are passed over and counted.
 */
export class UserWindow {
  count = 0;
  invalidCount = 0;
  readonly #countMax: number;
  /** 1 click, 2 query. */
  readonly kinds: Uint8Array;
  readonly devices: Uint8Array;
  readonly countries: Uint16Array;
  readonly timesMs: Float64Array;
  readonly subjectsHigh: Uint32Array;
  readonly subjectsLow: Uint32Array;

  constructor(countMax: number) {
    this.#countMax = countMax;
    this.kinds = new Uint8Array(countMax);
    this.devices = new Uint8Array(countMax);
    this.countries = new Uint16Array(countMax);
    this.timesMs = new Float64Array(countMax);
    this.subjectsHigh = new Uint32Array(countMax);
    this.subjectsLow = new Uint32Array(countMax);
  }

  clear(): void {
    this.count = 0;
    this.invalidCount = 0;
  }

  fill(records: Buffer, nowMs: number, windowMs: number): void {
    this.clear();
    const whole = Math.floor(records.length / userEventBytes);
    for (let record = Math.max(0, whole - this.#countMax); record < whole; record++) {
      const at = record * userEventBytes;
      const kind = records[at]!;
      const timeMs = records.readUIntLE(at + 4, 6);
      const isSound = (kind === 1 || kind === 2) && records.readUInt32LE(at + checkAt) === check(records, at);
      if (!isSound || timeMs > nowMs + clockSkewMsMax) {
        this.invalidCount++;
        continue;
      }
      if (timeMs <= nowMs - windowMs) continue;
      const place = this.count++;
      this.kinds[place] = kind;
      this.devices[place] = records[at + 1]!;
      this.countries[place] = records.readUInt16LE(at + 2);
      this.timesMs[place] = timeMs;
      this.subjectsHigh[place] = records.readUInt32LE(at + 12);
      this.subjectsLow[place] = records.readUInt32LE(at + 16);
    }
  }
}

/** Clocks of pods differ by less than this. */
const clockSkewMsMax = 60_000;
/** A pause longer than this ends a session: the half hour that web analytics has always used. */
export const sessionGapMsMax = 1_800_000;

/** Names of the numbers that `userStateInto` writes, in their order: they are logged with the auction. */
export const userStateNames = [
  'window_clicks',
  'window_queries',
  'session_clicks',
  'session_queries',
  'session_age_s',
  'since_last_s',
  'session_same_device',
  'session_same_country',
] as const;

/**
 * Window and session as numbers. The session is the run of events, none further than half an hour from the next, that reaches to
 * now; its device and country are those of its last event that says one, 1 where they are the request's own, 0 otherwise.
 */
export function userStateInto(
  state: Float32Array,
  window: UserWindow,
  nowMs: number,
  device: string,
  country: string,
): void {
  state.fill(0);
  const { count, kinds: eventKinds, timesMs } = window;
  for (let place = 0; place < count; place++) state[eventKinds[place] === 1 ? 0 : 1]!++;
  if (count === 0) return;
  state[5] = Math.max(0, nowMs - timesMs[count - 1]!) / 1000;
  let laterMs = nowMs;
  let sessionDevice = 0;
  let sessionCountry = 0;
  let place = count - 1;
  for (; place >= 0 && laterMs - timesMs[place]! <= sessionGapMsMax; place--) {
    laterMs = timesMs[place]!;
    state[eventKinds[place] === 1 ? 2 : 3]!++;
    if (sessionDevice === 0) sessionDevice = window.devices[place]!;
    if (sessionCountry === 0) sessionCountry = window.countries[place]!;
  }
  if (place === count - 1) return;
  state[4] = Math.max(0, nowMs - laterMs) / 1000;
  state[6] = sessionDevice !== 0 && windowDevices[sessionDevice] === device ? 1 : 0;
  state[7] = sessionCountry !== 0 && sessionCountry === packCountry(country) ? 1 : 0;
}

/** Three capital letters in 15 bits; 0 for anything else. */
export function packCountry(code: string): number {
  if (code.length !== 3) return 0;
  let packed = 0;
  for (let index = 0; index < 3; index++) {
    const letter = code.charCodeAt(index) - 64;
    if (letter < 1 || letter > 26) return 0;
    packed = packed * 32 + letter;
  }
  return packed;
}

function check(bytes: Buffer, at: number): number {
  let hash = 0x811c_9dc5;
  for (let index = at; index < at + checkAt; index++) hash = Math.imul(hash ^ bytes[index]!, 0x0100_0193);
  return (hash ^ (hash >>> 15)) >>> 0;
}
