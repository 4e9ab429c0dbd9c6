/** The directory itself: what the file system below costs. */
import type { System, SystemRow, Tree } from './contract.ts';

export const SOURCE: SystemRow = {
  name: 'source',
  description: 'the directory itself',
  create: (tree: Tree): System => ({
    name: 'source',
    available: () => undefined,
    start: () => Promise.resolve(tree.path),
    restart: () => Promise.resolve(tree.path),
    stop: () => Promise.resolve(),
  }),
};
