/** Every workload that reads a tree, in the order of the tables. Another one is another row. */
import type { Workload } from './contract.ts';
import { MMAP, OPEN, OPEN_4, RANDOM, SEQUENTIAL, TAR_ALL } from './workloads-content.ts';
import { FIND, LS, MISSING, MOUNT, MOUNT_LS, STAT } from './workloads-metadata.ts';
import { GCC, GIT_STATUS_WORKLOAD, PYTHON } from './workloads-programs.ts';

export const WORKLOADS: readonly Workload[] = [
  MOUNT,
  MOUNT_LS,
  LS,
  FIND,
  STAT,
  MISSING,
  OPEN,
  OPEN_4,
  TAR_ALL,
  PYTHON,
  GCC,
  GIT_STATUS_WORKLOAD,
  SEQUENTIAL,
  RANDOM,
  MMAP,
];
