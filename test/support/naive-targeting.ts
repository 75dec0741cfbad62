import type { CatalogSpec, CreativeSpec, LineItemSpec, TargetingSpec } from '#auction/catalog-spec.ts';
import { adIdOf, priorValueNanos } from '#auction/catalog-spec.ts';
import type { ImpQuery, TargetingQuery } from '#auction/targeting-query.ts';

/**
 * What the index must find, written for reading and not for speed: one ad at a time, strings against strings, straight from
 * the catalog's own words. Ad ids in the order of their line items' value.
 */
export function naiveSelect(spec: CatalogSpec, query: TargetingQuery, imp: ImpQuery): string[] {
  const advertisers = new Map(spec.advertisers.map((each) => [each.id, each]));
  const creatives = new Map(spec.creatives.map((each) => [each.id, each]));
  return rankedAds(spec)
    .filter(({ lineItem, creative }) => {
      const shown = creatives.get(creative)!;
      const advertiser = advertisers.get(lineItem.advertiserId)!;
      return (
        lineItem.isActive &&
        meets(lineItem.targeting ?? {}, query) &&
        isUnblocked(shown, advertiser.domain, advertiser.id, query) &&
        fits(shown, advertiser.name, imp)
      );
    })
    .map(({ lineItem, creative }) => adIdOf(lineItem.id, creative));
}

/** All ads, best line item first; of equal ones the first in the file. */
export function rankedAds(spec: CatalogSpec): { lineItem: LineItemSpec; creative: string }[] {
  return spec.lineItems
    .toSorted((left, right) => priorValueNanos(right) - priorValueNanos(left))
    .flatMap((lineItem) => lineItem.creativeIds.map((creative) => ({ lineItem, creative })));
}

function meets(targeting: TargetingSpec, query: TargetingQuery): boolean {
  const segments = [...query.segments, ...query.storedSegments];
  const accepts = <Value>(list: readonly Value[] | undefined, value: Value): boolean =>
    list === undefined || list.includes(value);
  if (!accepts(targeting.countries, query.country)) return false;
  if (!accepts(targeting.devices, query.device)) return false;
  if (!accepts(targeting.os, query.os)) return false;
  if (!accepts(targeting.languages, query.language)) return false;
  if (!accepts(targeting.hours, query.hour)) return false;
  if (!accepts(targeting.days, query.day)) return false;
  if (targeting.segments_any !== undefined && !targeting.segments_any.some((each) => segments.includes(each)))
    return false;
  if (targeting.segments_none?.some((each) => segments.includes(each)) === true) return false;
  const isAt = (sites: readonly string[] | undefined, apps: readonly string[] | undefined): boolean =>
    (query.placeKind === 'site' && (sites ?? []).some((site) => isAtOrBelow(query.place, site))) ||
    (query.placeKind === 'app' && (apps ?? []).includes(query.place));
  const hasAllow = targeting.sites_allow !== undefined || targeting.apps_allow !== undefined;
  if (hasAllow && !isAt(targeting.sites_allow, targeting.apps_allow)) return false;
  return !isAt(targeting.sites_deny, targeting.apps_deny);
}

function isAtOrBelow(host: string, domain: string): boolean {
  return host === domain || host.endsWith(`.${domain}`);
}

function isUnblocked(creative: CreativeSpec, advertiserDomain: string, seat: string, query: TargetingQuery): boolean {
  const isListed = (list: readonly string[], category: string): boolean =>
    list.some((each) => category === each || category.startsWith(`${each}-`));
  if (query.categoryTaxonomy === 1) {
    if (creative.categories.some((each) => isListed(query.blockedCategories, each))) return false;
    const { allowedCategories } = query;
    if (allowedCategories.length > 0 && !creative.categories.every((each) => isListed(allowedCategories, each)))
      return false;
  } else if (query.allowedCategories.length > 0) return false;
  const blocked = query.blockedDomains.map((domain) => domain.replace(/^www\./u, ''));
  // The test's domains all end in one label that nobody can register.
  const hosts = [creative.domain, advertiserDomain];
  if (hosts.some((host) => blocked.some((domain) => domain.includes('.') && isAtOrBelow(host, domain)))) return false;
  if (hosts.some((host) => query.blockedDomains.includes(host))) return false;
  if (query.blockedApps.some((app) => app === creative.domain || creative.landingUrl.endsWith(`?id=${app}`)))
    return false;
  if (query.allowedSeats.length > 0 && !query.allowedSeats.includes(seat)) return false;
  if (query.blockedSeats.includes(seat)) return false;
  const { language } = creative;
  return query.allowedLanguages.length === 0 || language === '' || query.allowedLanguages.includes(language);
}

function fits(creative: CreativeSpec, advertiserName: string, imp: ImpQuery): boolean {
  if (imp.isPrivateAuction) return false;
  if (imp.isSecure && !creative.isSecure) return false;
  if (creative.attributes.some((each) => imp.blockedAttributes.includes(each))) return false;
  if (creative.format === 'banner') {
    const sizes = imp.banner?.sizes ?? [];
    return sizes.some(({ width, height }) => width === creative.width && height === creative.height);
  }
  if (creative.format === 'video') {
    const slot = imp.video;
    if (slot === undefined) return false;
    if (!creative.mimes.some((mime) => slot.mimes.includes(mime))) return false;
    if (slot.protocols.length > 0 && !creative.protocols.some((each) => slot.protocols.includes(each))) return false;
    if ((slot.width > 0 && creative.width > slot.width) || (slot.height > 0 && creative.height > slot.height))
      return false;
    if (slot.durationsMs.length > 0) return slot.durationsMs.includes(creative.durationMs);
    return creative.durationMs >= slot.durationMsMin && creative.durationMs <= slot.durationMsMax;
  }
  if (imp.native === undefined) return false;
  const assets = imp.native.assets.map((asset) => {
    const isTitle = asset.kind === 'title';
    const isPicture = asset.kind === 'image' && (asset.type === 1 || asset.type === 3);
    const isSponsor = asset.kind === 'data' && asset.type === 1;
    const text = isTitle ? creative.title : isSponsor ? advertiserName : '';
    const isShort = asset.charsMax <= 0 || Array.from(text).length <= asset.charsMax;
    return { asset, isOurs: isTitle || isPicture || isSponsor, isShort };
  });
  return (
    assets.some(({ isOurs }) => isOurs) &&
    assets.every(({ asset, isOurs, isShort }) => !asset.isRequired || (isOurs && isShort))
  );
}
