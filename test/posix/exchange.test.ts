/**
 * An upper layer that changes hands: each action in each situation (model/situations.ts) through a mount of cfs or
 * through overlayfs; then another action through the other of the two, which must show what the first one left; then
 * the first one must show that. A plain directory has the same done to it, and must look the same all the time.
 */
import { closeSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { Overlay } from '../e2e/overlay.ts';
import { SECONDS } from './duration.ts';
import { lookWithoutIds, pinAll } from './layer-views.ts';
import { differences, type View } from './look.ts';
import { allowedOn, mayReturn } from './model/known-differences.ts';
import { ACTIONS, besides, SITUATIONS } from './model/situations.ts';
import { OpenFiles, type Step } from './model/steps.ts';
import { performAll, type World } from './model/worlds.ts';
import { MAKE_SITE, OVERLAY_OPTIONS, type Site } from './sites.ts';
import { withUmask } from './users.ts';

const scratch = useScratch();

let lower: string;
let image: string;
let below: string;
let pinned: readonly number[] = [];

beforeAll(async () => {
  lower = scratch.directory('lower');
  const before = process.cwd();
  for (const cell of cells()) {
    mkdirSync(join(lower, cell.path), { recursive: true });
    process.chdir(join(lower, cell.path));
    besides();
    cell.situation.lower?.();
  }
  process.chdir(before);
  ({ image } = await scratch.pack(lower));
  ({ path: below } = await scratch.mount(image, { words: ['suid', 'dev'] }));
  pinned = pinAll(below);
});

afterAll(() => {
  for (const fd of pinned) closeSync(fd);
});

const mounted: Site[] = [];
afterEach(async () => {
  for (const site of mounted.splice(0).reverse()) await site.end();
});

/** One directory: a situation, and the actions in it. */
interface Cell {
  readonly path: string;
  readonly situation: (typeof SITUATIONS)[number];
  /** Done through the first file system, and through the second. */
  readonly actions: readonly [first: readonly Step[], second: readonly Step[]];
}

/** In a short run, every situation has one of so many actions. */
const STRIDE = SECONDS > 0 ? 1 : 6;

/** How far the second action is from the first one in the list. */
const DISTANCE = 17;

function* cells(): Generator<Cell> {
  for (const [i, situation] of SITUATIONS.entries()) {
    for (const [j, first] of ACTIONS.entries()) {
      if ((i + j) % STRIDE !== 0) continue;
      const second = ACTIONS[(j + DISTANCE) % ACTIONS.length] as readonly Step[];
      yield { path: `${i}/${j}`, situation, actions: [first, second] };
    }
  }
}

type Writer = 'cfs' | 'overlayfs';

/** Mounts the image with these layers, through cfs or through overlayfs over a read-only mount. */
async function mountLayers(writer: Writer, layers: string): Promise<Site> {
  const site = writer === 'cfs' ? await throughCfs(layers) : await throughOverlay(layers);
  mounted.push(site);
  return site;
}

async function throughCfs(layers: string): Promise<Site> {
  const words = [`upperdir=${layers}/upper`, `workdir=${layers}/work`, 'suid', 'dev'];
  const mount = await scratch.mount(image, { words });
  const end = async (): Promise<void> => {
    if (mount.isMounted) await mount.unmount();
  };
  return { name: 'cfs', root: mount.path, remount: async () => {}, end };
}

async function throughOverlay(layers: string): Promise<Site> {
  const overlay = new Overlay(scratch.directory('overlay'), [below], layers, OVERLAY_OPTIONS);
  await overlay.mount();
  return { name: 'overlayfs', root: overlay.at, remount: async () => {}, end: () => overlay.unmount() };
}

/** Does the steps on both. Returns where the results differ. */
function wrongResults(world: World, steps: readonly Step[]): string[] {
  return steps.flatMap((step) => {
    const [[, expected = ''] = [], [name = 'cfs', result = ''] = []] = [...performAll(world, step, 'root')];
    const isRight = result === expected || mayReturn(name, step, 'root', expected, result);
    return isRight ? [] : [`${JSON.stringify(step)}: ${expected} / ${name}: ${result}`];
  });
}

const viewsOf = (site: Site, path: string): Map<string, View> => lookWithoutIds(join(site.root, path));

/** All differences between the plain directory and the other site. */
function wrongTrees(plain: Site, other: Site, path: string): string[] {
  const allow = allowedOn('overlayfs'); // the layer may be one that overlayfs wrote
  return differences(viewsOf(plain, path), viewsOf(other, path), allow).map((text) => `${other.name}: ${text}`);
}

test.each<[Writer, Writer]>([
  ['cfs', 'overlayfs'],
  ['overlayfs', 'cfs'],
])('what %s wrote is the same through %s, also when that has changed it', async (first, second) => {
  const layers = scratch.directory('layers');
  for (const name of ['upper', 'work']) mkdirSync(join(layers, name));
  const plain = await MAKE_SITE.plain(scratch, lower);
  const wrong: unknown[] = [];
  for (const [round, name] of [first, second, first].entries()) {
    const site = await mountLayers(name, layers);
    for (const { path, situation, actions } of cells()) {
      const before = round === 0 ? [] : wrongTrees(plain, site, path);
      const steps = [...(round === 0 ? (situation.steps ?? []) : []), ...(actions[round] ?? [])];
      const sites = [plain, site].map((site) => ({
        site,
        root: join(site.root, path),
        files: new OpenFiles(site.name === 'overlayfs'),
      }));
      const results = withUmask(0o022, () => wrongResults({ sites }, steps));
      for (const { files } of sites) files.closeAll();
      const after = wrongTrees(plain, site, path);
      if (before.length + results.length + after.length > 0) {
        wrong.push({ situation: situation.name, round, actions, before, results, after });
      }
    }
    await site.end();
  }
  expect(wrong).toEqual([]);
});
