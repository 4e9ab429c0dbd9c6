/** `cfs-mount --upgrade`: hands a mount of an older version to a newly installed one, without unmounting. */

import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ESRCH, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { FORMER_SERVER, installedPath, programPath } from '../base/installation.ts';
import { pathText } from '../base/path-text.ts';
import { makeDevice } from '../base/stat-bits.ts';
import { askMountAt } from '../mount-info/ask-mount-at.ts';
import type { MountRecord } from '../mount-info/mount-record.ts';
import type { SourceRecord } from '../mount-info/source-record.ts';
import { REHEARSAL, REHEARSAL_FD } from '../survival/handover.ts';
import { COPY_NAME } from '../survival/image-keeper.ts';
import { serverEnvironment, serverFlags } from '../survival/server-process.ts';
import { isSealedMemfd } from '../system/memfd.ts';

/** The program of the servers, which the supervisor starts again by its path. */
const SERVER = programPath('cfs-serve.js');
/** Its name for supervisors that version 0.1.0 started. */
const FORMER = installedPath(FORMER_SERVER);
const PATIENCE_MS = 30_000;
const LOOK_MS = 20;

export interface Upgraded {
  readonly mountpoint: string;
  readonly from: { readonly pid: number; readonly release: string };
  readonly to: { readonly pid: number; readonly release: string };
}

/**
 * Ends the server of the mount; its supervisor then starts the program at the same path. Users of the mount wait for a
 * moment.
 * @throws CfsError: `usage` if it is not possible, `mount` if no other server answers
 */
export async function upgrade(mount: string): Promise<Upgraded> {
  const { mount: old, sources } = askMountAt(mount);
  requireSupervisor(mount, old, 'upgrade');
  const file = openImageOf(old.pid, sources[0] as SourceRecord);
  requireStart(mount, file, old.imageId, 'upgrade');
  const { pid, release } = await replaceServer(mount, old, 'upgrade');
  const from = { pid: old.pid, release: old.release };
  return { mountpoint: pathText(old.mountpoint), from, to: { pid, release } };
}

/** What another server is needed for. */
export type ServerChange = 'upgrade' | 'rebase';

/**
 * Ends the server of the mount, and waits for the next one.
 * @returns what that says about the mount
 * @throws CfsError (mount) if no other server answers
 */
export async function replaceServer(mount: string, old: MountRecord, change: ServerChange): Promise<MountRecord> {
  end(mount, old.pid, change);
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(LOOK_MS)) {
    // this blocks in the kernel until a server answers
    const now = askAgain(mount, old);
    if (now.pid !== old.pid) return now;
  }
  throw new CfsError('mount', `Cannot ${change} ${mount}: process ${old.pid} still serves it`);
}

function end(mount: string, pid: number, change: ServerChange): void {
  try {
    process.kill(pid, 'SIGUSR2');
  } catch (error) {
    // another process has just ended it: another server takes over in any case
    if (errnoOf(error) === ESRCH) return;
    throw new CfsError('mount', `Cannot ${change} ${mount}: its server (process ${pid}): ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/**
 * Makes the new program load all its modules, and read the image as a server that takes over does.
 * @param file the open image, which is closed; undefined if this process may not see it
 * @throws CfsError (mount) if it cannot
 */
export function requireStart(mount: string, file: number | undefined, imageId: string, change: ServerChange): void {
  const { status, stderr } = spawnSync(process.execPath, [...serverFlags(), SERVER], {
    // with nothing on its standard input it has nothing to mount
    input: '',
    stdio: ['pipe', 'ignore', 'pipe', ...Array(REHEARSAL_FD - 3).fill('ignore'), file ?? 'ignore'],
    encoding: 'utf8',
    env: { ...serverEnvironment(), ...(file === undefined ? {} : { [REHEARSAL]: imageId }) },
  });
  if (file !== undefined) closeSync(file);
  if (status === 0) return;
  const reason = stderr.split('\n').find((line) => /Error/.test(line)) ?? `status ${status}`;
  throw new CfsError(
    'mount',
    `Cannot ${change} ${mount}: the new server does not start, so the old one was left: ${reason.replace(/^Error: /, '')}`,
  );
}

/**
 * Opens the image that a server that takes over would read: the copy if there is one, else the image's file. It goes
 * through the server's own descriptors, because the file may have been renamed or deleted.
 * @returns undefined if this process may not see it
 */
function openImageOf(pid: number, image: SourceRecord): number | undefined {
  const directory = `/proc/${pid}/fd`;
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    return undefined;
  }
  const isCopy = (path: string): boolean => readlinkSync(path).startsWith(`/memfd:${COPY_NAME} `);
  const find = (test: (path: string) => boolean): number[] =>
    names.flatMap((fd) => {
      try {
        const path = `${directory}/${fd}`;
        return test(path) ? [openSync(path, 'r')] : [];
      } catch {
        return []; // it was closed in the meantime
      }
    });
  const found = [...find(isCopy).filter(isWhole), ...find((path) => isFileOf(image, path))];
  for (const other of found.slice(1)) closeSync(other);
  return found[0];
}

/** Closes the copy if it is incomplete. */
function isWhole(copy: number): boolean {
  if (isSealedMemfd(copy)) return true;
  closeSync(copy);
  return false;
}

function isFileOf({ device, ino }: SourceRecord, path: string): boolean {
  const stat = statSync(path, { bigint: true });
  return stat.isFile() && stat.ino === ino && stat.dev === makeDevice(device);
}

function askAgain(mount: string, { pid }: MountRecord): MountRecord {
  try {
    return askMountAt(mount).mount;
  } catch (error) {
    throw new CfsError(
      'mount',
      `${mount} is no longer a mount: no server took over when process ${pid} ended. The log says why.`,
      { cause: error },
    );
  }
}

/**
 * Without one no server would take over; and it always starts the program of the same path.
 * @throws CfsError (usage) if there is none
 */
export function requireSupervisor(mount: string, { pid }: MountRecord, change: ServerChange): void {
  const supervisor = supervisorOf(pid);
  if (supervisor === undefined) {
    throw new CfsError(
      'usage',
      `Cannot ${change} ${mount}: no supervisor of its server (process ${pid}) was found. A mount with restart=off, with the portable driver or in the foreground has none.`,
    );
  }
  const program = supervisor.find((word) => [SERVER, FORMER].some((path) => basename(word) === basename(path)));
  if (program === SERVER || program === FORMER) return;
  throw new CfsError('usage', `Cannot ${change} ${mount}: it is served from ${program}`, {
    hint: 'Install the new version there, and upgrade with it.',
  });
}

/** The command line of the supervisor that watches over the process: both are of one session. */
function supervisorOf(pid: number): readonly string[] | undefined {
  const session = sessionOf(String(pid));
  if (session === undefined) return undefined;
  const others = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && sessionOf(name) === session);
  return others.map(commandOf).find((words) => words[1]?.endsWith('/cfs-supervisor'));
}

/** Of process `pid`; undefined if there is none. */
function sessionOf(pid: string): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // after the name, which may contain blanks and parentheses: state, parent, group, session
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3];
  } catch {
    return undefined;
  }
}

function commandOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
