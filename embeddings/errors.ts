export const embeddingFaults = {
  ROW_OUT_OF_RANGE: 'A row number lies outside the table.',
  SIZE_MISMATCH: 'The numbers handed over are not as many as the table asks for.',
  ID_INDEX_FULL: 'The index of ids has no room left: it was sized for fewer ids or shorter ones.',
  ID_TOO_LONG: 'An id is longer than the index takes.',
  USER_TABLE_FULL: 'The table of users has no row left.',
  VALUE_NOT_FINITE: 'A vector holds something that is no finite number.',
  TABLE_FILE_FOREIGN: 'The file is no table of ours.',
  TABLE_FILE_VERSION: 'The file is a table of another format version.',
  TABLE_FILE_TRUNCATED: 'The file of a table is shorter or longer than its header says.',
  TABLE_FILE_DAMAGED: 'The file of a table does not match its checksums.',
} as const;
export type EmbeddingFault = keyof typeof embeddingFaults;

export class EmbeddingError extends Error {
  override readonly name = 'EmbeddingError';
  readonly code: EmbeddingFault;

  constructor(code: EmbeddingFault, detail = '', options?: ErrorOptions) {
    super(detail === '' ? embeddingFaults[code] : `${embeddingFaults[code]} ${detail}`, options);
    this.code = code;
  }
}
