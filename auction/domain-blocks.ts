import { getDomain } from 'tldts';

/** A host name of letters, digits, dashes and dots, lower case, with at least one dot. */
const hostForm = /^(?=.{3,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+$/u;

export function isHostName(text: string): boolean {
  return hostForm.test(text);
}

/**
 * The domains above a host, up to the one that somebody registered: "www.ford.co.uk" → ["ford.co.uk"]. Blocking any of them
 * blocks the host. Public suffixes ("co.uk") are nobody's and block nothing.
 */
export function domainAncestors(host: string): readonly string[] {
  const registered = getDomain(host);
  if (registered === null || registered === host) return [];
  const ancestors: string[] = [];
  for (let rest = host; rest !== registered;) {
    const dot = rest.indexOf('.');
    if (dot < 0) break;
    rest = rest.slice(dot + 1);
    ancestors.push(rest);
  }
  return ancestors;
}

/** The id of the app that a landing page sells (OpenRTB `bapp` blocks these), '' when it is not a page of an app store. */
export function advertisedApp(landingUrl: string): string {
  const url = URL.canParse(landingUrl) ? new URL(landingUrl) : undefined;
  if (url?.hostname === 'play.google.com') return url.searchParams.get('id') ?? '';
  if (url?.hostname === 'apps.apple.com' || url?.hostname === 'itunes.apple.com')
    return /\/id(\d+)/u.exec(url.pathname)?.[1] ?? '';
  return '';
}
