/**
 * Real programs on a writable root file system: each step of programs.sh must succeed as on overlayfs. The packages of
 * Debian, which take minutes, are only changed by `make test-posix`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { debianTree } from '../e2e/debian.ts';
import { useScratch } from '../e2e/harness.ts';
import { succeed } from '../e2e/run.ts';
import { dropCaches } from '../e2e/system.ts';
import { SECONDS } from './duration.ts';
import { MAKE_SITE, type Site, type SiteName } from './sites.ts';

const scratch = useScratch();

const STEPS = ['sources', 'compiler', 'busy', 'database', 'mappings', 'links', 'setid', 'moves'];
const LONG_STEPS = ['packages', 'trees'];
const MINUTES = 60_000;

const sites: readonly SiteName[] = SECONDS > 0 ? ['overlayfs', 'cfs'] : ['cfs'];
const steps = SECONDS > 0 ? [...LONG_STEPS, ...STEPS] : STEPS;

let tree: string;
let site: Site;

beforeAll(async () => {
  tree = await debianTree();
});

afterEach(() => site.end());

/** All that has to be the same after it was mounted again. Sizes and links of directories depend on their layers. */
async function listing(root: string): Promise<string[]> {
  const common = '%P %i %y %m %U %G %T@ %l';
  const formats = ['-type', 'd', '-printf', `${common}\\n`, '-o', '-printf', `${common} %n %s\\n`];
  return (await succeed(['find', root, '-xdev', ...formats])).split('\n').sort();
}

const inNamespace = (...command: readonly string[]): Promise<string> =>
  succeed(['unshare', '--mount', ...command], { timeoutMs: 30 * MINUTES });

test.each(sites)(
  'programs of Debian work on %s, and leave a tree that is the same when it is mounted again',
  async (name) => {
    site = await MAKE_SITE[name](scratch, tree);
    const output = await inNamespace('bash', join(import.meta.dirname, 'programs.sh'), site.root, ...steps);
    expect(output.trimEnd().split('\n')).toEqual(steps.map((step) => `ok ${step}`));
    const before = await listing(site.root);
    await site.remount();
    dropCaches();
    const after = await listing(site.root);
    expect(after.length).toBe(before.length);
    const known = new Set(before);
    expect(after.filter((line) => !known.has(line))).toEqual([]);
  },
  60 * MINUTES,
);

test('npm installs a package in a writable mount', async () => {
  site = await MAKE_SITE.cfs(scratch, scratch.directory('empty'));
  const made = scratch.directory('package');
  const manifest = { name: 'made', version: '1.0.0', bin: { made: 'made.js' } };
  writeFileSync(join(made, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(made, 'made.js'), '#!/usr/bin/env node\nconsole.log("it runs");\n');
  const project = join(site.root, 'project');
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "private": true }');
  await succeed(['npm', 'pack', '--silent', made], { cwd: project });
  for (let i = 0; i < 2; i++) {
    await succeed(['npm', 'install', '--offline', '--no-audit', '--no-fund', './made-1.0.0.tgz'], { cwd: project });
    expect(await succeed(['npx', '--offline', 'made'], { cwd: project })).toBe('it runs\n');
    await succeed(['npm', 'uninstall', '--offline', 'made'], { cwd: project });
  }
});
