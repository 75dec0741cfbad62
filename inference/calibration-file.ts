import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { checkCalibration } from './bundle-checks.ts';
import { BundleError } from './bundle-errors.ts';
import type { CalibrationHeads, CalibrationSet } from './calibration.ts';
import { canonicalJson, parseCanonical } from './canonical-json.ts';
import { readBounded } from './read-bounded.ts';
import { type Signature, type Signer, type Verifier, checkSignature, sha256Hex } from './signing.ts';

/** A thousand knots for each of six calibrators are 250 KB. */
const calibrationBytesMax = 2 ** 20;
const calibrationFormatVersion = 1;

type CalibrationFile = {
  readonly format_version: number;
  readonly id: string;
  readonly model_id: string;
  readonly heads: CalibrationHeads;
  readonly signature?: Signature;
};

/** Names calibrators by what they are: equal calibrators have equal ids. */
export function calibrationId(heads: CalibrationHeads): string {
  return sha256Hex(canonicalJson(heads));
}

/**
 * Writes calibrators for a model that is already out there: `ROOT/MODEL_ID/ID.json`, canonical and signed, put in place in one
 * step. Returns the path; the id is the calibrator id of every auction that they are used in.
 */
export async function writeCalibration(
  root: string,
  modelId: string,
  heads: CalibrationHeads,
  signer: Signer,
): Promise<{ readonly id: string; readonly path: string }> {
  const id = calibrationId(heads);
  checkCalibration({ id, heads }, `${id}.json`);
  const unsigned: CalibrationFile = { format_version: calibrationFormatVersion, id, model_id: modelId, heads };
  const text = canonicalJson(unsigned);
  const signed = { ...unsigned, signature: signer.sign(Buffer.from(text)) };
  const directory = join(root, modelId);
  await mkdir(directory, { recursive: true });
  const path = join(directory, `${id}.json`);
  const making = join(directory, `.making-${randomUUID()}`);
  try {
    const file = await open(making, 'wx');
    try {
      await file.writeFile(canonicalJson(signed));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(making, path);
  } finally {
    await rm(making, { force: true });
  }
  return { id, path };
}

/** Calibrators of `modelId` from a file; whatever is wrong with it is a BundleError. */
export async function readCalibration(
  path: string,
  modelId: string,
  verifier: Verifier | 'any',
): Promise<CalibrationSet> {
  const bytes = await readBounded(path, path, calibrationBytesMax);
  const file = parseCanonical(bytes, path) as Partial<CalibrationFile>;
  if (file.format_version !== calibrationFormatVersion)
    throw new BundleError('BUNDLE_FORMAT_UNKNOWN', `${path}: format_version ${String(file.format_version)}`);
  const { signature, ...unsigned } = file;
  checkSignature(signature, Buffer.from(canonicalJson(unsigned)), verifier, path);
  if (file.model_id !== modelId)
    throw new BundleError('BUNDLE_CALIBRATION_FOREIGN', `${path}: model_id ${String(file.model_id)} is not ${modelId}`);
  const set = { id: String(file.id), heads: file.heads! };
  checkCalibration(set, path);
  if (calibrationId(set.heads) !== set.id) throw new BundleError('BUNDLE_HASH_WRONG', `${path}: id`);
  return set;
}
