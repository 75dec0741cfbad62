import type {
  ExplainedCandidate,
  ExplainedImp,
  ExplainedLookup,
  ExplainedNotice,
  ExplainedWinner,
  Explanation,
} from './explain.ts';

/** The catalog's currency: all amounts of an explanation are in it. */
const currency = 'USD';

/** The facts of an auction as a person would tell them. */
export function explanationText(facts: Explanation): string {
  const lines = [
    `Auction ${facts.auction_id} at ${new Date(facts.time_ms).toISOString()}${facts.test ? ' (test: nothing was moved)' : ''}`,
    `  request ${JSON.stringify(facts.request_id)} from ${facts.caller_id === '' ? 'the default caller' : `caller ${facts.caller_id}`}, ${surfaceText[facts.surface]}; ${facts.known_user ? 'a known user' : 'no known user'}`,
    `  scored on rung "${facts.rung}" by model ${shortened(facts.model_id)}, calibrated by ${shortened(facts.calibrator_id)}; catalog version ${facts.catalog_version}`,
  ];
  if (facts.lookups.length > 0) lines.push(`  looked up: ${facts.lookups.map(lookupText).join('; ')}`);
  const heldBack = heldBackText(facts);
  if (heldBack !== '') lines.push(heldBack);
  for (const [index, imp] of facts.imps.entries()) lines.push('', ...impLines(facts, imp, index));
  lines.push('', ...noticeLines(facts.notices));
  return `${lines.join('\n')}\n`;
}

function lookupText({ table, outcome, source, age_ms }: ExplainedLookup): string {
  const from = outcome === 'found' ? ` in the ${source === 'hedge' ? 'second store asked' : source}` : '';
  return `${table} ${outcome}${from}${age_ms === undefined ? '' : `, ${(age_ms / 1000).toFixed(1)} s old`}`;
}

/** '' where every ad that was found could become a candidate, and for records from before this was written down. */
function heldBackText({
  eligible_ads: eligible,
  throttled_ads: throttled,
  capped_ads: capped,
  imps,
}: Explanation): string {
  if (throttled + capped === 0) return '';
  const places = imps.length > 1 ? ` (over ${imps.length} imps)` : '';
  return `  of ${eligible} ads that fit${places}, pacing held back ${throttled} and this user's frequency caps ${capped} before the auction`;
}

const surfaceText = {
  openrtb: 'OpenRTB: the exchange clears',
  auction: '/v1/auction: we clear',
  predict: '/v1/predict: nothing was sold',
} as const;

function impLines(facts: Explanation, imp: ExplainedImp, index: number): string[] {
  const size = imp.width > 0 ? `, ${imp.width}x${imp.height}` : '';
  const lines = [
    `Imp ${index + 1} ${JSON.stringify(imp.id)}${size}: floor ${cpm(imp.floor_nanos)}, ${imp.candidates} candidates`,
  ];
  const { winner } = imp;
  if (winner === undefined) lines.push('  Unsold: nobody was left to win it.');
  else {
    lines.push(`  ${imp.explored ? 'Shown by exploration' : 'Won'} by ${nameOf(winner)}`);
    lines.push(`    value ${valueText(winner)}`);
    if (winner.quality_weight !== 1) {
      lines.push(`    ranked at ${cpm(winner.score_nanos)} by quality ${winner.quality_weight.toFixed(4)}`);
    }
    lines.push(`    pays ${priceText(facts, imp, winner)}`);
    lines.push(`    ${marginText(winner)}`);
  }
  if (imp.losers.length > 0) {
    const others = imp.candidates - (winner === undefined ? 0 : 1);
    lines.push(`  The ${imp.losers.length === others ? '' : `best ${imp.losers.length} of the `}${others} others:`);
    for (const loser of imp.losers) lines.push(`    ${loserText(imp, loser)}`);
  }
  const counts = Object.entries(imp.counts_by_reason).map(([reason, count]) => `${reason} ${count}`);
  if (counts.length > 0) lines.push(`  By reason: ${counts.join(', ')}`);
  return lines;
}

function nameOf({ ad_id, line_item_id, advertiser_id }: ExplainedCandidate): string {
  return line_item_id === '' ? ad_id : `${ad_id} (line item ${line_item_id}, advertiser ${advertiser_id})`;
}

function valueText(candidate: ExplainedCandidate): string {
  const { bid_nanos, value_nanos, p_click, p_conversion } = candidate;
  switch (candidate.price_type) {
    case 'CPM':
      return `${cpm(value_nanos)}: its bid per impression`;
    case 'CPC':
      return `${cpm(value_nanos)} = ${money(bid_nanos)} per click × pCTR ${percent(p_click)}`;
    case 'CPA':
      return `${cpm(value_nanos)} = ${money(bid_nanos)} per conversion × pCTR ${percent(p_click)} × pCVR ${percent(p_conversion)}`;
  }
}

const eventText = { CPM: 'impression', CPC: 'click', CPA: 'conversion' } as const;

function priceText(facts: Explanation, imp: ExplainedImp, winner: ExplainedWinner): string {
  const price = `${money(winner.price_nanos)} per ${eventText[winner.price_type]}`;
  const own = winner.price_nanos === winner.bid_nanos;
  switch (facts.mechanism) {
    case 'bid': {
      const margin = facts.margin_ppm === 0 ? '' : ` less the margin of ${facts.margin_ppm / 10_000} %`;
      // The exchange sets what an impression costs; a click or a conversion is owed as it was bid.
      const owed =
        winner.price_type === 'CPM' ? `at most ${price}, its own bid: the exchange clears` : `${price}, its own bid`;
      return `${owed}. Offered: ${cpm(winner.offered_nanos)}, its value${margin}, at least the floor`;
    }
    case 'first':
      return `${price}: its own bid, as a first price asks`;
    case 'second':
    case 'gsp':
      return `${price}: ${own ? 'its own bid, because more would have been needed to stay ahead' : nextText(facts, imp, winner)}`;
    case 'vcg':
      return `${price}: what its place takes away from the others, at least the floor ÷ p`;
    default:
      return price;
  }
}

function nextText(facts: Explanation, imp: ExplainedImp, winner: ExplainedWinner): string {
  const { runner_up_score_nanos: runnerUp } = winner;
  // A price that is the floor's comes out as the floor again, up to what rounding up to a nano per event adds.
  if (runnerUp === undefined || runnerUp < imp.floor_nanos) return `the floor of ${cpm(imp.floor_nanos)} ÷ p`;
  const increment = facts.increment_nanos > 0 ? ` plus the increment of ${cpm(facts.increment_nanos)}` : '';
  return `the least with which it still ranks at the runner-up's ${cpm(runnerUp)}${increment}`;
}

function marginText({ score_nanos, runner_up_score_nanos: runnerUp }: ExplainedWinner): string {
  if (runnerUp === undefined) return 'nobody else competed';
  const ahead = score_nanos - runnerUp;
  const share = score_nanos > 0 ? ` (${percent(ahead / score_nanos)} of its own)` : '';
  return `ahead of the runner-up by ${cpm(ahead)}${share}`;
}

function loserText(imp: ExplainedImp, loser: ExplainedCandidate): string {
  const head = `${nameOf(loser)}: value ${cpm(loser.value_nanos)}. ${loser.reason_text}`;
  if (loser.reason === 'belowFloor') return `${head} Short by ${cpm(imp.floor_nanos - loser.value_nanos)}.`;
  if (loser.reason === 'outbid' && imp.winner !== undefined) {
    return `${head} Behind by ${cpm(imp.winner.score_nanos - loser.score_nanos)}.`;
  }
  return head;
}

function noticeLines(notices: readonly ExplainedNotice[]): string[] {
  if (notices.length === 0) return ['No notice has come.'];
  return ['Notices:', ...notices.map((notice) => `  ${noticeText(notice)}`)];
}

function noticeText(notice: ExplainedNotice): string {
  let text = `${new Date(notice.time_ms).toISOString()} ${notice.kind} of imp ${notice.imp + 1}`;
  if (notice.price_nanos > 0) text += `, price ${money(notice.price_nanos)}`;
  if (notice.charged_nanos > 0) text += `, charged ${money(notice.charged_nanos)}`;
  if (notice.over_delivered_nanos > 0) text += `, beyond the budget ${money(notice.over_delivered_nanos)}`;
  if (notice.cost_nanos > 0) text += `, cost ${money(notice.cost_nanos)}`;
  if (notice.loss_reason > 0) text += `, loss code ${notice.loss_reason}`;
  return notice.flags.length > 0 ? `${text} (${notice.flags.join(', ')})` : text;
}

/** Exact: nanos have nine decimals. */
function money(nanos: number): string {
  return `${(nanos / 1e9).toFixed(9).replace(/0{1,7}$/u, '')} ${currency}`;
}

function cpm(nanosPerImpression: number): string {
  return `${(nanosPerImpression / 1e6).toFixed(4)} CPM`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(3)} %`;
}

function shortened(id: string): string {
  return id === '' ? 'none' : id.length > 16 ? `${id.slice(0, 12)}…` : id;
}
