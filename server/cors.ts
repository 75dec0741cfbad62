import type { HttpRequest, ResponseHeaders } from './http-listener.ts';

/** A browser asks once per 10 minutes whether it may call: the longest that all of them keep the answer. */
const maxAgeSeconds = '600';

/** What a browser may send as `Origin`: a scheme, a host and a port. Anything else is not echoed. */
const originText = /^[a-z][a-z0-9+.-]{0,31}:\/\/[^\s,"'<>]{1,255}$/iu;

/**
 * The headers that let a page of any origin read the answer, its cookies included: the origin is named, because `*` forbids
 * credentials. We hold no session that a foreign page could abuse.
 */
export function withCors(request: HttpRequest, headers: ResponseHeaders): ResponseHeaders {
  const origin = request.header('origin');
  if (origin === '' || !originText.test(origin)) return headers;
  return [
    ...headers,
    ['access-control-allow-origin', origin],
    ['access-control-allow-credentials', 'true'],
    ['timing-allow-origin', origin],
    ['vary', 'Origin'],
  ];
}

/** What answers `OPTIONS`, before a browser sends what it may not send unasked. */
export function preflightHeaders(request: HttpRequest): ResponseHeaders {
  const asked = request.header('access-control-request-headers');
  const isPlain = /^[\w!#$%&'*+.^`|~,\s-]{1,512}$/u.test(asked);
  return withCors(request, [
    ['access-control-allow-methods', 'POST, OPTIONS'],
    ['access-control-allow-headers', isPlain ? asked : 'content-type, x-openrtb-version'],
    ['access-control-max-age', maxAgeSeconds],
  ]);
}
