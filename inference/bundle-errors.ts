export const bundleFaults = {
  BUNDLE_FILE_MISSING: 'A file of the bundle is missing or is not a plain file.',
  BUNDLE_FILE_SIZE: 'A file of the bundle is larger than it may be, or not as large as the manifest says.',
  BUNDLE_HASH_WRONG: 'What lies on disk is not what the manifest names by its hash.',
  BUNDLE_MANIFEST_INVALID: 'The manifest is not JSON, or a field is missing or of the wrong kind.',
  BUNDLE_MANIFEST_NOT_CANONICAL: 'The manifest is not written in canonical JSON, so its hash would not be its name.',
  BUNDLE_FORMAT_UNKNOWN: 'The bundle has a format version that this release does not read.',
  BUNDLE_UNSIGNED: 'The manifest carries no signature.',
  BUNDLE_KEY_UNKNOWN: 'The manifest is signed by a key that this server does not trust.',
  BUNDLE_SIGNATURE_WRONG: 'The signature does not belong to this manifest.',
  BUNDLE_SCHEMA_INVALID: 'The feature schema breaks a rule.',
  BUNDLE_TENSORS_INVALID: 'Weights are missing, unreadable or of another shape than the schema and the dims ask for.',
  BUNDLE_NOT_FINITE: 'A weight or a score is not a finite number.',
  BUNDLE_CALIBRATION_INVALID: 'A calibrator is missing or is not monotone.',
  BUNDLE_CALIBRATION_FOREIGN: 'The calibration was made for another model.',
  BUNDLE_GRAPH_UNUSABLE: 'A graph does not load or run, or its inputs and outputs are not the agreed ones.',
  BUNDLE_GOLDEN_INVALID: 'The golden rows are unreadable, too many, none, or hold ids outside the schema.',
  BUNDLE_GOLDEN_MISMATCH: 'A golden row is not scored as it was recorded.',
  SIGNING_KEY_UNUSABLE: 'The signing key file does not hold an ed25519 private key.',
} as const;
export type BundleFault = keyof typeof bundleFaults;

/** Why a bundle was refused: a code for machines, and the file and field for people. */
export class BundleError extends Error {
  override readonly name = 'BundleError';
  readonly code: BundleFault;
  readonly detail: string;

  constructor(code: BundleFault, detail: string, options?: ErrorOptions) {
    super(`${bundleFaults[code]} ${detail}`, options);
    this.code = code;
    this.detail = detail;
  }
}
