import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { checkContent } from './bundle-checks.ts';
import { BundleError } from './bundle-errors.ts';
import {
  type BundleContent,
  type BundleFile,
  type Manifest,
  type RequiredBundleFile,
  bundleFiles,
  bundleFormatVersion,
  bundleHeads,
  manifestFile,
} from './bundle.ts';
import { calibrationId } from './calibration-file.ts';
import { canonicalJson } from './canonical-json.ts';
import type { FeatureSchema } from './feature-schema.ts';
import { goldenText } from './golden.ts';
import { referenceHeadGraph } from './head-graph.ts';
import { contextTensors, headTensors, rankerTensors, scaleTensors } from './model-tensors.ts';
import { writeSafetensors } from './safetensors.ts';
import { type Signer, sha256Hex } from './signing.ts';
import { splitHead } from './split-head.ts';
import type { TrainedModel } from './trained-model.ts';

/**
 * Writes a trained model as a bundle under `root` and returns its id, which is the name of its directory. What `readBundle`
 * would refuse is refused here, before anything is written. The directory appears whole or not at all, even when the machine
 * fails meanwhile; the same model by the same key gives the same id, and is then left as it is.
 */
export async function writeBundle(root: string, model: TrainedModel, signer: Signer): Promise<string> {
  const content = contentOf(model);
  await checkContent(content);
  for (const [name, value] of Object.entries({ ...model.metrics, ...model.window }))
    if (!Number.isFinite(value)) throw new BundleError('BUNDLE_NOT_FINITE', `${manifestFile}: ${name}`);
  const files = fileBytes(content);
  const unsigned = manifestOf(model, content, files);
  const signed = Buffer.from(canonicalJson(unsigned));
  const manifest: Manifest = { ...unsigned, signature: signer.sign(signed) };
  const id = sha256Hex(signed);
  const entries = [...files, [manifestFile, Buffer.from(canonicalJson(manifest))] as const];
  await mkdir(root, { recursive: true });
  const directory = join(root, id);
  if (await holds(directory, entries)) return id;
  const making = join(root, `.making-${randomUUID()}`);
  await mkdir(making);
  try {
    for (const [name, bytes] of entries) await writeDurably(join(making, name), bytes);
    await syncDirectory(making);
    // A damaged directory of this name is in the way: what it should hold is what is being put there.
    await rm(directory, { recursive: true, force: true });
    await rename(making, directory);
    await syncDirectory(root);
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return id;
}

/** The parts that a bundle adds to what the trainer gave: graphs of the head, whole and split, and the id of the calibration. */
export function contentOf(model: TrainedModel): BundleContent {
  const { schema, head, userTower, adTower, context, ranker, calibration, golden, userScale } = model;
  const split = splitHead(head);
  return {
    schema,
    head,
    headGraph: referenceHeadGraph(head),
    serveGraph: split.serve,
    adPartGraph: split.adPart,
    tables: split.tables,
    userTower,
    adTower,
    context,
    ranker,
    calibration: { id: calibrationId(calibration.heads), heads: calibration.heads },
    golden,
    ...(userScale === undefined ? {} : { userScale }),
  };
}

function fileBytes(content: BundleContent): ReadonlyMap<string, Uint8Array> {
  const { schema, head, context, ranker, calibration, golden, userScale } = content;
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);
  const bytes: Readonly<Record<RequiredBundleFile, Uint8Array> & Partial<Record<BundleFile, Uint8Array>>> = {
    schema: text(JSON.stringify(schema)),
    headGraph: content.headGraph,
    serveGraph: content.serveGraph,
    adPartGraph: content.adPartGraph,
    userTower: content.userTower,
    adTower: content.adTower,
    head: writeSafetensors(headTensors(head)),
    context: writeSafetensors(contextTensors(schema, context, head.dims.user)),
    ranker: writeSafetensors(rankerTensors(schema, ranker)),
    calibration: text(canonicalJson(calibration.heads)),
    golden: text(goldenText(golden)),
    ...(userScale === undefined ? {} : { userScale: writeSafetensors(scaleTensors(userScale)) }),
  };
  return new Map(Object.entries(bytes).map(([file, content]) => [bundleFiles[file as BundleFile].name, content]));
}

function manifestOf(model: TrainedModel, content: BundleContent, files: ReadonlyMap<string, Uint8Array>): Manifest {
  const list = [...files]
    .map(([name, bytes]) => ({ name, sha256: sha256Hex(bytes), bytes: bytes.length }))
    .toSorted((left, right) => (left.name < right.name ? -1 : 1));
  return {
    format_version: bundleFormatVersion,
    parent: model.parent ?? null,
    window: { from_ms: model.window.fromMs, to_ms: model.window.toMs, rows: model.window.rows },
    heads: bundleHeads,
    dims: content.head.dims,
    tables: content.tables,
    metrics: model.metrics,
    tower_version: towerVersionOf(
      content.schema,
      sha256Hex(content.userTower),
      list.find(({ name }) => name === bundleFiles.context.name)!.sha256,
      list.find(({ name }) => name === bundleFiles.userScale.name)?.sha256,
    ),
    calibration_id: content.calibration.id,
    files: list,
  };
}

/**
 * Stored user vectors are right for exactly this user tower, this meaning of its ids, these context rows and, where there is one, this
 * scale: the bytes of an int8 vector mean nothing by another.
 */
export function towerVersionOf(
  schema: FeatureSchema,
  userTowerSha256: string,
  contextSha256: string,
  userScaleSha256: string | undefined,
): string {
  const scale = userScaleSha256 === undefined ? '' : `\n${userScaleSha256}`;
  return sha256Hex(`${userTowerSha256}\n${contextSha256}\n${sha256Hex(canonicalJson(schema.user))}${scale}`);
}

async function holds(directory: string, entries: readonly (readonly [string, Uint8Array])[]): Promise<boolean> {
  try {
    for (const [name, bytes] of entries) {
      if (!(await readFile(join(directory, name))).equals(bytes)) return false;
    }
    return true;
  } catch {
    return false;
  }
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  await withFile(path, 'wx', async (file) => {
    await file.writeFile(bytes);
    await file.sync();
  });
}

async function syncDirectory(path: string): Promise<void> {
  await withFile(path, 'r', (file) => file.sync());
}

async function withFile(path: string, flags: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}
