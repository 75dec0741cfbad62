import type { HttpHandler, ResponseHeaders, Route } from './http-listener.ts';

export type RouteMatch =
  | { readonly kind: 'route'; readonly handle: HttpHandler; readonly isHead: boolean }
  | { readonly kind: 'method'; readonly headers: ResponseHeaders }
  | { readonly kind: 'none' };

type Entry = { readonly byMethod: ReadonlyMap<string, RouteMatch>; readonly wrongMethod: RouteMatch };

const none: RouteMatch = { kind: 'none' };

/** Which handler a request belongs to. Answers are made once, at start: looking up allocates nothing. */
export class RouteTable {
  readonly #exact = new Map<string, Entry>();
  /** Longest prefix first. */
  readonly #below: { readonly prefix: string; readonly entry: Entry }[] = [];

  constructor(routes: readonly Route[]) {
    for (const { path, methods, handle } of routes) {
      const entry = entryOf(methods, handle);
      if (path.endsWith('/*')) this.#below.push({ prefix: path.slice(0, -1), entry });
      else this.#exact.set(path, entry);
    }
    this.#below.sort((left, right) => right.prefix.length - left.prefix.length);
  }

  find(method: string, path: string): RouteMatch {
    const entry = this.#exact.get(path) ?? this.#entryBelow(path);
    return entry === undefined ? none : (entry.byMethod.get(method) ?? entry.wrongMethod);
  }

  #entryBelow(path: string): Entry | undefined {
    for (const { prefix, entry } of this.#below) if (path.startsWith(prefix)) return entry;
    return undefined;
  }
}

function entryOf(methods: readonly string[], handle: HttpHandler): Entry {
  const byMethod = new Map<string, RouteMatch>(
    methods.map((method) => [method, { kind: 'route', handle, isHead: method === 'HEAD' }]),
  );
  if (methods.includes('GET')) byMethod.set('HEAD', { kind: 'route', handle, isHead: true });
  const allow = [...byMethod.keys()].join(', ');
  return { byMethod, wrongMethod: { kind: 'method', headers: [['allow', allow]] } };
}

/** Reasons by status, for the listeners that write the status line themselves. */
export const statusTexts: Readonly<Record<number, string>> = {
  200: 'OK',
  204: 'No Content',
  302: 'Found',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  410: 'Gone',
  413: 'Content Too Large',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};
