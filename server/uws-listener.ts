import {
  App,
  type HttpRequest as UwsRequest,
  type HttpResponse as UwsResponse,
  type TemplatedApp,
  type us_listen_socket,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js';
import { ServerError } from './errors.ts';
import {
  defaultHttpLimits,
  type HttpLimits,
  type HttpListener,
  type HttpRequest,
  type ListeningHttp,
  type ListenOptions,
  noHeaders,
  type ReadHeader,
  readHeaders,
  type ResponseHeaders,
} from './http-listener.ts';
import { freePort } from './listen-address.ts';
import { type RouteMatch, RouteTable, statusTexts } from './route-table.ts';

/**
 * HTTP/1.1 by uWebSockets.js: about twice the requests per CPU-second of `node:http` (README, "Decisions"). Several threads may
 * listen on one port, and the kernel spreads connections over them; so may several processes of one user, unnoticed: see
 * `freePort` in listen-address.ts.
 *
 * What it does by itself and cannot be told: a connection is closed after 10 s without a byte (whatever `idleMsMax` says), a
 * second request that arrives on a connection while the first awaits its answer closes it, and a head may have 4 KiB (the
 * environment variable UWS_HTTP_MAX_HEADERS_SIZE of the process changes that).
 */
export const uwsListener: HttpListener = {
  async listen(options: ListenOptions): Promise<ListeningHttp> {
    const server = new UwsServer(options);
    // Left to itself, uWebSockets.js takes a free port that no other thread can join.
    const port = options.port === 0 ? await freePort(options.host, 0) : options.port;
    return server.listen(options.host, port);
  },
};

const headerPlaces = new Map<ReadHeader, number>(readHeaders.map((name, place) => [name, place]));
const statusLines = new Map<number, string>(
  Object.entries(statusTexts).map(([status, text]) => [Number(status), `${status} ${text}`]),
);
/** How often requests that are still coming in are looked at. */
const slowCheckMs = 100;

class UwsServer implements ListeningHttp {
  readonly #app: TemplatedApp;
  readonly #routes: RouteTable;
  readonly #limits: HttpLimits;
  readonly #now: () => number;
  readonly #onError: (error: unknown) => void;
  /** Requests whose body is not here yet; most never get in. */
  readonly #incoming = new Set<Exchange>();
  #slowCheck: NodeJS.Timeout | undefined;
  #listening: us_listen_socket | undefined;
  #isAccepting = true;
  inFlightCount = 0;
  port = 0;
  readonly host: string;

  constructor(options: ListenOptions) {
    this.host = options.host;
    this.#routes = new RouteTable(options.routes);
    this.#limits = { ...defaultHttpLimits, ...options.limits };
    this.#now = options.now;
    this.#onError = options.onError;
    this.#app = App();
    this.#app.any('/*', (response, request) => this.#take(response, request));
  }

  listen(host: string, port: number): Promise<ListeningHttp> {
    return new Promise((resolve, reject) => {
      this.#app.listen(host, port, (socket) => {
        if (socket === false) {
          reject(new ServerError('LISTEN_FAILED', { detail: `${host}:${port}` }));
          return;
        }
        this.#listening = socket;
        this.port = us_socket_local_port(socket);
        resolve(this);
      });
    });
  }

  get isAccepting(): boolean {
    return this.#isAccepting;
  }

  #take(response: UwsResponse, request: UwsRequest): void {
    const match = this.#routes.find(request.getCaseSensitiveMethod(), request.getUrl());
    const exchange = new Exchange(this, response, request, match, this.#now());
    this.inFlightCount++;
    response.onAborted(exchange.abort);
    const declared = request.getHeader('content-length');
    if (declared !== '' && Number(declared) > this.#limits.bodyBytesMax) return exchange.refuse(413);
    response.onData((chunk, isLast) => {
      if (exchange.isOver) return;
      if (exchange.receive(chunk, isLast, this.#limits.bodyBytesMax)) {
        if (isLast) this.#handle(exchange);
        else this.#expectMore(exchange);
      } else exchange.refuse(413);
    });
  }

  #expectMore(exchange: Exchange): void {
    this.#incoming.add(exchange);
    this.#slowCheck ??= setInterval(() => this.#refuseSlow(), slowCheckMs).unref();
  }

  #refuseSlow(): void {
    const nowMs = this.#now();
    for (const exchange of this.#incoming) {
      if (nowMs - exchange.arrivalMs > this.#limits.requestMsMax) exchange.refuse(408);
    }
    if (this.#incoming.size > 0) return;
    clearInterval(this.#slowCheck);
    this.#slowCheck = undefined;
  }

  #handle(exchange: Exchange): void {
    this.#incoming.delete(exchange);
    const { match } = exchange;
    if (match.kind === 'none') return exchange.respond(404, noHeaders, '');
    if (match.kind === 'method') return exchange.respond(405, match.headers, '');
    try {
      match.handle(exchange, exchange.respond);
    } catch (error) {
      if (!exchange.isOver) exchange.respond(500, noHeaders, '');
      this.#onError(error);
    }
  }

  /** Called once per request: answered, refused or hung up. */
  over(exchange: Exchange): void {
    this.inFlightCount--;
    if (this.#incoming.size > 0) this.#incoming.delete(exchange);
  }

  stopAccepting(): void {
    this.#isAccepting = false;
    if (this.#listening !== undefined) us_listen_socket_close(this.#listening);
    this.#listening = undefined;
  }

  async close(graceMs: number): Promise<void> {
    this.stopAccepting();
    const endMs = performance.now() + graceMs;
    while (this.inFlightCount > 0 && performance.now() < endMs) {
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
    clearInterval(this.#slowCheck);
    this.#app.close();
  }
}

const nothing = new Uint8Array(0);
/** Whoever listens here hears nobody else. */
const loopback = '127.0.0.1';

/** One request and the way back. What uWebSockets.js lends for a moment only is copied here; what may never be asked is not. */
class Exchange implements HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly arrivalMs: number;
  readonly match: RouteMatch;
  readonly #server: UwsServer;
  readonly #response: UwsResponse;
  readonly #headers: string[] = [];
  readonly #isHead: boolean;
  #remoteAddress: string | undefined;
  #chunks: Uint8Array[] | undefined;
  #received = 0;
  body: Uint8Array = nothing;
  isAborted = false;
  /** Answered, refused or hung up: the response object is dead. */
  isOver = false;
  #isAnswered = false;

  constructor(server: UwsServer, response: UwsResponse, request: UwsRequest, match: RouteMatch, arrivalMs: number) {
    this.#server = server;
    this.#response = response;
    this.match = match;
    this.method = request.getCaseSensitiveMethod();
    this.path = request.getUrl();
    // Undefined where the address has no question mark.
    this.query = request.getQuery() ?? '';
    this.arrivalMs = arrivalMs;
    this.#isHead = this.method === 'HEAD';
    for (const name of readHeaders) this.#headers.push(request.getHeader(name));
  }

  header(name: ReadHeader): string {
    return this.#headers[headerPlaces.get(name)!]!;
  }

  get remoteAddress(): string {
    // Asked of every request without a key, and the question costs 1 % of a serving thread.
    if (this.#server.host === loopback) return loopback;
    if (this.#remoteAddress === undefined) {
      if (this.isOver) return '';
      this.#remoteAddress = addressText(new Uint8Array(this.#response.getRemoteAddress()));
    }
    return this.#remoteAddress;
  }

  readonly abort = (): void => {
    this.isAborted = true;
    if (this.isOver) return;
    this.isOver = true;
    this.#server.over(this);
  };

  /** Keeps a copy of a part of the body; false when there is too much of it. */
  receive(chunk: ArrayBuffer, isLast: boolean, bytesMax: number): boolean {
    this.#received += chunk.byteLength;
    if (this.#received > bytesMax) return false;
    if (chunk.byteLength > 0) {
      // The chunk is gone when the callback returns.
      const copy = Buffer.allocUnsafe(chunk.byteLength);
      copy.set(new Uint8Array(chunk));
      if (isLast && this.#chunks === undefined) this.body = copy;
      else (this.#chunks ??= []).push(copy);
    }
    if (isLast && this.#chunks !== undefined) {
      this.body = Buffer.concat(this.#chunks);
      this.#chunks = undefined;
    }
    return true;
  }

  /** Answers before the request is whole, and ends the connection. */
  refuse(status: number): void {
    this.#end(status, noHeaders, '', true);
  }

  readonly respond = (status: number, headers: ResponseHeaders, body: string | Uint8Array): void => {
    if (this.#isAnswered) throw new Error('A request was answered twice.');
    this.#isAnswered = true;
    if (this.isOver) return;
    this.#end(status, headers, body, !this.#server.isAccepting);
  };

  #end(status: number, headers: ResponseHeaders, body: string | Uint8Array, closes: boolean): void {
    this.isOver = true;
    const response = this.#response;
    response.cork(() => {
      response.writeStatus(statusLines.get(status) ?? String(status));
      for (const [name, value] of headers) response.writeHeader(name, value);
      if (this.#isHead) response.endWithoutBody(Buffer.byteLength(body), closes);
      // With an argument that is undefined it would write a length of 2^63.
      else if (status === 204 && !closes) response.endWithoutBody();
      else response.end(body, closes);
    });
    this.#server.over(this);
  }
}

/** 4 or 16 bytes as text; an IPv4 address inside an IPv6 one is written as IPv4. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) return '';
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (isMapped) return bytes.subarray(12).join('.');
  const groups = Array.from({ length: 8 }, (_, group) =>
    ((bytes[group * 2]! << 8) | bytes[group * 2 + 1]!).toString(16),
  );
  return groups.join(':').replace(/(?:^|:)(?:0(?::|$)){2,}/u, '::');
}
