import type { RequestFault, RequestFaultCode } from './bid-request.ts';
import type { Caller, Callers } from './callers.ts';
import { type ServerFault, serverFaults } from './errors.ts';
import type { DeskContext } from './flight-desk.ts';
import type { HttpRequest, Respond, ResponseHeaders } from './http-listener.ts';
import type { JsonObject } from './openrtb-coercion.ts';
import { parseJsonObject } from './parse-json.ts';
import { requestBody } from './request-body.ts';
import { counterIndex } from './telemetry.ts';

/** What `/v1/predict` and `/v1/auction` ask of the process. */
export type V1Context = DeskContext & {
  readonly callers: Callers;
  readonly bodyBytesMax: number;
  readonly onFault: (fault: RequestFault, callerId: string) => void;
  readonly onError: (error: unknown) => void;
};

export const jsonHeaders: ResponseHeaders = [['content-type', 'application/json']];
const comeAgain: ResponseHeaders = [...jsonHeaders, ['retry-after', '1']];

function errorBody(code: RequestFaultCode | ServerFault, path: string, message: string): string {
  return JSON.stringify({ error: { code, path, message } });
}

/** Who asks and what, or undefined: then the answer is already given. */
export function readV1(
  context: V1Context,
  http: HttpRequest,
  respond: Respond,
): { readonly caller: Caller; readonly body: JsonObject } | undefined {
  const { telemetry, callers, bodyBytesMax } = context;
  telemetry.count(counterIndex.requests);
  const caller = callers.find(http.header('x-gavelin-key'), () => http.remoteAddress);
  if (caller === undefined) {
    refuse(context, respond, unknownCaller, '');
    return undefined;
  }
  const body = requestBody(http, bodyBytesMax);
  const parsed = body.kind === 'fault' ? body : parseJsonObject(body.bytes);
  if (parsed.kind === 'object') return { caller, body: parsed.object };
  refuse(context, respond, parsed, caller.id);
  return undefined;
}

const unknownCaller: RequestFault = {
  kind: 'fault',
  code: 'CALLER_UNKNOWN',
  path: '',
  message: 'needs a known key in x-gavelin-key',
};

export function refuse(
  { telemetry, onFault }: V1Context,
  respond: Respond,
  fault: RequestFault,
  callerId: string,
): void {
  telemetry.count(counterIndex.faults);
  onFault(fault, callerId);
  const status = fault.code === 'CALLER_UNKNOWN' ? 401 : 400;
  respond(status, jsonHeaders, errorBody(fault.code, fault.path, fault.message));
}

/** Too much is under way: not the request's fault, and another try may do. */
export function shed({ telemetry }: V1Context, respond: Respond): void {
  telemetry.count(counterIndex.shed);
  respond(503, comeAgain, errorBody('OVERLOADED', '', serverFaults.OVERLOADED));
}
