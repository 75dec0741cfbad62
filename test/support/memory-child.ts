import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildCatalog, headroomDefault } from '#auction/catalog-build.ts';
import { readCatalogFile } from '#auction/catalog-file.ts';
import { catalogMemory } from '#auction/catalog-shared.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { writeCatalog } from '#deploy/demo/market.ts';
import { buildModelShared, modelMemory } from '#inference/model-tables.ts';
import { smallBundle } from './small-model.ts';

/**
 * One market of `ads` ads in shared memory, as a server holds it, in a process of its own: prints bytes by part and resident
 * memory as one JSON line. The priors do not matter here, so no world is asked.
 */
const ads = Number(process.argv[2]);
const folder = mkdtempSync(join(tmpdir(), 'gavelin-memory-'));
const path = join(folder, 'catalog.json');
const layout = new MarketLayout({ ads, users: 100, rows: 0, seed: 1 });
writeCatalog(path, layout, { roughClickPrior: () => 0.02, roughConversionPrior: () => 0.05 });
const collect = globalThis.gc ?? (() => {});
collect();
const rssBefore = process.memoryUsage.rss();
const startedMs = performance.now();
const read = readCatalogFile(path);
if (read.kind === 'problems') throw new Error(JSON.stringify(read.problems));
const writer = buildCatalog(read.spec, headroomDefault);
const catalogSeconds = (performance.now() - startedMs) / 1000;
const { catalog } = writer;
const bundle = await smallBundle(1, {});
const tables = await buildModelShared(bundle, 0, (row) => catalog.adWords(row), catalog.adCount, catalog.adCapacity);
const modelSeconds = (performance.now() - startedMs) / 1000 - catalogSeconds;
collect();
process.stdout.write(
  `${JSON.stringify({
    ads: catalog.adCount,
    capacity: catalog.adCapacity,
    catalog: catalogMemory(writer.shared, writer.indexShared),
    model: modelMemory(tables.shared),
    rssBytes: process.memoryUsage.rss(),
    rssGrowthBytes: process.memoryUsage.rss() - rssBefore,
    catalogSeconds,
    modelSeconds,
  })}\n`,
);
rmSync(folder, { recursive: true, force: true });
process.exit(0);
