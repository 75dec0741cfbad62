import { join } from 'node:path';
import { type DemoParameters, parametersKey } from './parameters.ts';

export const demoFileNames = {
  catalog: 'catalog.json',
  users: 'users.jsonl',
  sites: 'sites.json',
  impressions: 'impressions.bin',
  /** Written last: a folder without it is half made. */
  complete: 'demo.json',
} as const;

/** Where one demo world lies. `truth` is for benches and tests only, and may be missing. */
export type DemoFiles = {
  readonly parameters: DemoParameters;
  readonly folder: string;
  readonly catalog: string;
  readonly users: string;
  readonly sites: string;
  readonly impressions: string;
  readonly truth: string;
};

export function demoFiles(dataDir: string, parameters: DemoParameters): DemoFiles {
  const key = parametersKey(parameters);
  const folder = join(dataDir, 'demo', key);
  return {
    parameters,
    folder,
    catalog: join(folder, demoFileNames.catalog),
    users: join(folder, demoFileNames.users),
    sites: join(folder, demoFileNames.sites),
    impressions: join(folder, demoFileNames.impressions),
    truth: join(dataDir, 'demo-truth', `${key}.f32`),
  };
}
