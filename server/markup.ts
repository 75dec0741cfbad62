import type { NativeAsset, NativeSlot, VideoSlot } from './bid-request.ts';

/** What markup shows of an ad: see auction/catalog.ts, `AdCard`. */
export type MarkupCard = {
  readonly adId: string;
  readonly creativeId: string;
  readonly format: 'banner' | 'video' | 'native';
  readonly width: number;
  readonly height: number;
  readonly durationMs: number;
  readonly mimes: readonly string[];
  readonly imageUrl: string;
  readonly videoUrl: string;
  readonly title: string;
  readonly domain: string;
  readonly landingUrl: string;
  readonly advertiserName: string;
};

/** Where the markup reports to; '' = nowhere. `clickUrl` leads on to the landing page. */
export type MarkupLinks = { readonly viewUrl: string; readonly clickUrl: string };

const htmlEscapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text for HTML, in content and in quoted attributes. */
export function escapeHtml(text: string): string {
  return /[&<>"']/u.test(text) ? text.replaceAll(/[&<>"']/gu, (character) => htmlEscapes[character]!) : text;
}

/** What XML 1.0 cannot hold in any form: control characters, lone surrogates, two noncharacters. */
// oxlint-disable-next-line no-control-regex
const notXml = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/gu;

/** Text for XML, in content and in quoted attributes. */
export function escapeXml(text: string): string {
  return escapeHtml(text.toWellFormed().replaceAll(notXml, ''));
}

/** Text as a CDATA section, which is how players expect addresses; "]]>" would end it and is split. */
function cdata(text: string): string {
  return `<![CDATA[${text.toWellFormed().replaceAll(notXml, '').replaceAll(']]>', ']]]]><![CDATA[>')}]]>`;
}

/** An image with a link and, unless it reports nowhere, a pixel that nobody sees. */
export function bannerMarkup(card: MarkupCard, links: MarkupLinks): string {
  const image = `<img src="${escapeHtml(card.imageUrl)}" width="${card.width}" height="${card.height}" alt="${escapeHtml(card.title)}" style="border:0;display:block">`;
  const link =
    links.clickUrl === ''
      ? image
      : `<a href="${escapeHtml(links.clickUrl)}" target="_blank" rel="noopener">${image}</a>`;
  const pixel =
    links.viewUrl === ''
      ? ''
      : `<img src="${escapeHtml(links.viewUrl)}" width="1" height="1" alt="" style="position:absolute;visibility:hidden">`;
  return link + pixel;
}

/** VAST inline protocols of OpenRTB by version, newest first. */
const vastVersions = [
  { protocol: 7, version: '4.0' },
  { protocol: 3, version: '3.0' },
  { protocol: 2, version: '2.0' },
] as const;

/** The newest VAST that a slot takes; where it does not say, or says only what we cannot write, 4.0. */
export function vastOf(protocols: readonly number[]): { readonly protocol: number; readonly version: string } {
  return vastVersions.find(({ protocol }) => protocols.includes(protocol)) ?? vastVersions[0];
}

/** 90,500 ms is "00:01:30.500": the milliseconds only where there are any. */
export function vastDuration(durationMs: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const seconds = Math.floor(durationMs / 1000);
  const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  const rest = durationMs % 1000;
  return rest === 0 ? clock : `${clock}.${String(rest).padStart(3, '0')}`;
}

/** An inline ad of one linear creative, in the newest VAST that the slot takes (4.0 where it does not say). `viewUrl` must be one: VAST requires it. */
export function videoMarkup(card: MarkupCard, links: MarkupLinks, slot: VideoSlot): string {
  const { version } = vastOf(slot.protocols);
  const type = card.mimes.find((mime) => slot.mimes.includes(mime)) ?? card.mimes[0] ?? 'video/mp4';
  const universalId =
    version === '4.0'
      ? `<UniversalAdId idRegistry="unknown" idValue="${escapeXml(card.creativeId)}">${escapeXml(card.creativeId)}</UniversalAdId>`
      : '';
  const clicks =
    links.clickUrl === '' ? '' : `<VideoClicks><ClickThrough>${cdata(links.clickUrl)}</ClickThrough></VideoClicks>`;
  return (
    `<?xml version="1.0" encoding="UTF-8"?><VAST version="${version}"><Ad id="${escapeXml(card.adId)}"><InLine>` +
    `<AdSystem>Gavelin</AdSystem><AdTitle>${escapeXml(card.title || card.adId)}</AdTitle>` +
    `<Impression>${cdata(links.viewUrl)}</Impression>` +
    `<Creatives><Creative id="${escapeXml(card.creativeId)}">${universalId}<Linear>` +
    `<Duration>${vastDuration(card.durationMs)}</Duration>` +
    `<MediaFiles><MediaFile delivery="progressive" type="${escapeXml(type)}" width="${card.width}" height="${card.height}">${cdata(card.videoUrl)}</MediaFile></MediaFiles>` +
    `${clicks}</Linear></Creative></Creatives></InLine></Ad></VAST>`
  );
}

/** OpenRTB Native data asset types that a catalog ad can fill. */
const sponsoredType = 1;
const descriptionType = 2;
const displayUrlType = 11;

/** At most `charsMax` characters (0 = no limit), cut between code points, with an ellipsis where there is room for one. */
function cut(text: string, charsMax: number): string {
  if (charsMax <= 0 || text.length <= charsMax) return text;
  const kept = text.slice(0, Math.max(1, charsMax - 1)).replace(/[\ud800-\udbff]$/u, '');
  return charsMax < 3 ? kept : `${kept}\u2026`;
}

function assetJson(asset: NativeAsset, card: MarkupCard): string {
  const { id, kind, type, charsMax } = asset;
  const part = (body: string): string => `{"id":${id},${body}}`;
  if (kind === 'title') return part(`"title":{"text":${JSON.stringify(cut(card.title, charsMax))}}`);
  if (kind === 'image') {
    if (card.imageUrl === '') return '';
    const size = card.width > 0 && card.height > 0 ? `,"w":${card.width},"h":${card.height}` : '';
    return part(`"img":{"type":${type},"url":${JSON.stringify(card.imageUrl)}${size}}`);
  }
  if (kind !== 'data') return '';
  const value =
    type === sponsoredType
      ? card.advertiserName
      : type === descriptionType
        ? card.title
        : type === displayUrlType
          ? card.domain
          : '';
  return value === '' ? '' : part(`"data":{"type":${type},"value":${JSON.stringify(cut(value, charsMax))}}`);
}

/** Native JSON with what was asked for and is there. Version 1.0 wraps it in an object, later ones do not. */
export function nativeMarkup(card: MarkupCard, links: MarkupLinks, slot: NativeSlot): string {
  const assets = slot.assets
    .map((asset) => assetJson(asset, card))
    .filter((json) => json !== '')
    .join(',');
  const trackers = links.viewUrl === '' ? '' : `,"imptrackers":[${JSON.stringify(links.viewUrl)}]`;
  const isOld = slot.version === '1' || slot.version === '1.0';
  const link = `"link":{"url":${JSON.stringify(links.clickUrl)}}`;
  const body = `{"ver":"${isOld ? '1.0' : '1.2'}","assets":[${assets}],${link}${trackers}}`;
  return isOld ? `{"native":${body}}` : body;
}
