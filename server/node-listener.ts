import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
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
  type ResponseHeaders,
} from './http-listener.ts';
import { type RouteMatch, RouteTable } from './route-table.ts';

/** HTTP/1.1 by Node itself: where uWebSockets.js has no binary, and the measure of what it gains. */
export const nodeListener: HttpListener = {
  listen(options: ListenOptions): Promise<ListeningHttp> {
    const server = new NodeServer(options);
    return server.listen(options.host, options.port);
  },
};

/** How often Node looks for requests that take too long. */
const slowCheckMs = 100;

class NodeServer implements ListeningHttp {
  readonly #server: Server;
  readonly #routes: RouteTable;
  readonly #limits: HttpLimits;
  readonly #now: () => number;
  readonly #onError: (error: unknown) => void;
  #isAccepting = true;
  inFlightCount = 0;
  port = 0;

  constructor(options: ListenOptions) {
    this.#routes = new RouteTable(options.routes);
    this.#limits = { ...defaultHttpLimits, ...options.limits };
    this.#now = options.now;
    this.#onError = options.onError;
    this.#server = createServer(
      {
        requestTimeout: this.#limits.requestMsMax,
        headersTimeout: this.#limits.requestMsMax,
        keepAliveTimeout: this.#limits.idleMsMax,
        connectionsCheckingInterval: slowCheckMs,
        noDelay: true,
      },
      (request, response) => this.#take(request, response),
    );
    this.#server.maxConnections = this.#limits.connectionCountMax;
  }

  listen(host: string, port: number): Promise<ListeningHttp> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        reject(new ServerError('LISTEN_FAILED', { cause, detail: `${host}:${port}` }));
      });
      // Several threads listen on one port, as with uWebSockets.js; whether the port is free is asked before: `freePort`.
      this.#server.listen({ port, host, reusePort: true }, () => {
        this.port = (this.#server.address() as AddressInfo).port;
        resolve(this);
      });
    });
  }

  get isAccepting(): boolean {
    return this.#isAccepting;
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const exchange = new Exchange(this, request, response, this.#now());
    const match = this.#routes.find(exchange.method, exchange.path);
    const { bodyBytesMax } = this.#limits;
    this.inFlightCount++;
    if (Number(request.headers['content-length'] ?? 0) > bodyBytesMax) return exchange.refuse(413);
    const chunks: Buffer[] = [];
    let received = 0;
    request.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (received <= bodyBytesMax) chunks.push(chunk);
      else if (!exchange.isOver) exchange.refuse(413);
    });
    request.on('end', () => {
      if (exchange.isOver) return;
      exchange.body = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
      this.#handle(exchange, match);
    });
  }

  #handle(exchange: Exchange, match: RouteMatch): void {
    if (match.kind === 'none') return exchange.respond(404, noHeaders, '');
    if (match.kind === 'method') return exchange.respond(405, match.headers, '');
    try {
      match.handle(exchange, exchange.respond);
    } catch (error) {
      if (!exchange.isOver) exchange.respond(500, noHeaders, '');
      this.#onError(error);
    }
  }

  stopAccepting(): void {
    if (!this.#isAccepting) return;
    this.#isAccepting = false;
    this.#server.close();
    this.#server.closeIdleConnections();
  }

  async close(graceMs: number): Promise<void> {
    this.stopAccepting();
    const endMs = performance.now() + graceMs;
    while (this.inFlightCount > 0 && performance.now() < endMs) {
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
    this.#server.closeAllConnections();
    // Each connection tells of its end in a later turn.
    while (this.inFlightCount > 0) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }
}

class Exchange implements HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly arrivalMs: number;
  readonly #server: NodeServer;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  body: Uint8Array = Buffer.alloc(0);
  isAborted = false;
  isOver = false;
  #isAnswered = false;

  constructor(server: NodeServer, request: IncomingMessage, response: ServerResponse, arrivalMs: number) {
    this.#server = server;
    this.#request = request;
    this.#response = response;
    this.arrivalMs = arrivalMs;
    this.method = request.method ?? '';
    const url = request.url ?? '';
    const queryAt = url.indexOf('?');
    this.path = queryAt < 0 ? url : url.slice(0, queryAt);
    this.query = queryAt < 0 ? '' : url.slice(queryAt + 1);
    response.on('close', () => this.#closed());
  }

  header(name: ReadHeader): string {
    const value = this.#request.headers[name];
    return typeof value === 'string' ? value : (value?.join(', ') ?? '');
  }

  get remoteAddress(): string {
    return (this.#request.socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/u, '');
  }

  /** The connection ended, or the answer is out. */
  #closed(): void {
    if (this.isOver) return;
    this.isAborted = true;
    this.#over();
  }

  #over(): void {
    this.isOver = true;
    this.#server.inFlightCount--;
  }

  /** Answers before the request is whole, and ends the connection. */
  refuse(status: number): void {
    this.#over();
    const response = this.#response;
    response.writeHead(status, { connection: 'close', 'content-length': 0 });
    // What is still coming is not read: the sender sees the answer, then the end.
    response.end(() => this.#request.destroy());
  }

  readonly respond = (status: number, headers: ResponseHeaders, body: string | Uint8Array): void => {
    if (this.#isAnswered) throw new Error('A request was answered twice.');
    this.#isAnswered = true;
    if (this.isOver) return;
    this.#over();
    const list: string[] = [];
    for (const [name, value] of headers) list.push(name, value);
    if (status !== 204) list.push('content-length', String(Buffer.byteLength(body)));
    if (!this.#server.isAccepting) list.push('connection', 'close');
    this.#response.writeHead(status, list);
    if (status === 204 || this.method === 'HEAD') this.#response.end();
    else this.#response.end(body);
  };
}
