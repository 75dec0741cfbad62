import { SharedLocks } from './shared-locks.ts';

/** Crosses threads by workerData. */
export type CapsShared = {
  readonly locks: SharedArrayBuffer;
  /** Per stripe: see `stripeWord`. Then the heads of its buckets. */
  readonly stripes: SharedArrayBuffer;
  readonly nodes: SharedArrayBuffer;
};

/** What `collect` fills; the caller owns it. The arrays' lengths bound what is reported. */
export type CapsView = {
  viewCount: number;
  readonly viewLineItems: Uint32Array;
  readonly views: Uint32Array;
  cappedCount: number;
  readonly cappedLineItems: Uint32Array;
};

/** Views kept per user and line item: the highest cap there can be, and where the view count ends. */
export const capCountMax = 16;
/** Line items remembered per user; the one viewed longest ago makes room. */
export const viewedPerUserMax = 64;
/** For line items without a cap: how far back views count. */
export const viewWindowMsDefault = 86_400_000;

/** A power of two. */
const stripeCount = 256;
/** 100 bytes each. */
const capacityDefault = 2 ** 18;
const stripeWord = { used: 0, newest: 1, oldest: 2, evicted: 3 };
const stripeWords = 4;
/** Then the times of the views, in whole seconds since the epoch, rounded up; 0 = none. */
const nodeWord = { userHigh: 0, userLow: 1, lineItem: 2, chain: 3, newer: 4, older: 5, times: 6 };
const nodeWords = nodeWord.times + capCountMax;
/** Links are node number + 1. */
const nobody = 0;

/**
 * How often each user has viewed each line item: the times of the latest 16 views, in shared memory, for any number of threads
 * (256 stripes by user, a lock each). Counts are exact to the second: a view counts from its time until `window` later, not
 * including that instant, rounded so that a user is never shown more than the cap. When a stripe is full the pair of user and
 * line item whose last view is oldest makes room, and is counted in `evictedCount`.
 */
export class FrequencyCaps {
  readonly #locks: SharedLocks;
  readonly #stripes: Int32Array;
  readonly #nodes: Uint32Array;
  readonly #nodesPerStripe: number;
  readonly #bucketsPerStripe: number;

  /** `capacity`: pairs of user and line item. */
  static allocate(capacity: number = capacityDefault): CapsShared {
    const perStripe = Math.max(viewedPerUserMax, Math.ceil(capacity / stripeCount));
    return {
      locks: SharedLocks.allocate(stripeCount),
      stripes: new SharedArrayBuffer(stripeCount * (stripeWords + perStripe) * 4),
      nodes: new SharedArrayBuffer(stripeCount * perStripe * nodeWords * 4),
    };
  }

  constructor(shared: CapsShared) {
    this.#locks = new SharedLocks(shared.locks);
    this.#stripes = new Int32Array(shared.stripes);
    this.#nodes = new Uint32Array(shared.nodes);
    this.#nodesPerStripe = this.#nodes.length / nodeWords / stripeCount;
    this.#bucketsPerStripe = this.#stripes.length / stripeCount - stripeWords;
  }

  /** Pairs that have made room for others. */
  get evictedCount(): number {
    let total = 0;
    for (let stripe = 0; stripe < stripeCount; stripe++) {
      total += Atomics.load(this.#stripes, this.#stripeAt(stripe) + stripeWord.evicted);
    }
    return total;
  }

  /** Times may go back (clocks do): the oldest of the 16 makes room, whatever the order they came in. */
  recordView(userHigh: number, userLow: number, lineItem: number, nowMs: number, windowMs: number): void {
    const stripe = stripeOf(userHigh, userLow);
    this.#locks.acquire(stripe);
    try {
      const node = this.#nodeFor(stripe, userHigh, userLow, lineItem);
      this.#noteTime(node, secondsUp(nowMs), windowSecondsOf(windowMs));
    } finally {
      this.#locks.release(stripe);
    }
  }

  /**
   * Line items that the user has viewed within their windows and how often (at most 16), the latest first, and those that have
   * reached their cap. `capCount` 0 = no cap; `capWindowMs` 0 = 24 hours.
   */
  collect(
    userHigh: number,
    userLow: number,
    nowMs: number,
    capCount: Uint32Array,
    capWindowMs: Float64Array,
    into: CapsView,
  ): void {
    into.viewCount = 0;
    into.cappedCount = 0;
    const stripe = stripeOf(userHigh, userLow);
    this.#locks.acquire(stripe);
    try {
      const nodes = this.#nodes;
      const nowS = nowMs / 1000;
      let link = this.#stripes[this.#bucketAt(stripe, userHigh, userLow)]!;
      while (link !== nobody) {
        const node = (link - 1) * nodeWords;
        link = nodes[node + nodeWord.chain]!;
        if (nodes[node] !== userHigh || nodes[node + 1] !== userLow) continue;
        const lineItem = nodes[node + nodeWord.lineItem]!;
        const views = this.#viewsWithin(node, nowS, windowSecondsOf(capWindowMs[lineItem]));
        if (views === 0) continue;
        if (into.viewCount < into.viewLineItems.length) {
          into.viewLineItems[into.viewCount] = lineItem;
          into.views[into.viewCount++] = views;
        }
        const cap = capCount[lineItem] ?? 0;
        if (cap > 0 && views >= cap && into.cappedCount < into.cappedLineItems.length) {
          into.cappedLineItems[into.cappedCount++] = lineItem;
        }
      }
    } finally {
      this.#locks.release(stripe);
    }
  }

  /** A view from a clock that ran ahead counts as well, unless it is a whole window ahead. */
  #viewsWithin(node: number, nowS: number, windowS: number): number {
    let count = 0;
    for (let index = 0; index < capCountMax; index++) {
      const time = this.#nodes[node + nodeWord.times + index]!;
      if (time > 0 && Math.abs(nowS - time) < windowS) count++;
    }
    return count;
  }

  #noteTime(node: number, timeS: number, windowS: number): void {
    const nodes = this.#nodes;
    const first = node + nodeWord.times;
    let oldest = first;
    for (let at = first; at < first + capCountMax; at++) {
      // Out of its window for good: a place for the new one.
      if (timeS - nodes[at]! >= windowS) nodes[at] = 0;
      if (nodes[at]! < nodes[oldest]!) oldest = at;
    }
    if (nodes[oldest]! <= timeS) nodes[oldest] = timeS;
  }

  /** The pair's node, moved or put to the front of its chain and of the stripe's order of use. */
  #nodeFor(stripe: number, userHigh: number, userLow: number, lineItem: number): number {
    const nodes = this.#nodes;
    const bucket = this.#bucketAt(stripe, userHigh, userLow);
    let ownCount = 0;
    let lastOwn = nobody;
    let found = nobody;
    for (let link = this.#stripes[bucket]!; link !== nobody; link = nodes[at(link) + nodeWord.chain]!) {
      if (nodes[at(link)] !== userHigh || nodes[at(link) + 1] !== userLow) continue;
      if (nodes[at(link) + nodeWord.lineItem] === lineItem) found = link;
      ownCount++;
      lastOwn = link;
    }
    if (found !== nobody) this.#unlink(stripe, bucket, found);
    else {
      found = this.#freeNode(stripe, bucket, ownCount >= viewedPerUserMax ? lastOwn : nobody);
      nodes.fill(0, at(found), at(found) + nodeWords);
      nodes[at(found)] = userHigh;
      nodes[at(found) + 1] = userLow;
      nodes[at(found) + nodeWord.lineItem] = lineItem;
    }
    this.#linkFirst(stripe, bucket, found);
    return at(found);
  }

  /** A fresh node, else `preferred`, else the stripe's least recently viewed one. */
  #freeNode(stripe: number, bucket: number, preferred: number): number {
    const base = this.#stripeAt(stripe);
    if (preferred !== nobody) {
      this.#unlink(stripe, bucket, preferred);
      Atomics.add(this.#stripes, base + stripeWord.evicted, 1);
      return preferred;
    }
    const used = this.#stripes[base + stripeWord.used]!;
    if (used < this.#nodesPerStripe) {
      this.#stripes[base + stripeWord.used] = used + 1;
      return stripe * this.#nodesPerStripe + used + 1;
    }
    const oldest = this.#stripes[base + stripeWord.oldest]!;
    const node = at(oldest);
    this.#unlink(stripe, this.#bucketAt(stripe, this.#nodes[node]!, this.#nodes[node + 1]!), oldest);
    Atomics.add(this.#stripes, base + stripeWord.evicted, 1);
    return oldest;
  }

  #linkFirst(stripe: number, bucket: number, link: number): void {
    const nodes = this.#nodes;
    const stripes = this.#stripes;
    const base = this.#stripeAt(stripe);
    nodes[at(link) + nodeWord.chain] = stripes[bucket]!;
    stripes[bucket] = link;
    const newest = stripes[base + stripeWord.newest]!;
    nodes[at(link) + nodeWord.older] = newest;
    nodes[at(link) + nodeWord.newer] = nobody;
    if (newest === nobody) stripes[base + stripeWord.oldest] = link;
    else nodes[at(newest) + nodeWord.newer] = link;
    stripes[base + stripeWord.newest] = link;
  }

  #unlink(stripe: number, bucket: number, link: number): void {
    const nodes = this.#nodes;
    const stripes = this.#stripes;
    const base = this.#stripeAt(stripe);
    const next = nodes[at(link) + nodeWord.chain]!;
    if (stripes[bucket] === link) stripes[bucket] = next;
    else {
      let before = stripes[bucket]!;
      while (nodes[at(before) + nodeWord.chain] !== link) before = nodes[at(before) + nodeWord.chain]!;
      nodes[at(before) + nodeWord.chain] = next;
    }
    const newer = nodes[at(link) + nodeWord.newer]!;
    const older = nodes[at(link) + nodeWord.older]!;
    if (newer === nobody) stripes[base + stripeWord.newest] = older;
    else nodes[at(newer) + nodeWord.older] = older;
    if (older === nobody) stripes[base + stripeWord.oldest] = newer;
    else nodes[at(older) + nodeWord.newer] = newer;
  }

  #stripeAt(stripe: number): number {
    return stripe * (stripeWords + this.#bucketsPerStripe);
  }

  #bucketAt(stripe: number, userHigh: number, userLow: number): number {
    const hash = Math.imul(userLow ^ Math.imul(userHigh, 0x85ebca6b), 0xc2b2ae35) >>> 0;
    return this.#stripeAt(stripe) + stripeWords + (hash % this.#bucketsPerStripe);
  }
}

function at(link: number): number {
  return (link - 1) * nodeWords;
}

function stripeOf(userHigh: number, userLow: number): number {
  return (Math.imul(userHigh ^ (userLow >>> 7), 0x9e3779b1) >>> 24) & (stripeCount - 1);
}

function windowSecondsOf(windowMs: number | undefined): number {
  return (windowMs !== undefined && windowMs > 0 ? windowMs : viewWindowMsDefault) / 1000;
}

function secondsUp(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}
