/** The directory itself: the cost of the file system below. */
import type { System, SystemRow, Tree } from './contract.ts';

export const SOURCE: SystemRow = {
  name: 'source',
  description: 'the directory itself',
  byDefault: true,
  create: (tree: Tree): System => ({
    name: 'source',
    mounts: false,
    available: () => undefined,
    prepare: () => Promise.resolve(),
    start: () => Promise.resolve(tree.path),
    stop: () => Promise.resolve(),
    daemon: () => undefined,
  }),
};
