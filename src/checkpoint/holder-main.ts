/**
 * A process that holds names of a mount. It reads its settings from standard input, and ends with the dumped processes,
 * by SIGTERM, or after LONGEST_HOLD_MS.
 */
import '../system/exact-paths.ts';
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { ESTALE, isErrno } from '../base/errno.ts';
import { reasonOf } from '../base/error.ts';
import { parseHandle } from '../base/handle-format.ts';
import { pathBytes, shownText } from '../base/path-text.ts';
import { closeFd, dup2, openAt } from '../system/descriptors.ts';
import { cloneMount } from '../system/detached-mount.ts';
import { openByHandle } from '../system/file-handle.ts';
import { errnoText, O_PATH } from '../system/libc.ts';
import { waitForEnds, watchProcesses } from '../system/process-end.ts';
import { HOLDING, type HolderSettings, LONGEST_HOLD_MS, markHeld, markHolding } from './names.ts';

const STDIN = 0;
const STDOUT = 1;

/** Opens each name; through a copy of the mount, so that the mount itself is not busy. @returns the problem, if any */
function hold({ mountpoint, names, handles }: HolderSettings): string | undefined {
  const root = cloneMount(mountpoint);
  if (isErrno(root)) return `the mount cannot be copied: ${errnoText(root)}`;
  for (const name of names) {
    // by name: a handle would lead to an inode without a name
    const fd = openAt(root, pathBytes(name === '' ? '.' : name), O_PATH | constants.O_NOFOLLOW);
    if (isErrno(fd)) return `${shownText(name)}: ${errnoText(fd)}`;
  }
  return handles.length === 0 ? undefined : holdHandles(root, handles);
}

/** Through the same copy; a file that no process has open any more is not missed. */
function holdHandles(root: number, handles: readonly string[]): string | undefined {
  const directory = openAt(root, pathBytes('.'), constants.O_RDONLY | constants.O_DIRECTORY);
  if (isErrno(directory)) return `the mount cannot be opened: ${errnoText(directory)}`;
  for (const text of handles) {
    const handle = parseHandle(text);
    const fd = handle === undefined ? ESTALE : openByHandle(directory, handle, O_PATH);
    if (isErrno(fd) && fd !== ESTALE) return `a file without a name: ${errnoText(fd)}`;
  }
  closeFd(directory);
  return undefined;
}

function start(settings: HolderSettings): readonly number[] | string {
  const problem = hold(settings);
  if (problem !== undefined) return problem;
  const processes = watchProcesses(settings.pids);
  if (isErrno(processes)) return `processes cannot be waited for: ${errnoText(processes)}`;
  markHolding(settings.directory);
  return processes;
}

function tell(text: string): void {
  writeSync(STDOUT, text);
  const fd = openSync('/dev/null', 'r+');
  dup2(fd, STDIN);
  dup2(fd, STDOUT);
  closeSync(fd);
}

const settings = JSON.parse(readFileSync(STDIN, 'utf8')) as HolderSettings;
process.title = shownText(`cfs-checkpoint holds names of ${settings.mountpoint} for ${settings.directory}`);
let processes: readonly number[] | string;
try {
  processes = start(settings);
} catch (error) {
  processes = reasonOf(error);
}
tell(typeof processes === 'string' ? processes : HOLDING);
// no handler for signals: this blocks, and SIGTERM ends it
if (typeof processes !== 'string' && waitForEnds(processes, LONGEST_HOLD_MS)) markHeld(settings.directory);
