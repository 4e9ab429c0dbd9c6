/** A directory for the tests of one file, removed afterwards. It is on a disk: tmpfs would hide holes and locks. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { removeTree } from '../../support/tree-generator.ts';

/** To be called at the top of a test file. Returns a function that makes a path of `names` in the directory. */
export function useScratch(): (...names: readonly string[]) => string {
  const directory = mkdtempSync('/var/tmp/cfs-test.');
  afterAll(() => removeTree(directory), 60_000);
  return (...names) => join(directory, ...names);
}
