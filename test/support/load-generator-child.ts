import { connect, type Socket } from 'node:net';
import { build, type Histogram } from 'hdr-histogram-js';
import { seededRandom } from '#inference/seeded-random.ts';
import type { LatencySummary, LoadPlan, LoadReport } from './load-generator.ts';

/** The process behind `runLoad`. Per request: one write, one read, a look at the status line and the length; no objects. */
const readBytes = 65_536;
const headBytesMax = 16_384;
const microsMax = 60_000_000;
const headEnd = Buffer.from('\r\n\r\n');
const lengthName = Buffer.from('ontent-');
const bidMark = Buffer.from('"seatbid":[{');

type Connection = {
  socket: Socket;
  isOpen: boolean;
  /** Index of the request in flight, −1 when idle. */
  request: number;
  sentAt: number;
  /** Bytes of the current answer that have yet to come; −1 while its head is incomplete. */
  bytesLeft: number;
  head: Buffer;
  status: number;
  isBid: boolean;
};

function newHistogram(): Histogram {
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: microsMax, numberOfSignificantValueDigits: 3 });
}

function summary(histogram: Histogram): LatencySummary {
  const at = (percent: number): number => histogram.getValueAtPercentile(percent) / 1000;
  const maxMs = histogram.maxValue / 1000;
  // The histogram answers with the upper edge of a bucket; the largest value itself is known.
  const capped = (percent: number): number => Math.min(at(percent), maxMs);
  return {
    meanMs: histogram.mean / 1000,
    p50Ms: capped(50),
    p90Ms: capped(90),
    p99Ms: capped(99),
    p999Ms: capped(99.9),
    maxMs,
  };
}

function schedule(plan: LoadPlan): Float64Array {
  const due = new Float64Array(Math.round(plan.ratePerSecond * plan.seconds));
  const gapMs = 1000 / plan.ratePerSecond;
  if (plan.poissonSeed === undefined) return due.map((_, index) => index * gapMs);
  const random = seededRandom(plan.poissonSeed);
  let at = 0;
  for (let index = 0; index < due.length; index += 1) {
    at -= Math.log(1 - random()) * gapMs;
    due[index] = at;
  }
  return due;
}

function prebuild(plan: LoadPlan): Buffer[] {
  const method = plan.method ?? 'POST';
  const extra = Object.entries({ 'content-type': 'application/json', ...plan.headers })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
  return plan.requests.map((body) =>
    Buffer.concat([
      Buffer.from(
        `${method} ${plan.path} HTTP/1.1\r\nhost: 127.0.0.1:${plan.port}\r\n${extra}` +
          `${method === 'POST' ? `content-length: ${body.length}\r\n` : ''}\r\n`,
      ),
      method === 'POST' ? body : Buffer.alloc(0),
    ]),
  );
}

/** Reads `content-length` out of a head; 0 when there is none (204, 304). */
function contentLength(head: Buffer, headLength: number): number {
  for (let from = 0; ;) {
    const at = head.indexOf(lengthName, from);
    if (at < 0 || at > headLength) return 0;
    from = at + lengthName.length;
    // "ontent-length:" in either case of the L; "ontent-type" goes on looking.
    if ((head[from]! | 0x20) !== 0x6c) continue;
    let value = 0;
    for (let digit = head.indexOf(0x3a, from) + 1; digit < headLength; digit += 1) {
      const byte = head[digit]!;
      if (byte === 0x20) continue;
      if (byte < 0x30 || byte > 0x39) break;
      value = value * 10 + byte - 0x30;
    }
    return value;
  }
}

class Generator {
  readonly #plan: LoadPlan;
  readonly #due: Float64Array;
  readonly #bytes: Buffer[];
  readonly #idle: Connection[] = [];
  readonly #fromDue = newHistogram();
  readonly #fromSent = newHistogram();
  readonly #statusCounts = new Uint32Array(1000);
  readonly #answeredBySecond: Uint32Array;
  readonly #bidsBySecond: Uint32Array;
  readonly #worstBySecond: Float64Array;
  readonly #measuredFromMs: number;
  readonly #drainMsMax: number;
  #startedAt = 0;
  #lastAnswerAt = 0;
  /** Requests up to here are due, up to `sentCount` sent: what lies between waits for a connection. */
  #dueCount = 0;
  #sentCount = 0;
  #answered = 0;
  #bids = 0;
  #bidsInTime = 0;
  #connectionErrors = 0;
  #isDone = false;
  #openCount = 0;

  constructor(plan: LoadPlan) {
    this.#plan = plan;
    this.#due = schedule(plan);
    this.#bytes = prebuild(plan);
    this.#measuredFromMs = (plan.warmUpSeconds ?? 0) * 1000;
    this.#drainMsMax = plan.drainMsMax ?? 3000;
    const seconds = Math.ceil(plan.seconds + this.#drainMsMax / 1000) + 2;
    this.#answeredBySecond = new Uint32Array(seconds);
    this.#bidsBySecond = new Uint32Array(seconds);
    this.#worstBySecond = new Float64Array(seconds);
  }

  async run(): Promise<LoadReport> {
    await Promise.all(Array.from({ length: this.#plan.connections }, () => this.#open()));
    if (this.#openCount === 0) throw new Error(`nothing accepts connections on 127.0.0.1:${this.#plan.port}`);
    const cpuBefore = process.cpuUsage();
    this.#startedAt = performance.now();
    await this.#untilDone();
    const cpu = process.cpuUsage(cpuBefore);
    const cpuSeconds = (cpu.user + cpu.system) / 1e6;
    const planned = this.#due.length;
    const spanMs = Math.max(this.#lastAnswerAt - this.#startedAt, this.#plan.seconds * 1000);
    const byStatus: Record<string, number> = {};
    for (const [status, count] of this.#statusCounts.entries()) if (count > 0) byStatus[status] = count;
    return {
      planned,
      sent: this.#sentCount,
      answered: this.#answered,
      unanswered: planned - this.#answered,
      byStatus,
      bids: this.#bids,
      bidsInTime: this.#bidsInTime,
      connectionErrors: this.#connectionErrors,
      fromDue: summary(this.#fromDue),
      fromSent: summary(this.#fromSent),
      answeredPerSecond: (this.#answered * 1000) / spanMs,
      cpuSeconds,
      cpuMicrosPerRequest: (cpuSeconds * 1e6) / Math.max(1, this.#sentCount),
      timeline: Array.from({ length: Math.ceil(this.#plan.seconds) }, (_, second) => ({
        answered: this.#answeredBySecond[second]!,
        bids: this.#bidsBySecond[second]!,
        maxMs: this.#worstBySecond[second]!,
      })),
    };
  }

  #untilDone(): Promise<void> {
    const planned = this.#due.length;
    const endMs = this.#due[planned - 1]! + this.#drainMsMax;
    return new Promise((settle) => {
      const tick = (): void => {
        const elapsedMs = performance.now() - this.#startedAt;
        while (this.#dueCount < planned && this.#due[this.#dueCount]! <= elapsedMs) this.#dueCount += 1;
        while (this.#sentCount < this.#dueCount && this.#idle.length > 0) this.#send(this.#idle.pop()!);
        if (this.#answered === planned || elapsedMs > endMs) {
          this.#isDone = true;
          settle();
          return;
        }
        const waitMs = this.#dueCount < planned ? this.#due[this.#dueCount]! - elapsedMs : 5;
        // Below a millisecond timers cannot go: what is due meanwhile starts late, and the lateness is in `fromDue`.
        setTimeout(tick, Math.max(1, waitMs));
      };
      tick();
    });
  }

  #send(connection: Connection): void {
    const index = this.#sentCount;
    this.#sentCount += 1;
    connection.request = index;
    connection.bytesLeft = -1;
    connection.sentAt = performance.now();
    connection.socket.write(this.#bytes[index % this.#bytes.length]!);
  }

  #open(): Promise<void> {
    return new Promise((settle) => {
      const buffer = Buffer.allocUnsafe(readBytes);
      const socket = connect({
        host: '127.0.0.1',
        port: this.#plan.port,
        noDelay: true,
        onread: {
          buffer,
          callback: (count) => {
            this.#read(connection, buffer.subarray(0, count));
            return true;
          },
        },
      });
      const connection: Connection = {
        socket,
        isOpen: false,
        request: -1,
        sentAt: 0,
        bytesLeft: -1,
        head: Buffer.alloc(0),
        status: 0,
        isBid: false,
      };
      socket.once('connect', () => {
        connection.isOpen = true;
        this.#openCount += 1;
        this.#idle.push(connection);
        settle();
      });
      socket.on('error', () => {
        this.#connectionErrors += 1;
      });
      socket.once('close', () => {
        this.#lose(connection);
        settle();
      });
    });
  }

  /** A lost connection loses its answer and is replaced, so that the load goes on as planned. */
  #lose(connection: Connection): void {
    const wasOpen = connection.isOpen;
    connection.isOpen = false;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (!wasOpen) return;
    this.#openCount -= 1;
    this.#connectionErrors += 1;
    const replacementsMax = 10 * this.#plan.connections;
    if (!this.#isDone && this.#connectionErrors < replacementsMax) void this.#open();
  }

  #read(connection: Connection, chunk: Buffer): void {
    let bytes = chunk;
    if (connection.bytesLeft < 0) {
      if (connection.head.length > 0) bytes = Buffer.concat([connection.head, chunk]);
      const end = bytes.indexOf(headEnd);
      if (end < 0) {
        if (bytes.length > headBytesMax) connection.socket.destroy();
        else connection.head = Buffer.from(bytes);
        return;
      }
      if (connection.head.length > 0) connection.head = Buffer.alloc(0);
      // "HTTP/1.1 200"
      connection.status = (bytes[9]! - 48) * 100 + (bytes[10]! - 48) * 10 + bytes[11]! - 48;
      connection.isBid = connection.status === 200 && bytes.indexOf(bidMark, end) > 0;
      connection.bytesLeft = contentLength(bytes, end) - (bytes.length - end - headEnd.length);
    } else {
      connection.bytesLeft -= bytes.length;
    }
    if (connection.bytesLeft <= 0) this.#answer(connection);
  }

  #answer(connection: Connection): void {
    if (connection.request < 0) return;
    const now = performance.now();
    const dueAt = this.#due[connection.request]!;
    const fromDueMs = Math.max(0, now - this.#startedAt - dueAt);
    const second = Math.min(this.#answeredBySecond.length - 1, Math.floor((now - this.#startedAt) / 1000));
    this.#answered += 1;
    this.#lastAnswerAt = now;
    this.#statusCounts[connection.status] = (this.#statusCounts[connection.status] ?? 0) + 1;
    this.#answeredBySecond[second]! += 1;
    if (connection.isBid) {
      this.#bids += 1;
      if (fromDueMs <= (this.#plan.deadlineMs ?? Number.POSITIVE_INFINITY)) this.#bidsInTime += 1;
      this.#bidsBySecond[second]! += 1;
    }
    if (fromDueMs > this.#worstBySecond[second]!) this.#worstBySecond[second] = fromDueMs;
    if (dueAt >= this.#measuredFromMs) {
      this.#fromDue.recordValue(Math.min(microsMax, Math.max(1, Math.round(fromDueMs * 1000))));
      this.#fromSent.recordValue(Math.min(microsMax, Math.max(1, Math.round((now - connection.sentAt) * 1000))));
    }
    connection.request = -1;
    if (this.#sentCount < this.#dueCount) this.#send(connection);
    else this.#idle.push(connection);
  }
}

process.once('message', (plan: LoadPlan) => {
  const run = async (): Promise<void> => {
    const report = await new Generator(plan).run();
    process.send!(report, () => {
      process.exit(0);
    });
  };
  run().catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});
process.once('disconnect', () => {
  process.exit(0);
});
