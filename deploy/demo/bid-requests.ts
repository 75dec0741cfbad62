import { acceptAllConsent } from './consent-string.ts';
import { AudienceSampler, type ImpressionContext, isEea, newContext } from './context.ts';
import type { MarketLayout } from './layout.ts';
import { categories, countries, genders, languages, sizeClasses } from './words.ts';

/** One request as the exchange sees it: what goes over the wire, and who it really is about. */
export type OrdinaryRequest = {
  readonly id: string;
  readonly user: number;
  readonly context: ImpressionContext;
  readonly floorUsd: number;
  readonly body: object;
};

const deviceTypes = [4, 5, 2, 3, 7];
const osWire = ['iOS', 'Android', 'Windows', 'macOS', 'Linux', 'Other'];
const agents = [
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) AppleWebKit/605.1.15 Version/18.2 Mobile/15E148 Safari/604.1',
  'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/131.0.0.0 Mobile Safari/537.36',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.2 Safari/605.1.15',
  'Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0',
  'Mozilla/5.0 (SmartTV) AppleWebKit/537.36',
];
/** Where consent is needed, most people give it; the rest send no field and are met without a profile. */
const consentShare = 0.85;
/** Real pages are nearly all secure. The demo's own notices are plain http, and a secure page could tell of no click: few are. */
const secureShare = 0.1;
const consent = acceptAllConsent(Date.UTC(2026, 0, 15));
const nativeRequest = JSON.stringify({
  ver: '1.2',
  plcmttype: 1,
  assets: [
    { id: 1, required: 1, title: { len: 90 } },
    { id: 2, required: 1, img: { type: 3, wmin: 300, hmin: 157 } },
    { id: 3, required: 0, data: { type: 1, len: 40 } },
  ],
  eventtrackers: [{ event: 1, methods: [1] }],
});

/** OpenRTB 2.6 requests of ordinary traffic, seeded. `idPrefix` keeps the ids of two drivers apart. */
export class OrdinaryRequests {
  readonly #layout: MarketLayout;
  readonly #random: () => number;
  readonly #audience: AudienceSampler;
  readonly #idPrefix: string;
  #count = 0;

  constructor(layout: MarketLayout, random: () => number, idPrefix: string) {
    this.#layout = layout;
    this.#random = random;
    this.#audience = new AudienceSampler(layout, random);
    this.#idPrefix = idPrefix;
  }

  next(nowMs: number): OrdinaryRequest {
    const random = this.#random;
    const context = newContext();
    const user = this.#audience.drawUser();
    this.#audience.drawContext(user, nowMs, context);
    this.#count += 1;
    const id = `${this.#idPrefix}-${this.#count}`;
    const floorUsd = random() < 0.4 ? 0 : Math.round(random() * 10) / 100;
    const hasConsent = !isEea(context.country) || random() < consentShare;
    const privacy = isEea(context.country) && hasConsent ? { regs: { gdpr: 1 } } : {};
    const body = {
      id,
      imp: [
        {
          id: '1',
          ...this.#slot(context),
          bidfloor: floorUsd,
          bidfloorcur: 'USD',
          secure: random() < secureShare ? 1 : 0,
        },
      ],
      ...this.#place(context),
      device: {
        ua: agents[context.os],
        ip: `10.${Math.floor(random() * 256)}.${Math.floor(random() * 256)}.${1 + Math.floor(random() * 254)}`,
        devicetype: deviceTypes[context.device],
        os: osWire[context.os],
        language: languages[context.language],
        geo: { country: countries[context.country] },
      },
      ...this.#person(user, isEea(context.country) && hasConsent),
      ...privacy,
      at: 1,
      tmax: 100 + Math.floor(random() * 11) * 10,
      ...(random() < 0.2 ? { bcat: [categories[Math.floor(random() * categories.length)]] } : {}),
      ...(random() < 0.1 ? { badv: ['blocked.example'] } : {}),
      source: { tid: id },
    };
    return { id, user, context, floorUsd, body };
  }

  #slot(context: ImpressionContext): object {
    const { format, width, height } = sizeClasses[context.size]!;
    if (format === 'native') return { native: { request: nativeRequest, ver: '1.2' } };
    if (format === 'video') {
      return {
        video: {
          mimes: ['video/mp4'],
          minduration: 5,
          maxduration: 60,
          protocols: [2, 3, 5, 6],
          w: width,
          h: height,
          plcmt: 1,
          linearity: 1,
        },
      };
    }
    return { banner: { w: width, h: height, format: [{ w: width, h: height }], pos: 1 } };
  }

  #place(context: ImpressionContext): object {
    const { site } = context;
    const layout = this.#layout;
    if (site < 0) {
      const domain = `elsewhere${Math.floor(this.#random() * 100_000)}.example`;
      return { site: { id: domain, domain, page: `https://${domain}/`, publisher: { id: 'p-elsewhere' } } };
    }
    const id = layout.siteId(site);
    const cat = [categories[layout.siteCategory[site]!]];
    const publisher = { id: `p${site % 60}` };
    if (layout.siteIsApp[site] === 1) return { app: { id, bundle: id, name: id, cat, publisher } };
    return {
      site: { id, domain: id, cat, page: `https://${id}/page/${Math.floor(this.#random() * 1000)}`, publisher },
    };
  }

  #person(user: number, withConsentString: boolean): object {
    const string = withConsentString ? { consent } : {};
    if (user < 0) {
      // Half of the people without a profile have an id that nobody knows, the rest have none.
      if (this.#random() < 0.5) return withConsentString ? { user: string } : {};
      return { user: { id: `stranger-${Math.floor(this.#random() * 1e9)}`, ...string } };
    }
    const id = this.#layout.userId(user);
    return { user: { id, buyeruid: id, gender: genders[this.#layout.userGender[user]!], ...string } };
  }
}
