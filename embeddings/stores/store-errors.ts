export const storeFaults = {
  STORE_UNREACHABLE: 'The store does not answer at this address.',
  STORE_REFUSED: 'The store answers, but does not let us in: name or password is wrong, or it needs one.',
  STORE_TIMEOUT: 'The store took longer than its limit.',
  STORE_BUSY: 'As many calls are under way to this shard as it is allowed.',
  STORE_FAULTY: 'The store answered with an error, or with bytes that its protocol does not know.',
  STORE_CLOSED: 'The store has been closed.',
  STORE_ADDRESS_INVALID: 'The address of a store cannot be read.',
  STORE_KEY_TOO_LONG: 'A key is longer than stores take.',
  STORE_VALUE_TOO_LONG: 'A value is longer than stores take.',
} as const;
export type StoreFault = keyof typeof storeFaults;

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreFault;

  constructor(code: StoreFault, detail = '', options?: ErrorOptions) {
    super(detail === '' ? storeFaults[code] : `${storeFaults[code]} ${detail}`, options);
    this.code = code;
  }
}
