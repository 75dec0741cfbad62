import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from './pod.ts';
import { RawConnection } from './raw-http.ts';

type Entry = Readonly<Record<string, unknown>> & { readonly id: string };
type CatalogFile = { readonly advertisers: readonly Entry[]; readonly creatives: readonly Entry[] };

/** Of the size that only probes sell, and of the one that the load asks for. */
const probeSize = { width: 333, height: 77 };
/** Sites that probes are bought on, in turn, so that few words are new; each bids more than the one before it. */
const probeSiteCount = 64;
/** The kernel spreads them over the serving threads: that one of two gets none of 16 happens once in 30,000 times. */
const connectionCount = 16;
const answersMax = 500;
/** A new ad in so many updates: the demo market has room for 1,650 new line items. */
const newEvery = 50;

const banner = (id: string, domain: string, more: object): Entry => ({
  id,
  format: 'banner',
  image_url: `https://cdn.${domain}/${id}.jpg`,
  domain,
  categories: ['IAB3-1'],
  secure: true,
  landing_url: `https://${domain}/${id}`,
  ...more,
});

const lineItem = (id: string, advertiserId: string, creativeIds: readonly string[], more: object): Entry => ({
  id,
  campaign_id: 'cmp-updates',
  advertiser_id: advertiserId,
  status: 'active',
  price_type: 'CPM',
  budget_nanos: 10_000_000_000,
  pacing: 'asap',
  prior_click: 0.01,
  prior_conversion: 0.05,
  creative_ids: creativeIds,
  ...more,
});

async function post(pod: Pod, change: object): Promise<void> {
  const send = (): Promise<Response> =>
    pod.admin('/admin/v1/catalog', { method: 'POST', body: JSON.stringify(change) });
  // Once more when a kept connection was closed under it: a change says how things are to be, so it may be made twice.
  const answer = await send().catch(send);
  const body = await answer.text();
  if (answer.status !== 200) throw new Error(`a change was refused: ${answer.status} ${body.slice(0, 1000)}`);
}

/** Changes a pod's ads at a steady rate: known creatives in other words, and a new ad in fifty. */
export class AdUpdates {
  readonly #pod: Pod;
  readonly #advertiser: string;
  readonly #creatives: readonly Entry[];
  #count = 0;
  #changed = 0;
  #newCount = 0;
  #calls = 0;

  constructor(pod: Pod, catalogPath: string) {
    const { advertisers, creatives } = JSON.parse(readFileSync(catalogPath, 'utf8')) as CatalogFile;
    this.#pod = pod;
    this.#advertiser = advertisers[0]!.id;
    // Other formats have rules of their own about titles.
    this.#creatives = creatives.filter(({ format }) => format === 'banner');
  }

  /** Updates made so far. */
  get count(): number {
    return this.#count;
  }

  /** Open loop: calls of `perCall` updates are due at their times, whatever became of those before. Resolves when all are answered. */
  async run(plan: {
    readonly ratePerSecond: number;
    readonly seconds: number;
    readonly perCall: number;
  }): Promise<void> {
    const startMs = performance.now();
    const callCount = Math.round((plan.ratePerSecond * plan.seconds) / plan.perCall);
    const calls: Promise<void>[] = [];
    const failures: unknown[] = [];
    for (let call = 0; call < callCount && failures.length === 0; call++) {
      const waitMs = startMs + (call * plan.perCall * 1000) / plan.ratePerSecond - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      calls.push(
        this.#call(plan.perCall).catch((error: unknown) => {
          failures.push(error);
        }),
      );
    }
    await Promise.all(calls);
    if (failures.length > 0) throw failures[0];
  }

  async #call(updateCount: number): Promise<void> {
    const call = this.#calls++;
    const changed: Entry[] = [];
    const added: Entry[] = [];
    for (let update = 0; update < updateCount; update++) {
      if ((call * updateCount + update) % newEvery === 0) {
        const more = { width: 300, height: 250, title: 'New' };
        added.push(banner(`cr-update-${this.#newCount++}`, 'updates.example', more));
      } else {
        const known = this.#creatives[this.#changed % this.#creatives.length]!;
        changed.push({ ...known, title: `Offer ${Math.floor(this.#changed++ / this.#creatives.length)}.${call % 7}` });
      }
    }
    await post(this.#pod, {
      creatives: [...changed, ...added],
      line_items:
        added.length === 0
          ? []
          : [
              lineItem(
                `li-update-${call}`,
                this.#advertiser,
                added.map(({ id }) => id),
                { bid_nanos: 1000 },
              ),
            ],
    });
    this.#count += updateCount;
  }
}

/** When a probe's ad was on the way. */
export type ProbeTimes = {
  /** From the admin call to its answer, and to the first bid with the new ad on the last connection. */
  readonly answeredMs: number;
  readonly visibleMs: number;
  /** Answers without it that came to requests sent after the admin call was answered. */
  readonly staleAnswers: number;
};

/** Adds and changes ads that nobody else competes with, and asks for them over connections to every serving thread. */
export class AdProbe {
  readonly #pod: Pod;
  readonly #advertiser = 'adv-probe';
  readonly #connections: readonly RawConnection[];
  #count = 0;
  #version = 0;

  private constructor(pod: Pod, connections: readonly RawConnection[]) {
    this.#pod = pod;
    this.#connections = connections;
  }

  static async open(pod: Pod): Promise<AdProbe> {
    const connections = await Promise.all(
      Array.from({ length: connectionCount }, () => RawConnection.open(pod.bidPort)),
    );
    const probe = new AdProbe(pod, connections);
    await post(pod, {
      advertisers: [{ id: probe.#advertiser, name: 'Probe', domain: 'probe.example', category: 'IAB3' }],
    });
    return probe;
  }

  close(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  /** A new ad: how long until every connection has seen a bid with it. */
  async addAd(): Promise<ProbeTimes> {
    const number = this.#count++;
    const id = `probe-${number}`;
    return this.#timed(
      {
        creatives: [this.#creative(id, this.#version)],
        line_items: [
          lineItem(id, this.#advertiser, [id], {
            bid_nanos: 1_000_000 + 1000 * number,
            targeting: { sites_allow: [this.#siteOf(number)] },
          }),
        ],
      },
      number,
      this.#version,
    );
  }

  /** The creative of the last ad in other words: how long until every connection has seen them. */
  async changeAd(): Promise<ProbeTimes> {
    const number = this.#count - 1;
    this.#version++;
    return this.#timed({ creatives: [this.#creative(`probe-${number}`, this.#version)] }, number, this.#version);
  }

  /** Every text says which version of the creative it belongs to. */
  #creative(id: string, version: number): Entry {
    return banner(id, 'probe.example', {
      ...probeSize,
      image_url: `https://cdn.probe.example/version-${version}.jpg`,
      landing_url: `https://probe.example/version-${version}`,
      title: `version-${version}`,
    });
  }

  #siteOf(number: number): string {
    return `probe-${number % probeSiteCount}.example`;
  }

  async #timed(change: object, number: number, version: number): Promise<ProbeTimes> {
    const startMs = performance.now();
    const answered = post(this.#pod, change).then(() => performance.now());
    let isAnswered = false;
    void answered.then(
      () => {
        isAnswered = true;
      },
      () => {},
    );
    const seen = await Promise.all(
      this.#connections.map(async (connection) => {
        let staleAnswers = 0;
        for (let answer = 0; answer < answersMax; answer++) {
          const wasAnswered = isAnswered;
          if (await this.#isShown(connection, number, version)) return { ms: performance.now(), staleAnswers };
          if (wasAnswered) staleAnswers++;
          await sleep(1);
        }
        throw new Error(`probe-${number} in version ${version} is not shown after ${answersMax} answers`);
      }),
    );
    return {
      answeredMs: (await answered) - startMs,
      visibleMs: Math.max(...seen.map(({ ms }) => ms)) - startMs,
      staleAnswers: seen.reduce((sum, each) => sum + each.staleAnswers, 0),
    };
  }

  /** Throws when the answer is no whole bid: of another ad than it says, or with words of two versions. */
  async #isShown(connection: RawConnection, number: number, version: number): Promise<boolean> {
    const body = JSON.stringify({
      id: 'probe',
      test: 1,
      tmax: 1000,
      imp: [{ id: '1', secure: 1, banner: { w: probeSize.width, h: probeSize.height } }],
      site: { domain: this.#siteOf(number) },
      device: { geo: { country: 'USA' } },
    });
    connection.send(
      `POST /openrtb2/bid HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    const answer = await connection.answer();
    if (answer === undefined) throw new Error('the pod hung up');
    if (answer.status !== 200 && answer.status !== 204) throw new Error(`status ${answer.status}: ${answer.body}`);
    if (answer.status === 204) return false;
    const { seatbid = [] } = JSON.parse(answer.body) as {
      seatbid?: { bid: { adid: string; crid: string; adm: string }[] }[];
    };
    const bid = seatbid[0]?.bid[0];
    if (bid === undefined) return false;
    const versions = new Set(Array.from(bid.adm.matchAll(/version-(\d+)/gu), ([, found]) => found));
    if (bid.adid !== `${bid.crid}.${bid.crid}` || versions.size !== 1)
      throw new Error(`a torn bid: ${JSON.stringify(bid)}`);
    return bid.crid === `probe-${number}` && versions.has(String(version));
  }
}
