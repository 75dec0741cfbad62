/**
 * The request headers that handlers may ask for. A closed list, because a uWebSockets.js request can be read only while its
 * first callback runs: these are copied then, all others are never looked at.
 */
export const readHeaders = [
  'accept-encoding',
  'access-control-request-headers',
  'content-encoding',
  'content-type',
  'origin',
  'user-agent',
  'x-forwarded-for',
  'x-gavelin-debug',
  'x-gavelin-key',
  'x-openrtb-version',
] as const;
export type ReadHeader = (typeof readHeaders)[number];

/** One request, whole: a handler is called when the last byte of the body is here. */
export type HttpRequest = {
  /** Upper case. */
  readonly method: string;
  /** Without query, as sent (still percent-encoded). */
  readonly path: string;
  /** Without the question mark; '' when absent. */
  readonly query: string;
  /** The raw body, still compressed if it was. It belongs to the handler: nobody else keeps or reuses it. */
  readonly body: Uint8Array;
  /** Epoch milliseconds at which the head was read: deadlines count from here, not from the end of the body. */
  readonly arrivalMs: number;
  /** Text form; '' when unknown. */
  readonly remoteAddress: string;
  /** Becomes true when the caller hangs up; `respond` then does nothing. */
  readonly isAborted: boolean;
  /** '' when absent. Usable at any time. */
  header(name: ReadHeader): string;
};

export type ResponseHeaders = readonly (readonly [name: string, value: string])[];
export const noHeaders: ResponseHeaders = [];

/** Callable later, exactly once: a second call throws, a call after the caller hung up does nothing. */
export type Respond = (status: number, headers: ResponseHeaders, body: string | Uint8Array) => void;

/** Must call `respond` once, now or later. A throw before that is answered 500 and reported. */
export type HttpHandler = (request: HttpRequest, respond: Respond) => void;

export type Route = {
  /** `/healthz` matches itself; `/openrtb2/bid/*` matches everything below (the longest pattern wins). */
  readonly path: string;
  /** `HEAD` is answered by `GET` without its body and need not be listed. */
  readonly methods: readonly string[];
  readonly handle: HttpHandler;
};

export type HttpLimits = {
  /** A larger body is 413, and the connection ends. */
  readonly bodyBytesMax: number;
  /** A request must be whole this long after its head; then 408, and the connection ends. */
  readonly requestMsMax: number;
  /** A connection without a request in flight is closed after this long. */
  readonly idleMsMax: number;
  /** Connections beyond this are closed at once (`node:http` only: uWebSockets.js has no such bound, its host's file limit is it). */
  readonly connectionCountMax: number;
};

export const defaultHttpLimits: HttpLimits = {
  // The largest request of the real sample is 5 KiB; 256 KiB leaves room for long `user.data` and many deals.
  bodyBytesMax: 256 * 1024,
  requestMsMax: 5000,
  idleMsMax: 60_000,
  connectionCountMax: 10_000,
};

export type ListenOptions = {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly routes: readonly Route[];
  readonly limits?: Partial<HttpLimits>;
  readonly now: () => number;
  /** A handler threw: told once per throw, never with the request's content. */
  readonly onError: (error: unknown) => void;
};

export type ListeningHttp = {
  readonly port: number;
  /** Requests whose answer is still owed. */
  readonly inFlightCount: number;
  /** No new connections; those open go on, and are told to close with their next answer. */
  stopAccepting(): void;
  /** Stops accepting, waits up to `graceMs` for answers owed, then closes what is left. */
  close(graceMs: number): Promise<void>;
};

export interface HttpListener {
  /** @throws {ServerError} LISTEN_FAILED when the address cannot be had. */
  listen(options: ListenOptions): Promise<ListeningHttp>;
}
