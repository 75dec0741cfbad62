export { requestFaults } from './bid-request.ts';

export const serverFaults = {
  LISTEN_FAILED: 'The address cannot be listened on.',
  CALLERS_INVALID: 'The callers file has mistakes.',
  RATES_INVALID: 'The rates file has mistakes.',
  OVERLOADED: 'More requests are under way than this process was sized for.',
} as const;
export type ServerFault = keyof typeof serverFaults;

export class ServerError extends Error {
  override readonly name = 'ServerError';
  readonly code: ServerFault;

  constructor(code: ServerFault, options?: ErrorOptions & { detail?: string }) {
    super(options?.detail === undefined ? serverFaults[code] : `${serverFaults[code]} ${options.detail}`, options);
    this.code = code;
  }
}

/** One mistake of a file that an operator wrote: where, and what is wrong. */
export type FileProblem = { readonly path: string; readonly message: string };

/** All mistakes of a file as one error, one per line. */
export function fileError(code: ServerFault, problems: readonly FileProblem[]): ServerError {
  return new ServerError(code, { detail: problems.map(({ path, message }) => `\n${path} ${message}`).join('') });
}
