/** Random steps on several file systems that show the same tree: results and trees must be the same after each. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { withSeeds } from './duration.ts';
import { commandsOf, runCommands } from './model/commands.ts';
import { closeAll, compareTrees, looks, Worlds } from './model/worlds.ts';
import { TESTED } from './sites.ts';

const scratch = useScratch();
const worlds = new Worlds(scratch, TESTED);
afterEach(() => worlds.end());

test('random steps have the same results, and leave the same tree', () =>
  withSeeds('steps', (seed) =>
    fc.assert(
      fc.asyncProperty(commandsOf(120), async (commands) => {
        const world = await worlds.fresh();
        try {
          runCommands(world, commands);
        } finally {
          closeAll(world);
        }
      }),
      { seed, numRuns: 24 },
    ),
  ));

test('the tree is the same after it was mounted again, and can be changed further', () =>
  withSeeds('steps and mounts', (seed) =>
    fc.assert(
      fc.asyncProperty(commandsOf(80), commandsOf(40), async (before, after) => {
        const world = await worlds.fresh();
        try {
          runCommands(world, before);
          closeAll(world);
          const left = looks(world);
          await worlds.remount(world);
          expect(looks(world)).toEqual(left);
          runCommands(world, after);
        } finally {
          closeAll(world);
        }
      }),
      { seed, numRuns: 3 },
    ),
  ));

test('the comparison finds what differs', async () => {
  const world = await worlds.fresh();
  const { root } = world.sites[1] as (typeof world.sites)[number];
  compareTrees(world);
  chmodSync(join(root, 'file'), 0o640);
  expect(() => compareTrees(world)).toThrow('file: mode -644 / -640');
  chmodSync(join(root, 'file'), 0o644);
  writeFileSync(join(root, 'more'), '');
  expect(() => compareTrees(world)).toThrow('more: only in the second');
});
