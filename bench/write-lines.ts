/** Every line of the group `write`, in the order of the tables. Another one is another row. */
import { RANDOM_WRITES, READ_LARGE, SMALL_WRITES, WRITE_LARGE } from './write-lines-data.ts';
import {
  CREATE,
  LINK,
  OVERWRITE,
  READ_WRITTEN,
  REMOVE_TREE,
  RENAME,
  STAT_WRITTEN,
  UNLINK,
} from './write-lines-files.ts';
import {
  CHOWN_LOWER,
  COMPILE_FILES,
  GIT_CLONE,
  GIT_STATUS_CLONE,
  LIST_LOWER,
  NPM_INSTALL,
  OPEN_LOWER,
  TAR_EXTRACT,
} from './write-lines-programs.ts';
import type { WriteLine } from './writing.ts';

export const WRITE_LINES: readonly WriteLine[] = [
  WRITE_LARGE,
  READ_LARGE,
  SMALL_WRITES,
  RANDOM_WRITES,
  CREATE,
  OVERWRITE,
  STAT_WRITTEN,
  READ_WRITTEN,
  RENAME,
  LINK,
  UNLINK,
  REMOVE_TREE,
  TAR_EXTRACT,
  GIT_CLONE,
  GIT_STATUS_CLONE,
  COMPILE_FILES,
  NPM_INSTALL,
  CHOWN_LOWER,
  LIST_LOWER,
  OPEN_LOWER,
];
