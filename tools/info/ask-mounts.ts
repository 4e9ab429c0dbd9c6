/**
 * A separate process that queries mounts, because a hanging daemon blocks its callers. Its arguments are mount ids; it
 * writes one line of JSON for each, in their order, before it queries the next.
 */
import '../../src/base/no-debugger.ts';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ENOENT, ENOTCONN, ENOTTY, type Errno, errnoOf, isErrno } from '../../src/base/errno.ts';
import { reasonOf } from '../../src/base/error.ts';
import { askFd } from '../../src/mount-info/ask-mount-at.ts';
import { mountOfFd } from '../../src/mount-info/open-path.ts';
import { jsonOfSources, type SavedSourcesJson } from '../../src/mount-info/saved-sources.ts';
import { errnoText } from '../../src/system/libc.ts';
import { listMounts } from '../../src/system/mount-table.ts';

/**
 * The answer for one mount: its sources; `gone`: it does not exist, or a dead daemon left it; `hidden`: another mount
 * is on top of it; `unknown`: the reason.
 */
export type AskedMount =
  | {
      readonly state: 'mounted';
      readonly pid: number;
      readonly release: string;
      readonly imageId: string;
      readonly sources: SavedSourcesJson;
    }
  | { readonly state: 'gone' | 'hidden' }
  | { readonly state: 'unknown'; readonly reason: string };

const NOT_TOLD =
  process.geteuid?.() === 0 ? 'its daemon does not report it: it is an older version' : 'only root may query this one';
const GONE: readonly (Errno | undefined)[] = [ENOENT, ENOTCONN];

function ask(mountId: number): AskedMount {
  const mounts = listMounts();
  const mount = mounts.find((entry) => entry.mountId === mountId);
  if (mount === undefined) return { state: 'gone' };
  let fd: number;
  try {
    fd = openSync(Buffer.from(mount.mountpointBytes), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    return GONE.includes(errnoOf(error)) ? { state: 'gone' } : { state: 'unknown', reason: reasonOf(error) };
  }
  try {
    if (mountOfFd(fd, mounts)?.mountId !== mountId) return { state: 'hidden' };
    const asked = askFd(fd);
    if (isErrno(asked)) {
      if (GONE.includes(asked)) return { state: 'gone' };
      return { state: 'unknown', reason: asked === ENOTTY ? NOT_TOLD : errnoText(asked) };
    }
    const sources = jsonOfSources(asked.mount, mount.mountpointBytes, asked.sources);
    const { pid, release, imageId } = asked.mount;
    return { state: 'mounted', pid, release, imageId, sources };
  } finally {
    closeSync(fd);
  }
}

for (const id of process.argv.slice(2)) writeSync(1, `${JSON.stringify(ask(Number(id)))}\n`);
