/**
 * The same tree several times on several file systems: each run of random steps has a copy of its own, so that a mount
 * serves many runs.
 */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Scratch } from '../../e2e/harness.ts';
import { differences, look } from '../look.ts';
import { MAKE_SITE, type Site, type SiteName } from '../sites.ts';
import { allowedOn } from './known-differences.ts';
import { makeLowerTree } from './lower-tree.ts';
import { OpenFiles, perform, type Step, type Who } from './steps.ts';

const COPIES = 24;

/** One run: its directory on each site, and the files that it has open there. */
export interface World {
  readonly sites: readonly { readonly site: Site; readonly root: string; readonly files: OpenFiles }[];
}

export class Worlds {
  readonly #scratch: Scratch;
  readonly #names: readonly SiteName[];
  #lower: string | undefined;
  #sites: Site[] = [];
  #used = COPIES;

  /** @param names the others are compared with the first */
  constructor(scratch: Scratch, names: readonly SiteName[]) {
    this.#scratch = scratch;
    this.#names = names;
  }

  /** A world in which nothing has been changed. */
  async fresh(): Promise<World> {
    if (this.#used === COPIES) await this.#renew();
    const copy = `tree-${this.#used++}`;
    return {
      sites: this.#sites.map((site) => ({
        site,
        root: join(site.root, copy),
        files: new OpenFiles(site.name === 'overlayfs'),
      })),
    };
  }

  /** Unmounts and mounts all sites. */
  async remount(world: World): Promise<void> {
    closeAll(world);
    for (const site of this.#sites) await site.remount();
  }

  async end(): Promise<void> {
    for (const site of this.#sites.splice(0)) await site.end();
    this.#used = COPIES;
  }

  async #renew(): Promise<void> {
    await this.end();
    if (this.#lower === undefined) {
      this.#lower = this.#scratch.directory('lower');
      for (let i = 0; i < COPIES; i++) {
        const copy = join(this.#lower, `tree-${i}`);
        mkdirSync(copy);
        makeLowerTree(copy);
      }
    }
    for (const name of this.#names) this.#sites.push(await MAKE_SITE[name](this.#scratch, this.#lower));
    this.#used = 0;
  }
}

export function closeAll(world: World): void {
  for (const { files } of world.sites) files.closeAll();
}

/** Does `step` on each site. Returns the results by the sites' names. */
export function performAll(world: World, step: Step, who: Who): Map<SiteName, string> {
  const results = new Map<SiteName, string>();
  const before = process.cwd();
  for (const { site, root, files } of world.sites) {
    process.chdir(root);
    try {
      results.set(site.name, perform(step, who, files));
    } finally {
      process.chdir(before);
    }
  }
  return results;
}

/** All names in the world, as paths. */
export function namesIn(world: World): string[] {
  const { root } = world.sites[0] as World['sites'][number];
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
}

/** The visible state of each site. */
export const looks = (world: World): ReturnType<typeof look>[] => world.sites.map(({ root }) => look(root));

/** Throws if the trees of the other sites differ from that of the first one. */
export function compareTrees(world: World): void {
  const [first, ...others] = world.sites.map(({ site, root }) => ({ name: site.name, views: look(root) }));
  for (const { name, views } of others) {
    const found = differences((first as { views: typeof views }).views, views, allowedOn(name));
    if (found.length > 0) throw new Error(`${first?.name} / ${name}:\n${found.slice(0, 8).join('\n')}`);
  }
}
