import { connect, type Socket } from 'node:net';
import {
  getRequest,
  type MetaAnswers,
  type MetaEntry,
  MetaProtocolError,
  MetaReader,
  removeRequest,
  setRequest,
} from './memcached-protocol.ts';
import { nodeName, reconnectWaitMs, type ServerNode } from './server-node.ts';
import { StoreError } from './store-errors.ts';
import type { ReadValues } from './store.ts';

export type MemcachedLimits = {
  /** Until a connection stands and has answered once; also how long `ready` waits. */
  readonly connectMs: number;
  /** A call that is older is rejected. */
  readonly answerMs: number;
  /** A connection on which calls wait and nothing has come for this long is cut. */
  readonly silenceMs: number;
  readonly reconnectMsMin: number;
  readonly reconnectMsMax: number;
  /** Calls under way on one connection; beyond it they are refused. */
  readonly callsInFlightMax: number;
  /** Bytes that the socket has not taken yet; beyond it calls are refused. */
  readonly bytesWaitingMax: number;
};

export const memcachedLimits: MemcachedLimits = {
  connectMs: 2000,
  answerMs: 1000,
  silenceMs: 2000,
  reconnectMsMin: 50,
  reconnectMsMax: 2000,
  callsInFlightMax: 1024,
  bytesWaitingMax: 16 << 20,
};

const readBytes = 65_536;
/** Opaques are read as plain numbers of at most ten digits. */
const opaqueMax = 2 ** 30;

/** A request whose end the server confirms by the answer to the no-op behind it. */
type Call = {
  /** Undefined where nothing is read. */
  readonly values: (Buffer | undefined)[] | undefined;
  readonly firstOpaque: number;
  readonly resolve: (values: ReadValues) => void;
  readonly reject: (error: StoreError) => void;
  readonly dueMs: number;
  /** Given up, or answered: what still comes for it is read past. */
  settled: boolean;
  refusal: string | undefined;
};

/**
 * One connection to one Memcached, for as long as the store lives: connects by itself, and again when it breaks, with growing and jittered
 * waits. Requests are pipelined; answers come in their order. What does not know the protocol is not believed one byte further.
 */
export class MemcachedConnection implements MetaAnswers {
  readonly name: string;
  readonly #node: ServerNode;
  readonly #limits: MemcachedLimits;
  readonly #random: () => number;
  readonly #received = Buffer.allocUnsafeSlow(readBytes);
  #socket: Socket | undefined;
  /** It has answered since it was opened. */
  #isOpen = false;
  #calls: Call[] = [];
  /** The first of `#calls` that is not answered: those before it are cut off now and then, not one by one. */
  #firstCall = 0;
  #nextOpaque = 0;
  #heardMs = 0;
  #attempt = 0;
  #lastError = new StoreError('STORE_UNREACHABLE');
  #watchTimer: NodeJS.Timeout | undefined;
  #reconnectTimer: NodeJS.Timeout | undefined;
  #openWaiters: { resolve: () => void; reject: (error: StoreError) => void }[] = [];
  #closed = false;

  constructor(node: ServerNode, limits: MemcachedLimits, random: () => number) {
    this.#node = node;
    this.name = nodeName(node);
    this.#limits = limits;
    this.#random = random;
    this.#connect();
  }

  get inFlight(): number {
    return this.#calls.length - this.#firstCall;
  }

  /** Values at the places of their keys; only `places` are asked for. */
  read(keys: readonly Buffer[], places: readonly number[]): Promise<ReadValues> {
    if (this.#nextOpaque + keys.length > opaqueMax) this.#nextOpaque = 0;
    const opaque = this.#nextOpaque;
    this.#nextOpaque += keys.length;
    const values: (Buffer | undefined)[] = [];
    for (let place = 0; place < keys.length; place++) values.push(undefined);
    return this.#send(() => getRequest(keys, places, opaque), values, opaque);
  }

  async write(entries: readonly MetaEntry[]): Promise<void> {
    await this.#send(() => setRequest(entries), undefined, 0);
  }

  async remove(keys: readonly Buffer[]): Promise<void> {
    await this.#send(() => removeRequest(keys), undefined, 0);
  }

  /** Resolves when the server answers now; rejects, saying why not, after `connectMs` at the latest. */
  async ready(): Promise<void> {
    await this.#untilOpen();
    await this.remove([]);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#reconnectTimer);
    clearTimeout(this.#watchTimer);
    const closed = new StoreError('STORE_CLOSED');
    this.#rejectAll(closed);
    for (const { reject } of this.#openWaiters.splice(0)) reject(closed);
    const socket = this.#socket;
    if (socket === undefined || socket.closed) return;
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.destroy();
    await gone;
  }

  value(opaque: number, bytes: Buffer, start: number, end: number): void {
    const call = this.#calls[this.#firstCall];
    const place = call === undefined ? -1 : opaque - call.firstOpaque;
    if (call?.values === undefined || place < 0 || place >= call.values.length)
      throw new MetaProtocolError('a value that nobody asked for');
    if (call.settled) return;
    const value = Buffer.allocUnsafe(end - start);
    bytes.copy(value, 0, start, end);
    call.values[place] = value;
  }

  refused(line: string): void {
    const call = this.#calls[this.#firstCall];
    if (call === undefined) throw new MetaProtocolError(`"${line}" for nobody`);
    call.refusal ??= line;
  }

  batchEnd(): void {
    if (!this.#isOpen) {
      this.#opened();
      return;
    }
    const call = this.#calls[this.#firstCall];
    if (call === undefined) throw new MetaProtocolError('an answer for nobody');
    this.#firstCall++;
    if (this.#firstCall === this.#calls.length || this.#firstCall >= 512) {
      this.#calls = this.#calls.slice(this.#firstCall);
      this.#firstCall = 0;
    }
    if (call.settled) return;
    call.settled = true;
    if (call.refusal === undefined) call.resolve(call.values ?? []);
    else call.reject(new StoreError('STORE_FAULTY', `${this.name} says: ${call.refusal}`));
  }

  #send(request: () => Buffer, values: (Buffer | undefined)[] | undefined, firstOpaque: number): Promise<ReadValues> {
    return new Promise((resolve, reject) => {
      const socket = this.#socket;
      if (this.#closed) reject(new StoreError('STORE_CLOSED'));
      else if (!this.#isOpen || socket === undefined) reject(this.#lastError);
      else if (this.inFlight >= this.#limits.callsInFlightMax || socket.writableLength > this.#limits.bytesWaitingMax)
        reject(new StoreError('STORE_BUSY', this.name));
      else {
        const nowMs = performance.now();
        if (this.inFlight === 0) this.#heardMs = nowMs;
        const dueMs = nowMs + this.#limits.answerMs;
        this.#calls.push({ values, firstOpaque, resolve, reject, dueMs, settled: false, refusal: undefined });
        socket.write(request());
        this.#watchLater(this.#limits.answerMs);
      }
    });
  }

  #connect(): void {
    const reader = new MetaReader(this);
    const socket: Socket = connect({
      host: this.#node.host,
      port: this.#node.port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 10_000,
      onread: {
        buffer: this.#received,
        callback: (length) => {
          if (this.#socket === socket) this.#take(reader, length);
          return true;
        },
      },
    });
    this.#socket = socket;
    socket.write('mn\r\n');
    const giveUp = setTimeout(() => this.#fail(socket, this.#unreachable('no answer')), this.#limits.connectMs);
    socket.on('error', (error) => this.#fail(socket, this.#unreachable(error.message, error)));
    socket.once('close', () => {
      clearTimeout(giveUp);
      this.#fail(socket, this.#unreachable('the connection was closed'));
    });
    this.#openWaiters.push({ resolve: () => clearTimeout(giveUp), reject: () => clearTimeout(giveUp) });
  }

  #take(reader: MetaReader, length: number): void {
    this.#heardMs = performance.now();
    try {
      reader.take(this.#received, length);
    } catch (error) {
      if (!(error instanceof MetaProtocolError)) throw error;
      const hint = this.#isOpen ? '' : ' Memcached 1.6 or later is needed, without the need to sign in.';
      this.#fail(this.#socket!, new StoreError('STORE_FAULTY', `${this.name} says: ${error.message}.${hint}`));
    }
  }

  #opened(): void {
    this.#isOpen = true;
    this.#attempt = 0;
    for (const { resolve } of this.#openWaiters.splice(0)) resolve();
  }

  /** The connection is done with; the next attempt comes by itself. */
  #fail(socket: Socket, error: StoreError): void {
    if (this.#socket !== socket || this.#closed) return;
    this.#socket = undefined;
    this.#isOpen = false;
    this.#lastError = error;
    socket.destroy();
    clearTimeout(this.#watchTimer);
    this.#watchTimer = undefined;
    this.#rejectAll(error);
    for (const { reject } of this.#openWaiters.splice(0)) reject(error);
    this.#attempt++;
    this.#reconnectTimer = setTimeout(
      () => this.#connect(),
      reconnectWaitMs(this.#attempt, this.#limits, this.#random),
    );
  }

  #rejectAll(error: StoreError): void {
    const calls = this.#calls.slice(this.#firstCall);
    this.#calls = [];
    this.#firstCall = 0;
    for (const call of calls) {
      if (!call.settled) call.reject(error);
      call.settled = true;
    }
  }

  #watchLater(afterMs: number): void {
    this.#watchTimer ??= setTimeout(() => {
      this.#watchTimer = undefined;
      this.#watch();
    }, afterMs);
  }

  /** Rejects what is due, and cuts a connection that has long been silent. Runs while calls are under way, at most once an `answerMs`. */
  #watch(): void {
    const nowMs = performance.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (let index = this.#firstCall; index < this.#calls.length; index++) {
      const call = this.#calls[index]!;
      if (call.dueMs > nowMs) {
        nextMs = call.dueMs;
        break;
      }
      if (!call.settled) call.reject(new StoreError('STORE_TIMEOUT', this.name));
      call.settled = true;
    }
    if (this.inFlight === 0) return;
    const silentMs = this.#heardMs + this.#limits.silenceMs;
    if (silentMs <= nowMs) this.#fail(this.#socket!, new StoreError('STORE_TIMEOUT', this.name));
    else this.#watchLater(Math.max(1, Math.min(nextMs, silentMs) - nowMs));
  }

  #untilOpen(): Promise<void> {
    if (this.#closed) return Promise.reject(new StoreError('STORE_CLOSED'));
    if (this.#isOpen) return Promise.resolve();
    return new Promise((resolve, reject) => this.#openWaiters.push({ resolve, reject }));
  }

  #unreachable(why: string, cause?: Error): StoreError {
    return new StoreError('STORE_UNREACHABLE', `${this.name}: ${why}`, cause === undefined ? undefined : { cause });
  }
}
