/** A directory for the tests of one file: on a disk, where tmpfs would hide holes and locks; removed afterwards. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { removeTree } from '../../support/tree-generator.ts';

/** To be called at the top of a test file. Gives the path of `names` in the directory. */
export function useScratch(): (...names: readonly string[]) => string {
  const directory = mkdtempSync('/var/tmp/cfs-test.');
  afterAll(() => removeTree(directory), 60_000);
  return (...names) => join(directory, ...names);
}
