/**
 * Each action on a name in each situation that two layers can make, as in unionmount-testsuite: the results and the
 * tree must be those of a plain directory, at once and after it was mounted again.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { SECONDS } from './duration.ts';
import { differences, look, type View } from './look.ts';
import { allowedOn, mayReturn } from './model/known-differences.ts';
import { ACTIONS, besides, SITUATIONS } from './model/situations.ts';
import { OpenFiles, type Step } from './model/steps.ts';
import { performAll, type World } from './model/worlds.ts';
import { MAKE_SITE, type Site, TESTED } from './sites.ts';
import { withUmask } from './users.ts';

const scratch = useScratch();
const sites: Site[] = [];

/** In a short run, a quarter of the pairs: each situation and each action is among them. */
const isDone = (situation: number, action: number): boolean => SECONDS > 0 || (situation + action) % 4 === 0;

const directoryOf = (situation: number, action: number): string => `${situation}/${action}`;

beforeAll(async () => {
  const lower = scratch.directory('lower');
  const before = process.cwd();
  for (const [i, { lower: make }] of SITUATIONS.entries()) {
    for (const j of ACTIONS.keys()) {
      if (!isDone(i, j)) continue;
      const path = join(lower, directoryOf(i, j));
      mkdirSync(path, { recursive: true });
      process.chdir(path);
      besides();
      make?.();
    }
  }
  process.chdir(before);
  for (const name of TESTED) sites.push(await MAKE_SITE[name](scratch, lower));
});

afterAll(async () => {
  for (const site of sites) await site.end();
});

/** Does the steps on all sites. Returns the differences of results from those of the first site. */
function wrongResults(world: World, steps: readonly Step[]): string[] {
  return steps.flatMap((step) => {
    const [[, expected = ''] = [], ...others] = [...performAll(world, step, 'root')];
    return others
      .filter(([name, result]) => result !== expected && !mayReturn(name, step, 'root', expected, result))
      .map(([name, result]) => `${JSON.stringify(step)}: ${expected} / ${name}: ${result}`);
  });
}

const looks = (path: string): Map<string, View>[] => sites.map(({ root }) => look(join(root, path)));

function wrongTrees(path: string): string[] {
  const [first, ...others] = looks(path);
  return others.flatMap((views, i) => {
    const name = (sites[i + 1] as Site).name;
    return differences(first as Map<string, View>, views, allowedOn(name)).map((text) => `${name}: ${text}`);
  });
}

test.each(SITUATIONS.map(({ name }, index) => [name, index] as const))('%s', (_, i) => {
  const { steps = [] } = SITUATIONS[i] as (typeof SITUATIONS)[number];
  for (const [j, action] of ACTIONS.entries()) {
    if (!isDone(i, j)) continue;
    const roots = sites.map((site) => ({
      site,
      root: join(site.root, directoryOf(i, j)),
      files: new OpenFiles(site.name === 'overlayfs'),
    }));
    const wrong = withUmask(0o022, () => wrongResults({ sites: roots }, [...steps, ...action]));
    for (const { files } of roots) files.closeAll();
    const trees = wrongTrees(directoryOf(i, j));
    expect({ action, wrong, trees }).toEqual({ action, wrong: [], trees: [] });
  }
});

test('all of them are the same after they were mounted again', async () => {
  const before = looks('.');
  for (const site of sites) await site.remount();
  for (const [i, views] of looks('.').entries()) {
    expect(differences(before[i] as Map<string, View>, views)).toEqual([]);
  }
});
