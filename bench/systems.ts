/** Every system that can be measured, in the order of the tables. Another one is another row. */
import type { SystemRow } from './contract.ts';
import { CFS } from './system-cfs.ts';
import { COMPOSEFS } from './system-composefs.ts';
import { EROFS } from './system-erofs.ts';
import { EROFS_METACOPY } from './system-erofs-metacopy.ts';
import { FUSE_OVERLAYFS, OVERLAYFS } from './system-overlayfs.ts';
import { SOURCE } from './system-source.ts';
import { SQUASHFUSE } from './system-squashfuse.ts';

export const SYSTEMS: readonly SystemRow[] = [
  SOURCE,
  OVERLAYFS,
  EROFS,
  EROFS_METACOPY,
  COMPOSEFS,
  FUSE_OVERLAYFS,
  SQUASHFUSE,
  ...CFS,
];

/** The systems that every other one is compared with. */
export const REFERENCES: readonly string[] = [OVERLAYFS.name, SOURCE.name];

/** The same for writing. */
export const WRITE_REFERENCES: readonly string[] = [OVERLAYFS.name, FUSE_OVERLAYFS.name];
