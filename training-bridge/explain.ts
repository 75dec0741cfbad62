import { clearingNanos, winnersCpmNanos } from '#auction/bid-price.ts';
import { expectedValueNanos } from '#auction/expected-value.ts';
import { reasonOf } from '#auction/loss-reasons.ts';
import { mechanismNames } from '#auction/mechanisms.ts';
import { qualityWeightQ30 } from '#auction/quality.ts';
import { outcomeNumbers, sourceNumbers } from '#embeddings/lookup/lookup-table.ts';
import { userStateNames } from '#embeddings/users/user-window.ts';
import type { AdDictionary } from './ad-dictionary.ts';
import { auctionIdHalves, auctionIdText } from './auction-id-text.ts';
import { type AuctionDraft, type NoticeRecord, noticeFlags, unknownAgeMs } from './event-records.ts';
import { explanationText } from './explain-text.ts';
import { findAuction } from './find-auction.ts';

export type ExplainOptions = {
  /** Names of the ladder's rungs, by number. */
  readonly rungNames?: readonly string[];
  /** Names of the tables that users are looked up in, by number. */
  readonly tableNames?: readonly string[];
  /** How many losers per imp are told in full. */
  readonly loserCount?: number;
};

/** One candidate as the auction saw it. Amounts are nanos of the catalog's currency. */
export type ExplainedCandidate = {
  readonly ad_row: number;
  readonly ad_id: string;
  readonly line_item_id: string;
  readonly advertiser_id: string;
  readonly price_type: 'CPM' | 'CPC' | 'CPA';
  readonly bid_nanos: number;
  readonly p_click: number;
  /** 0 where the auction did not need it. */
  readonly p_conversion: number;
  /** bid × probabilities, per impression. */
  readonly value_nanos: number;
  /** quality^a: what the value is multiplied by for ranking. */
  readonly quality_weight: number;
  /** value × quality weight: what ranks. */
  readonly score_nanos: number;
  readonly reason: string;
  readonly reason_text: string;
  readonly loss_code: number;
};

export type ExplainedWinner = ExplainedCandidate & {
  /** What the advertiser owes per event of its price type. */
  readonly price_nanos: number;
  /** The same per impression, rounded up. */
  readonly price_per_impression_nanos: number;
  /** What the answer offered to the exchange per impression. */
  readonly offered_nanos: number;
  /** Score of the best other candidate that competed; absent when there was none. */
  readonly runner_up_score_nanos: number | undefined;
  readonly reserved_nanos: number;
};

export type ExplainedImp = {
  readonly id: string;
  readonly floor_nanos: number;
  readonly width: number;
  readonly height: number;
  readonly explored: boolean;
  readonly candidates: number;
  readonly winner: ExplainedWinner | undefined;
  /** The best of those that did not win, by score. */
  readonly losers: readonly ExplainedCandidate[];
  readonly counts_by_reason: Readonly<Record<string, number>>;
};

/** One value that was looked up for the user, or was not there. */
export type ExplainedLookup = {
  readonly table: string;
  readonly outcome: string;
  readonly source: string;
  /** Undefined where it does not say. */
  readonly age_ms: number | undefined;
};

export type ExplainedNotice = {
  readonly kind: string;
  readonly time_ms: number;
  readonly imp: number;
  readonly price_nanos: number;
  readonly charged_nanos: number;
  readonly over_delivered_nanos: number;
  readonly cost_nanos: number;
  readonly loss_reason: number;
  readonly flags: readonly string[];
};

export type Explanation = {
  readonly auction_id: string;
  readonly request_id: string;
  readonly caller_id: string;
  readonly time_ms: number;
  readonly surface: 'openrtb' | 'auction' | 'predict';
  readonly test: boolean;
  readonly rung: string;
  readonly model_id: string;
  readonly calibrator_id: string;
  readonly catalog_version: number;
  readonly mechanism: string;
  readonly increment_nanos: number;
  readonly margin_ppm: number;
  readonly quality_exponent: number;
  readonly known_user: boolean;
  readonly lookups: readonly ExplainedLookup[];
  /** What the user just did, by the names of embeddings/users/user-window.ts; empty without a user. */
  readonly user_state: Readonly<Record<string, number>>;
  /** Ads found over all imps, and how many of them never became candidates because of pacing or the user's frequency caps. */
  readonly eligible_ads: number;
  readonly throttled_ads: number;
  readonly capped_ads: number;
  readonly currency: string;
  readonly imps: readonly ExplainedImp[];
  readonly notices: readonly ExplainedNotice[];
};

export type ExplainAnswer =
  | { readonly kind: 'explained'; readonly facts: Explanation; readonly text: string }
  | { readonly kind: 'not-an-id' }
  | { readonly kind: 'not-in-log' };

const loserCountDefault = 5;
const q30One = 2 ** 30;
const surfaces = ['openrtb', 'auction', 'predict'] as const;
const outcomeNames = Object.keys(outcomeNumbers);
const sourceNames = Object.keys(sourceNumbers);
const priceTypes = ['CPM', 'CPC', 'CPA'] as const;

/** Why an auction ended as it did, from the log alone: as facts and as English. */
export async function explainAuction(dir: string, id: string, options: ExplainOptions = {}): Promise<ExplainAnswer> {
  const halves = auctionIdHalves(id.trim().toLowerCase());
  if (halves === undefined) return { kind: 'not-an-id' };
  const found = await findAuction(dir, halves.high, halves.low);
  if (found === undefined) return { kind: 'not-in-log' };
  const facts = explain(found.draft, found.dictionary, found.notices, options);
  return { kind: 'explained', facts, text: explanationText(facts) };
}

function explain(
  draft: AuctionDraft,
  dictionary: AdDictionary,
  notices: readonly NoticeRecord[],
  options: ExplainOptions,
): Explanation {
  const imps: ExplainedImp[] = [];
  for (let imp = 0; imp < draft.impCount; imp++) {
    imps.push(explainImp(draft, dictionary, imp, options.loserCount ?? loserCountDefault));
  }
  return {
    auction_id: auctionIdText(draft.auctionIdHigh, draft.auctionIdLow),
    request_id: draft.requestId,
    caller_id: draft.callerId,
    time_ms: draft.timeMs,
    surface: surfaces[draft.surface] ?? 'openrtb',
    test: draft.test,
    rung: options.rungNames?.[draft.rung] ?? String(draft.rung),
    model_id: draft.modelId,
    calibrator_id: draft.calibratorId,
    catalog_version: draft.catalogVersion,
    mechanism: mechanismNames[draft.mechanism] ?? String(draft.mechanism),
    increment_nanos: draft.incrementNanos,
    margin_ppm: draft.marginPpm,
    quality_exponent: draft.qualityExponent,
    known_user: draft.userRow !== 0xffff_ffff || draft.lookupOutcome.subarray(0, draft.lookupCount).includes(0),
    lookups: Array.from({ length: draft.lookupCount }, (_, place) => explainLookup(draft, place, options)),
    user_state: Object.fromEntries(
      Array.from(draft.userState.subarray(0, draft.userStateCount), (value, index) => [
        userStateNames[index] ?? String(index),
        value,
      ]),
    ),
    eligible_ads: draft.eligibleCount,
    throttled_ads: draft.throttledCount,
    capped_ads: draft.cappedCount,
    currency: draft.currency,
    imps,
    notices: notices.map(explainNotice),
  };
}

function explainLookup(draft: AuctionDraft, place: number, { tableNames }: ExplainOptions): ExplainedLookup {
  const table = draft.lookupTable[place]!;
  const ageMs = draft.lookupAgeMs[place]!;
  return {
    table: tableNames?.[table] ?? String(table),
    outcome: outcomeNames[draft.lookupOutcome[place]!] ?? String(draft.lookupOutcome[place]),
    source: sourceNames[draft.lookupSource[place]!] ?? String(draft.lookupSource[place]),
    age_ms: ageMs === unknownAgeMs ? undefined : ageMs,
  };
}

function explainImp(draft: AuctionDraft, dictionary: AdDictionary, imp: number, loserCount: number): ExplainedImp {
  const winner = draft.impWinner[imp]!;
  const counts: Record<string, number> = {};
  const losers: ExplainedCandidate[] = [];
  let candidates = 0;
  let runnerUp: number | undefined;
  for (let index = 0; index < draft.candidateCount; index++) {
    if (draft.candidateImp[index] !== imp) continue;
    candidates++;
    const candidate = explainCandidate(draft, dictionary, index);
    counts[candidate.reason] = (counts[candidate.reason] ?? 0) + 1;
    if (index === winner) continue;
    losers.push(candidate);
    const isRival = candidate.reason === 'outbid' || candidate.reason === 'lostTie';
    if (isRival && candidate.score_nanos > (runnerUp ?? -1)) runnerUp = candidate.score_nanos;
  }
  losers.sort((left, right) => right.score_nanos - left.score_nanos || left.ad_row - right.ad_row);
  return {
    id: draft.impId[imp]!,
    floor_nanos: draft.impFloorNanos[imp]!,
    width: draft.impWidth[imp]!,
    height: draft.impHeight[imp]!,
    explored: draft.impExplored[imp] === 1,
    candidates,
    winner: winner < 0 ? undefined : explainWinner(draft, dictionary, imp, winner, runnerUp),
    losers: losers.slice(0, loserCount),
    counts_by_reason: counts,
  };
}

function explainWinner(
  draft: AuctionDraft,
  dictionary: AdDictionary,
  imp: number,
  winner: number,
  runnerUp: number | undefined,
): ExplainedWinner {
  return {
    ...explainCandidate(draft, dictionary, winner),
    price_nanos: draft.impPriceNanos[imp]!,
    price_per_impression_nanos: clearingNanos(draft, imp),
    offered_nanos: winnersCpmNanos(draft, imp),
    runner_up_score_nanos: runnerUp,
    reserved_nanos: draft.impReservedNanos[imp]!,
  };
}

function explainCandidate(draft: AuctionDraft, dictionary: AdDictionary, index: number): ExplainedCandidate {
  const adRow = draft.candidateAdRow[index]!;
  const row = dictionary.rowOf(adRow);
  const bid = draft.candidateBidNanos[index]!;
  const priceType = draft.candidatePriceType[index]!;
  const click = draft.candidateClickQ30[index]!;
  const conversion = draft.candidateConversionQ30[index]!;
  const value = expectedValueNanos(bid, priceType, click, conversion);
  const weight = qualityWeightQ30(draft.candidateQualityQ30[index]!, draft.qualityExponent) / q30One;
  const reason = reasonOf(draft.candidateReason[index]!);
  return {
    ad_row: adRow,
    ad_id: row?.adId ?? `row ${adRow}`,
    line_item_id: row?.lineItemId ?? '',
    advertiser_id: row?.advertiserId ?? '',
    price_type: priceTypes[priceType] ?? 'CPM',
    bid_nanos: bid,
    p_click: click / q30One,
    p_conversion: conversion / q30One,
    value_nanos: value,
    quality_weight: weight,
    score_nanos: value * weight,
    reason: reason.name,
    reason_text: reason.text,
    loss_code: reason.lossCode,
  };
}

function explainNotice(notice: NoticeRecord): ExplainedNotice {
  return {
    kind: notice.kind,
    time_ms: notice.timeMs,
    imp: notice.impIndex,
    price_nanos: notice.priceNanos,
    charged_nanos: notice.chargedNanos,
    over_delivered_nanos: notice.overDeliveredNanos,
    cost_nanos: notice.costNanos,
    loss_reason: notice.lossReason,
    flags: Object.entries(noticeFlags)
      .filter(([, bit]) => (notice.flags & bit) !== 0)
      .map(([name]) => name),
  };
}
