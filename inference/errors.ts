export const scoringFaults = {
  MODEL_SLOT_BUSY: 'The place for this model is taken: unload the model that holds it first.',
  MODEL_MALFORMED: 'The serving graph, its tables and its golden rows do not fit together.',
  MODEL_LOAD_FAILED: 'The runtime refused the serving graph.',
  MODEL_GOLDEN_MISMATCH: 'The model does not give its golden rows the scores that it came with.',
  PROVIDER_UNAVAILABLE: 'The execution provider that was asked for cannot be used on this machine.',
  SCORING_THREAD_DIED: 'A scoring thread ended before it was ready to serve.',
  SCORING_STOPPED: 'The scoring threads have been stopped.',
} as const;
export type ScoringFault = keyof typeof scoringFaults;

export class ScoringError extends Error {
  override readonly name = 'ScoringError';
  readonly code: ScoringFault;
  /** What exactly, beside the general text: a name, a number, the runtime's own words. */
  readonly detail: string;

  constructor(code: ScoringFault, detail = '', options?: ErrorOptions) {
    super(detail === '' ? scoringFaults[code] : `${scoringFaults[code]} ${detail}`, options);
    this.code = code;
    this.detail = detail;
  }
}
