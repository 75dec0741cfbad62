import { bundleFiles, type BundleContent } from './bundle.ts';
import { placeCount } from './field-places.ts';
import { Graph, Tower, floats } from './tower.ts';

/** Ids of ads in, every per-ad table of the serving graph out: vectors by the ad tower, projections by the head's ad part. */
export class AdTower {
  readonly idsPerRow: number;
  readonly #tower: Tower;
  readonly #adPart: Graph;
  readonly #dimension: number;
  readonly #projections: readonly { readonly name: string; readonly width: number }[];

  private constructor(tower: Tower, adPart: Graph, { schema, head, tables }: AdTowerContent) {
    this.#tower = tower;
    this.#adPart = adPart;
    this.idsPerRow = placeCount(schema.ad);
    this.#dimension = head.dims.ad;
    this.#projections = tables.filter(({ name }) => name !== vectorTable);
  }

  static async open(content: AdTowerContent): Promise<AdTower> {
    const { schema, head } = content;
    const tower = await Tower.open(content.adTower, bundleFiles.adTower.name, placeCount(schema.ad), head.dims.ad);
    return new AdTower(tower, await Graph.open(content.adPartGraph, bundleFiles.adPartGraph.name), content);
  }

  /** By table name, [count × width]. */
  async tablesOf(ids: Int32Array, count: number): Promise<Readonly<Record<string, Float32Array>>> {
    const vectors = await this.#tower.vectors(ids, count);
    const widths = Object.fromEntries(this.#projections.map(({ name, width }) => [name, count * width]));
    const projected = await this.#adPart.run({ vector: floats(vectors, count, this.#dimension) }, widths);
    return { ...projected, [vectorTable]: vectors };
  }

  async close(): Promise<void> {
    await this.#tower.close();
    await this.#adPart.close();
  }
}

/** The table that holds the ad tower's own output; the others are projections of it. */
export const vectorTable = 'ad_vector';

export type AdTowerContent = Pick<BundleContent, 'schema' | 'head' | 'tables' | 'adTower' | 'adPartGraph'>;
