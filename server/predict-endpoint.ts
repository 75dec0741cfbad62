import type { RequestFault } from './bid-request.ts';
import type { Flight } from './flight.ts';
import { FlightDesk } from './flight-desk.ts';
import type { HttpHandler, Route } from './http-listener.ts';
import { readPredictRequest } from './predict-request.ts';
import { rungNames } from './rungs.ts';
import { stageSeries } from './telemetry.ts';
import { jsonHeaders, readV1, refuse, shed, type V1Context } from './v1-endpoint.ts';

export type PredictContext = V1Context & {
  /** −1: no such ad. */
  readonly rowOfAd: (adId: string) => number;
  /** Whether the ad of a row is still in the catalog; whether it is for sale does not matter here. */
  readonly isLive: (row: number) => boolean;
};

const q30One = 2 ** 30;
const shownCharsMax = 128;

/**
 * `POST /v1/predict`: calibrated probabilities for ads that the caller names, in the order asked. Under load it answers on a
 * cheaper rung and says which; it is never late on purpose, because a prediction that comes late is still one.
 */
export class PredictEndpoint {
  readonly #context: PredictContext;
  readonly #desk: FlightDesk;
  /** The ids as they were asked for, of the flights under way. */
  readonly #adIds = new WeakMap<Flight, readonly string[]>();

  constructor(context: PredictContext) {
    this.#context = context;
    this.#desk = new FlightDesk(context);
  }

  get routes(): Route[] {
    return [{ path: '/v1/predict', methods: ['POST'], handle: this.handle }];
  }

  readonly handle: HttpHandler = (http, respond) => {
    const context = this.#context;
    const startedMs = context.now();
    const asked = readV1(context, http, respond);
    if (asked === undefined) return;
    const { caller } = asked;
    const read = readPredictRequest(asked.body);
    if (read.kind === 'fault') return refuse(context, respond, read, caller.id);
    const { request, adIds } = read;
    const rows = adIds.map((adId) => this.#rowOf(adId));
    const unknown = rows.indexOf(-1);
    if (unknown >= 0) return refuse(context, respond, unknownAd(adIds[unknown]!, unknown), caller.id);
    context.telemetry.record(stageSeries.parse, context.now() - startedMs);
    const flight = this.#desk.open({
      http,
      respond,
      caller,
      request,
      surface: 'predict',
      mechanism: 0,
      startedMs,
      done: this.#done,
    });
    if (typeof flight === 'string') return shed(context, respond);
    flight.namedRows.set(rows);
    flight.namedRowCount = rows.length;
    this.#adIds.set(flight, adIds);
    this.#desk.run(flight, request);
  };

  #rowOf(adId: string): number {
    const { rowOfAd, isLive } = this.#context;
    const row = rowOfAd(adId);
    return row >= 0 && isLive(row) ? row : -1;
  }

  readonly #done = (flight: Flight): void => {
    const { now, onError } = this.#context;
    const { respond } = flight;
    try {
      const answerStartedMs = now();
      flight.draft.timeMs = answerStartedMs;
      const body = this.#answer(flight, this.#adIds.get(flight)!);
      flight.respond = undefined;
      respond!(200, jsonHeaders, body);
      this.#desk.answered(flight, answerStartedMs);
    } catch (error) {
      onError(error);
      const isOwed = flight.respond !== undefined;
      if (flight.isOut) this.#desk.forget(flight);
      if (isOwed) respond!(500, jsonHeaders, '');
    }
  };

  #answer({ draft, request, rung }: Flight, adIds: readonly string[]): string {
    let predictions = '';
    for (let index = 0; index < draft.candidateCount; index++) {
      const adId = JSON.stringify(adIds[index]!);
      const click = draft.candidateClickQ30[index]! / q30One;
      const conversion = draft.candidateConversionQ30[index]! / q30One;
      predictions += `${index === 0 ? '' : ','}{"ad_id":${adId},"p_click":${click},"p_conversion":${conversion}}`;
    }
    return `{"id":${JSON.stringify(request!.id)},"model_id":${JSON.stringify(draft.modelId)},"rung":"${rungNames[rung]!}","predictions":[${predictions}]}`;
  }
}

function unknownAd(adId: string, index: number): RequestFault {
  // The id is the caller's own text, cut: it goes back to him, and into no log.
  const shown = adId.length > shownCharsMax ? `${adId.slice(0, shownCharsMax)}…` : adId;
  return { kind: 'fault', code: 'UNKNOWN_AD', path: `ad_ids[${index}]`, message: `no ad has the id "${shown}"` };
}
