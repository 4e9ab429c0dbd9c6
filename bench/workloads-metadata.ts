/** Workloads that read names and inodes. */
import { statSync } from 'node:fs';
import type { CacheState, Tree, TreeKind, Work, Workload } from './contract.ts';
import { timeProbe, timeProgram } from './run-probe.ts';

const TREES: readonly TreeKind[] = ['source', 'small'];
const ALL: readonly CacheState[] = ['cold', 'dropped', 'warm'];

const everyEntry = (tree: Tree): Work => ({ count: tree.entries, unit: 'entries', bytes: 0 });
const everyPath = (tree: Tree): Work => ({ count: tree.all.count, unit: 'entries', bytes: 0 });
const nothing = (): Work => ({ count: 1, unit: 'mounts', bytes: 0 });

/** Mounting. The daemon's start counts, including the data that it reads from the disk for that. */
export const MOUNT: Workload = {
  name: 'mount',
  title: 'mount and stat',
  trees: TREES,
  states: ['cold'],
  mounting: true,
  work: nothing,
  run: ({ root }) => {
    const begin = process.hrtime.bigint();
    statSync(root);
    return Promise.resolve(Number(process.hrtime.bigint() - begin));
  },
};

export const MOUNT_LS: Workload = {
  name: 'mount-ls',
  title: 'mount and ls -lR',
  trees: TREES,
  states: ['cold'],
  mounting: true,
  work: everyEntry,
  run: ({ root, bench }) => timeProgram(['ls', '-lR', root], bench),
};

export const LS: Workload = {
  name: 'ls',
  title: 'ls -lR',
  trees: TREES,
  states: ALL,
  work: everyEntry,
  run: ({ root, bench }) => timeProgram(['ls', '-lR', root], bench),
};

export const FIND: Workload = {
  name: 'find',
  title: 'find -size +1MB',
  trees: TREES,
  states: ['cold', 'warm'],
  work: everyEntry,
  run: ({ root, bench }) => timeProgram(['find', root, '-size', '+1000000c'], bench),
};

export const STAT: Workload = {
  name: 'stat',
  title: 'lstat by path',
  trees: TREES,
  states: ALL,
  work: everyPath,
  run: ({ root, tree, bench }) => timeProbe('stat', everyPath(tree), [root, tree.all.file], bench),
};

export const MISSING: Workload = {
  name: 'missing',
  title: 'lstat of no file',
  trees: TREES,
  states: ['cold', 'warm'],
  work: everyPath,
  run: ({ root, tree, bench }) => timeProbe('missing', everyPath(tree), [root, tree.all.file], bench),
};
