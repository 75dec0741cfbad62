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
  readonly adIdOf: (row: number) => string;
};

const q30One = 2 ** 30;

/**
 * `POST /v1/predict`: calibrated probabilities for ads that the caller names, in the order asked. Under load it answers on a
 * cheaper rung and says which; it is never late on purpose, because a prediction that comes late is still one.
 */
export class PredictEndpoint {
  readonly #context: PredictContext;
  readonly #desk: FlightDesk;

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
    const unknown = read.kind === 'fault' ? read : this.#unknownAd(read.adIds);
    if (read.kind === 'fault' || unknown !== undefined) return refuse(context, respond, unknown!, caller.id);
    const { request, adIds } = read;
    context.telemetry.record(stageSeries.parse, context.now() - startedMs);
    const flight = this.#desk.open({
      http,
      respond,
      caller,
      request,
      surface: 'predict',
      mechanism: 0,
      startedMs,
      namedRowCount: adIds.length,
      done: this.#done,
    });
    if (typeof flight === 'string') return shed(context, respond);
    for (let index = 0; index < adIds.length; index++) flight.namedRows[index] = context.rowOfAd(adIds[index]!);
    flight.namedRowCount = adIds.length;
    try {
      context.flow.run(flight, request);
    } catch (error) {
      this.#desk.forget(flight);
      throw error;
    }
  };

  #unknownAd(adIds: readonly string[]): RequestFault | undefined {
    const index = adIds.findIndex((adId) => this.#context.rowOfAd(adId) < 0);
    if (index < 0) return undefined;
    const shown = adIds[index]!.slice(0, 64);
    return { kind: 'fault', code: 'UNKNOWN_AD', path: `ad_ids[${index}]`, message: `no ad has the id ${shown}` };
  }

  readonly #done = (flight: Flight): void => {
    const { now, onError } = this.#context;
    const { respond } = flight;
    try {
      const answerStartedMs = now();
      flight.draft.timeMs = answerStartedMs;
      const body = this.#answer(flight);
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

  #answer({ draft, request, rung }: Flight): string {
    let predictions = '';
    for (let index = 0; index < draft.candidateCount; index++) {
      const adId = JSON.stringify(this.#context.adIdOf(draft.candidateAdRow[index]!));
      const click = draft.candidateClickQ30[index]! / q30One;
      const conversion = draft.candidateConversionQ30[index]! / q30One;
      predictions += `${index === 0 ? '' : ','}{"ad_id":${adId},"p_click":${click},"p_conversion":${conversion}}`;
    }
    return `{"id":${JSON.stringify(request!.id)},"model_id":${JSON.stringify(draft.modelId)},"rung":"${rungNames[rung]!}","predictions":[${predictions}]}`;
  }
}
