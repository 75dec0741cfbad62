/** What training and its files can complain about. Every code has a row in this floor's README. */
export const trainerFaults = {
  IMPRESSIONS_UNREADABLE: 'The impressions file cannot be read or written.',
  IMPRESSIONS_DAMAGED: 'The impressions file is not whole: its mark, its lengths or its checksum do not fit.',
  IMPRESSIONS_VERSION: 'The impressions file was written in a format that this version does not know.',
  IMPRESSIONS_INCONSISTENT: 'The columns of the impressions do not fit their schema.',
  TRAINING_TOO_SMALL: 'There are too few impressions or clicks to train and to check a model.',
  TRAINING_DIVERGED: 'Training ran away: a loss or a weight is no longer a number.',
  TRAINING_STOPPED: 'Training was stopped by whoever asked for it.',
} as const;
export type TrainerFault = keyof typeof trainerFaults;

export class TrainerError extends Error {
  override readonly name = 'TrainerError';
  readonly code: TrainerFault;

  constructor(code: TrainerFault, options?: ErrorOptions & { readonly detail?: string }) {
    super(options?.detail === undefined ? trainerFaults[code] : `${trainerFaults[code]} ${options.detail}`, options);
    this.code = code;
  }
}
