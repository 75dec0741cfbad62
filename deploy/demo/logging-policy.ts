import type { AliasTable } from './draws.ts';
import type { ImpressionContext } from './context.ts';
import type { MarketLayout } from './layout.ts';
import { sizeClasses } from './words.ts';

const drawsMax = 40;
const exploredShare = 0.15;
const candidatesPerSlot = 3;

/**
 * Who was shown before there was a model: a few eligible ads by Zipf, the best by its hoped-for value with much noise; 15 %
 * of slots go to any eligible ad, so that every ad has been seen by somebody.
 */
export class LoggingPolicy {
  readonly #layout: MarketLayout;
  readonly #random: () => number;
  readonly #bySize: readonly { ads: Uint32Array; table: AliasTable }[];

  constructor(layout: MarketLayout, random: () => number) {
    this.#layout = layout;
    this.#random = random;
    this.#bySize = sizeClasses.map((_, size) => layout.adSampler(size));
  }

  /** The ad to show, or −1 when nothing eligible turned up in a bounded number of draws. */
  choose(user: number, context: ImpressionContext): number {
    const layout = this.#layout;
    const random = this.#random;
    const { ads, table } = this.#bySize[context.size]!;
    if (ads.length === 0) return -1;
    const explores = random() < exploredShare;
    const wanted = explores ? 1 : candidatesPerSlot;
    let best = -1;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let draw = 0, found = 0; draw < drawsMax && found < wanted; draw += 1) {
      const ad = ads[explores ? Math.floor(random() * ads.length) : table.draw(random())]!;
      const item = layout.adLineItem[ad]!;
      if (!layout.isEligible(item, context, user)) continue;
      found += 1;
      // Value times a noise of up to e: value decides only between ads that differ much.
      const score = layout.lineItemEcpmNanos[item]! * Math.exp(1.5 * random());
      if (score > bestScore) {
        bestScore = score;
        best = ad;
      }
    }
    return best;
  }
}
