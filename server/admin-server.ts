import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** A whole catalog of 1 M ads is about 400 MB as JSON; what comes over HTTP is a change, not a catalog. */
const bodyBytesMax = 32 * 1024 * 1024;

/** An answer of the admin API. A refusal carries every reason at once. */
export type AdminAnswer = { readonly status: number; readonly body: unknown };

/** What the admin port can ask of the process. All of it runs on the main thread, off the bid path. */
export type AdminPorts = {
  metrics(): string;
  isReady(): boolean;
  overview(): unknown;
  /** Fine latency counts per series since the start: two readings give the quantiles of what lay between. */
  latency(): unknown;
  status(): AdminAnswer;
  ads(after: number, limit: number): AdminAnswer;
  catalog(): AdminAnswer;
  lineItem(id: string): AdminAnswer;
  changeCatalog(change: unknown): Promise<AdminAnswer>;
  changeLineItem(id: string, change: unknown): Promise<AdminAnswer>;
  spend(): AdminAnswer;
  explain(auctionId: string): Promise<AdminAnswer>;
  bundles(): AdminAnswer;
  activateBundle(request: unknown): Promise<AdminAnswer>;
  invalidate(request: unknown): Promise<AdminAnswer>;
};

export type AdminOptions = {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly ports: AdminPorts;
  readonly onError: (error: unknown) => void;
};

/** What paths are read against; nobody sees it. */
const anyBase = 'http://admin';
const uplotFolder = dirname(createRequire(import.meta.url).resolve('uplot'));
const asset = (path: string, type: string) => ({ path, type });
const assets: Readonly<Record<string, { path: string; type: string }>> = {
  '/': asset(join(import.meta.dirname, 'dashboard/index.html'), 'text/html; charset=utf-8'),
  '/assets/app.js': asset(join(import.meta.dirname, 'dashboard/app.js'), 'text/javascript; charset=utf-8'),
  '/assets/style.css': asset(join(import.meta.dirname, 'dashboard/style.css'), 'text/css; charset=utf-8'),
  '/assets/uplot.js': asset(join(uplotFolder, 'uPlot.iife.min.js'), 'text/javascript; charset=utf-8'),
  '/assets/uplot.css': asset(join(uplotFolder, 'uPlot.min.css'), 'text/css; charset=utf-8'),
};

/** Everything the page needs is served from here; uPlot sets element styles, hence the one exception for styles. */
const securityHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/** Starts the admin port. Open: `/healthz`, the page's files (they hold no data) and, from loopback, `/metrics`; the rest needs the token. */
export async function startAdminServer(options: AdminOptions): Promise<{ port: number; close(): Promise<void> }> {
  const tokenDigest = digest(options.token);
  const server = createServer((request, response) => {
    answer(request, response, options, tokenDigest).catch((error: unknown) => {
      options.onError(error);
      if (!response.headersSent)
        send(response, { status: 500, body: fault('INTERNAL', '', 'The request failed; the log says why.') });
      else response.destroy();
    });
  });
  server.requestTimeout = 30_000;
  server.headersTimeout = 10_000;
  server.maxConnections = 256;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    close: () => close(server),
  };
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function fault(code: string, path: string, message: string): unknown {
  return { error: { code, path, message } };
}

function isLoopback(request: IncomingMessage): boolean {
  const address = request.socket.remoteAddress ?? '';
  return address === '::1' || address.startsWith('127.') || address.startsWith('::ffff:127.');
}

function hasToken(request: IncomingMessage, tokenDigest: Buffer): boolean {
  const header = request.headers.authorization ?? '';
  return header.startsWith('Bearer ') && timingSafeEqual(digest(header.slice('Bearer '.length)), tokenDigest);
}

function send(response: ServerResponse, { status, body }: AdminAnswer): void {
  response.writeHead(status, { ...securityHeaders, 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(body));
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: AdminOptions,
  tokenDigest: Buffer,
): Promise<void> {
  const target = request.url ?? '/';
  if (!URL.canParse(target, anyBase)) {
    return send(response, { status: 400, body: fault('BAD_TARGET', '', 'The request line holds no address.') });
  }
  const url = new URL(target, anyBase);
  const path = url.pathname;
  const method = request.method ?? 'GET';
  if (path === '/healthz') return send(response, { status: 200, body: { status: 'ok' } });
  if (path === '/readyz') {
    const isReady = options.ports.isReady();
    return send(response, { status: isReady ? 200 : 503, body: { status: isReady ? 'ready' : 'not ready' } });
  }
  const file = assets[path];
  if (file !== undefined && (method === 'GET' || method === 'HEAD')) {
    response.writeHead(200, { ...securityHeaders, 'content-type': file.type });
    response.end(method === 'HEAD' ? undefined : readFileSync(file.path));
    return;
  }
  const isOpen = path === '/metrics' && isLoopback(request);
  if (!isOpen && !hasToken(request, tokenDigest)) {
    response.setHeader('www-authenticate', 'Bearer');
    return send(response, {
      status: 401,
      body: fault('ADMIN_TOKEN_NEEDED', '', 'Send "authorization: Bearer TOKEN".'),
    });
  }
  if (path === '/metrics') {
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
    response.end(options.ports.metrics());
    return;
  }
  send(response, await api(request, method, path, url.searchParams, options.ports));
}

async function api(
  request: IncomingMessage,
  method: string,
  path: string,
  query: URLSearchParams,
  ports: AdminPorts,
): Promise<AdminAnswer> {
  const [, id = ''] = /^\/admin\/v1\/(?:line-items|explain)\/([^/]+)$/u.exec(path) ?? [];
  switch (`${method} ${id === '' ? path : path.slice(0, path.lastIndexOf('/'))}`) {
    case 'GET /admin/v1/overview':
      return { status: 200, body: ports.overview() };
    case 'GET /admin/v1/latency':
      return { status: 200, body: ports.latency() };
    case 'GET /admin/v1/ads':
      return ports.ads(
        boundedInteger(query.get('after'), 0, 2 ** 31),
        Math.max(1, boundedInteger(query.get('limit'), 100, 10_000)),
      );
    case 'GET /admin/v1/status':
      return ports.status();
    case 'GET /admin/v1/line-items':
      return ports.lineItem(decoded(id));
    case 'GET /admin/v1/catalog':
      return ports.catalog();
    case 'GET /admin/v1/spend':
      return ports.spend();
    case 'GET /admin/v1/bundles':
      return ports.bundles();
    case 'GET /admin/v1/explain':
      return ports.explain(decoded(id));
    case 'POST /admin/v1/catalog':
      return withBody(request, (body) => ports.changeCatalog(body));
    case 'PATCH /admin/v1/line-items':
      return withBody(request, (body) => ports.changeLineItem(decoded(id), body));
    case 'POST /admin/v1/invalidate':
      return withBody(request, (body) => ports.invalidate(body));
    case 'POST /admin/v1/bundles/activate':
      return withBody(request, (body) => ports.activateBundle(body));
    default:
      return { status: 404, body: fault('NO_SUCH_PAGE', '', `There is no ${method} ${path.slice(0, 200)}.`) };
  }
}

function decoded(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch (error) {
    if (error instanceof URIError) return '';
    throw error;
  }
}

function boundedInteger(text: string | null, fallback: number, max: number): number {
  const value = text === null || !/^\d{1,10}$/u.test(text) ? fallback : Number(text);
  return Math.min(value, max);
}

async function withBody(request: IncomingMessage, use: (body: unknown) => Promise<AdminAnswer>): Promise<AdminAnswer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bodyBytesMax)
      return { status: 413, body: fault('BODY_TOO_LARGE', '', `A body may hold ${bodyBytesMax} bytes.`) };
    chunks.push(chunk);
  }
  let body: unknown;
  try {
    body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    return {
      status: 400,
      body: fault('NOT_JSON', '', error instanceof Error ? error.message.slice(0, 200) : 'not JSON'),
    };
  }
  return use(body);
}
