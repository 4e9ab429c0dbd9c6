import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DirentPaths } from '../../../src/manifest/dirent-paths.ts';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import { Random } from '../../support/random.ts';
import { anyTree } from './arbitrary.ts';
import { buildTables, linksInOrder } from './model.ts';

test('DirentPaths returns the path of every dirent, in any order of requests', () => {
  fc.assert(
    fc.property(anyTree(), fc.nat(), (tree, seed) => {
      const tables = buildTables(tree);
      const paths = new DirentPaths(tables);
      const found = new Random(seed).shuffled([...tables.dirents.inode.keys()]).map((dirent) => {
        const path = paths.pathOf(dirent);
        expect(lookupPath(tables, path)).toBe(tables.dirents.inode[dirent]);
        return Buffer.from(path).toString('latin1');
      });
      const expected = linksInOrder(tree)
        .slice(1)
        .map(({ path }) => path.toString('latin1'));
      expect(found.toSorted()).toEqual(expected.toSorted());
    }),
  );
});
