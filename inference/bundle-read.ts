import { basename, join, resolve } from 'node:path';
import { checkContent, checkSchema } from './bundle-checks.ts';
import { BundleError } from './bundle-errors.ts';
import {
  type Bundle,
  type BundleFile,
  type Manifest,
  type OptionalBundleFile,
  type RequiredBundleFile,
  bundleFiles,
  bundleFormatVersion,
  bundleHeads,
  manifestBytesMax,
  manifestFile,
} from './bundle.ts';
import { towerVersionOf } from './bundle-write.ts';
import type { CalibrationHeads } from './calibration.ts';
import { type JsonValue, canonicalJson, parseCanonical } from './canonical-json.ts';
import type { FeatureSchema } from './feature-schema.ts';
import { readGolden } from './golden.ts';
import { contextOf, headOf, rankerOf, scaleOf } from './model-tensors.ts';
import { readBounded } from './read-bounded.ts';
import { readSafetensors } from './safetensors.ts';
import { type Verifier, checkSignature, sha256Hex } from './signing.ts';

const dimensionMax = 4096;
const fileCountMax = 64;

/**
 * Reads a bundle and checks all of it: every hash and size, the signature (unless anybody's is good enough: 'any'), the schema,
 * the shapes, that every number is finite, and that both forms of the head give the golden rows' scores. Throws a BundleError
 * that names the file and the field; a bundle that is returned can serve.
 */
export async function readBundle(directory: string, verifier: Verifier | 'any'): Promise<Bundle> {
  const { manifest, id } = await readManifest(directory, verifier);
  const bytes = await readFiles(directory, manifest);
  const text = (file: RequiredBundleFile): string => new TextDecoder().decode(bytes[file]);
  const tensors = (file: RequiredBundleFile) => readSafetensors(bytes[file], bundleFiles[file].name);
  const schema = json(text('schema'), bundleFiles.schema.name, 'BUNDLE_SCHEMA_INVALID') as FeatureSchema;
  checkSchema(schema);
  const sha256 = (file: RequiredBundleFile): string => listedSha256(manifest, file)!;
  const towerVersion = towerVersionOf(
    schema,
    sha256('userTower'),
    sha256('context'),
    listedSha256(manifest, 'userScale'),
  );
  if (manifest.tower_version !== towerVersion)
    throw new BundleError('BUNDLE_HASH_WRONG', `${manifestFile}: tower_version`);
  const heads = json(
    text('calibration'),
    bundleFiles.calibration.name,
    'BUNDLE_CALIBRATION_INVALID',
  ) as CalibrationHeads;
  // The file is the canonical text of the calibrators, so its hash is their id.
  if (sha256('calibration') !== manifest.calibration_id)
    throw new BundleError('BUNDLE_HASH_WRONG', `${manifestFile}: calibration_id`);
  const bundle: Bundle = {
    id,
    directory: resolve(directory),
    towerVersion,
    manifest,
    schema,
    head: headOf(tensors('head'), manifest.dims),
    headGraph: bytes.headGraph,
    serveGraph: bytes.serveGraph,
    adPartGraph: bytes.adPartGraph,
    tables: manifest.tables,
    userTower: bytes.userTower,
    adTower: bytes.adTower,
    context: contextOf(tensors('context'), schema),
    ranker: rankerOf(tensors('ranker'), schema),
    calibration: { id: manifest.calibration_id, heads },
    golden: readGolden(text('golden')),
    ...(bytes.userScale === undefined
      ? {}
      : {
          userScale: scaleOf(readSafetensors(bytes.userScale, bundleFiles.userScale.name), manifest.dims.user),
        }),
  };
  await checkContent(bundle);
  return bundle;
}

/** Manifest and id of a bundle whose name, spelling and signature are right: what lists and plans need, without its files. */
export async function readManifest(
  directory: string,
  verifier: Verifier | 'any',
): Promise<{ readonly manifest: Manifest; readonly id: string }> {
  const value = parseCanonical(
    await readBounded(join(directory, manifestFile), manifestFile, manifestBytesMax),
    manifestFile,
  );
  if (value['format_version'] !== bundleFormatVersion)
    throw new BundleError(
      'BUNDLE_FORMAT_UNKNOWN',
      `${manifestFile}: format_version ${JSON.stringify(value['format_version'])}`,
    );
  const { signature, ...unsigned } = value;
  const signed = Buffer.from(canonicalJson(unsigned as JsonValue));
  checkSignature(signature, signed, verifier, manifestFile);
  const id = sha256Hex(signed);
  if (basename(resolve(directory)) !== id)
    throw new BundleError('BUNDLE_HASH_WRONG', `${manifestFile}: the directory should be called ${id}`);
  return { manifest: checkManifest(value), id };
}

function checkManifest(value: Readonly<Record<string, unknown>>): Manifest {
  const refuse = (field: string, why: string): BundleError =>
    new BundleError('BUNDLE_MANIFEST_INVALID', `${manifestFile}: ${field} ${why}`);
  const manifest = value as Partial<Manifest>;
  const { parent, window, heads, dims, tables, metrics, tower_version, calibration_id, files } = manifest;
  if (parent !== null && typeof parent !== 'string') throw refuse('parent', 'must be a bundle id or null');
  for (const name of ['from_ms', 'to_ms', 'rows'] as const)
    if (typeof window?.[name] !== 'number') throw refuse(`window.${name}`, 'must be a number');
  if (!Array.isArray(heads) || heads.join() !== bundleHeads.join())
    throw refuse('heads', `must be ${bundleHeads.join()}`);
  for (const name of ['user', 'ad', 'cross', 'rank', 'hidden1', 'hidden2', 'heads'] as const) {
    const size = dims?.[name];
    if (!isCount(size) || size < 1 || size > dimensionMax) throw refuse(`dims.${name}`, `must be 1 to ${dimensionMax}`);
  }
  if (!Array.isArray(tables) || tables.length === 0 || tables.length > fileCountMax)
    throw refuse('tables', 'must be a list of tables');
  for (const [index, table] of tables.entries()) {
    if (typeof table?.name !== 'string' || !isCount(table.width) || table.width < 1 || table.width > dimensionMax)
      throw refuse(`tables[${index}]`, `must hold a name and a width of 1 to ${dimensionMax}`);
  }
  if (
    typeof metrics !== 'object' ||
    metrics === null ||
    !Object.values(metrics).every((each) => typeof each === 'number')
  )
    throw refuse('metrics', 'must hold numbers');
  if (!isHash(tower_version)) throw refuse('tower_version', 'must be a sha256');
  if (!isHash(calibration_id)) throw refuse('calibration_id', 'must be a sha256');
  if (!Array.isArray(files) || files.length > fileCountMax) throw refuse('files', 'must be a list of files');
  for (const [index, file] of files.entries()) {
    if (typeof file?.name !== 'string' || !isHash(file.sha256) || !isCount(file.bytes))
      throw refuse(`files[${index}]`, 'must hold name, sha256 and bytes');
  }
  return manifest as Manifest;
}

type BundleBytes = Readonly<Record<RequiredBundleFile, Buffer> & Partial<Record<OptionalBundleFile, Buffer>>>;
const optionalFiles: ReadonlySet<string> = new Set<OptionalBundleFile>(['userScale']);

function listedSha256({ files }: Manifest, file: BundleFile): string | undefined {
  return files.find(({ name }) => name === bundleFiles[file].name)?.sha256;
}

/** Every known file with its bytes. A file that this release does not know would be content that nobody checked: refused. */
async function readFiles(directory: string, manifest: Manifest): Promise<BundleBytes> {
  const listed = new Map(manifest.files.map((file) => [file.name, file]));
  if (listed.size !== manifest.files.length)
    throw new BundleError('BUNDLE_MANIFEST_INVALID', `${manifestFile}: files: a name stands twice`);
  const bytes: Partial<Record<BundleFile, Buffer>> = {};
  for (const [file, { name, bytesMax }] of Object.entries(bundleFiles)) {
    const entry = listed.get(name);
    if (entry === undefined && optionalFiles.has(file)) continue;
    if (entry === undefined)
      throw new BundleError('BUNDLE_FILE_MISSING', `${manifestFile}: files does not list ${name}`);
    listed.delete(name);
    const content = await readBounded(join(directory, name), name, bytesMax, entry.bytes);
    if (sha256Hex(content) !== entry.sha256) throw new BundleError('BUNDLE_HASH_WRONG', name);
    bytes[file as BundleFile] = content;
  }
  const [unknown] = listed.keys();
  if (unknown !== undefined)
    throw new BundleError(
      'BUNDLE_MANIFEST_INVALID',
      `${manifestFile}: files: ${JSON.stringify(unknown)} is not a file of a bundle`,
    );
  return bytes as BundleBytes;
}

function json(text: string, file: string, code: 'BUNDLE_SCHEMA_INVALID' | 'BUNDLE_CALIBRATION_INVALID'): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new BundleError(code, `${file}: not JSON`, { cause });
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/u.test(value);
}
