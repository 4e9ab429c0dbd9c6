/** `cfs-mount --upgrade`: has a newly installed version serve a mount that an older one made, with nothing unmounted. */

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CfsError } from '../src/base/error.ts';
import { programPath } from '../src/base/installation.ts';
import type { MountRecord } from '../src/records/mount-record.ts';
import { serverEnvironment, serverFlags } from '../src/survival/server-process.ts';
import { askMountAt } from './info/mounted.ts';

/** The program of the servers, which the supervisor starts again by its path. */
const SERVER = programPath('src/mount/daemon-main');
const PATIENCE_MS = 30_000;
const LOOK_MS = 20;

export interface Upgraded {
  readonly mountpoint: string;
  readonly from: { readonly pid: number; readonly release: string };
  readonly to: { readonly pid: number; readonly release: string };
}

/**
 * Ends the server of the mount; its supervisor starts the program that lies at the same path now. Who uses the mount waits
 * meanwhile.
 * @throws CfsError: `usage` where that cannot be, `mount` where no other server answers
 */
export async function upgrade(mount: string): Promise<Upgraded> {
  const old = askMountAt(mount).mount;
  requireSupervisor(mount, old);
  requireStart(mount);
  process.kill(old.pid, 'SIGUSR2');
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(LOOK_MS)) {
    // this waits in the kernel until somebody answers
    const { pid, release } = askAgain(mount, old);
    if (pid === old.pid) continue;
    const from = { pid: old.pid, release: old.release };
    return { mountpoint: Buffer.from(old.mountpoint).toString(), from, to: { pid, release } };
  }
  throw new CfsError('mount', `Cannot upgrade ${mount}: process ${old.pid} still serves it`);
}

/** Has the new program read all its modules, and end: with nothing on its standard input it has nothing to mount. */
function requireStart(mount: string): void {
  const { status, stderr } = spawnSync(process.execPath, [...serverFlags(), SERVER], {
    input: '',
    encoding: 'utf8',
    env: serverEnvironment(),
  });
  if (status === 0) return;
  const reason = stderr.split('\n').find((line) => /Error/.test(line)) ?? `status ${status}`;
  throw new CfsError(
    'mount',
    `Cannot upgrade ${mount}: the new server does not start, so the old one was left: ${reason}`,
  );
}

function askAgain(mount: string, { pid }: MountRecord): MountRecord {
  try {
    return askMountAt(mount).mount;
  } catch (error) {
    throw new CfsError(
      'mount',
      `${mount} is no mount any more: no server went on where process ${pid} ended. The log says why.`,
      { cause: error },
    );
  }
}

/** Without one nobody would go on; and it starts a program by its path, again and again the same. */
function requireSupervisor(mount: string, { pid }: MountRecord): void {
  const supervisor = supervisorOf(pid);
  if (supervisor === undefined) {
    throw new CfsError(
      'usage',
      `Cannot upgrade ${mount}: no supervisor of its server (process ${pid}) is to be seen here. A mount with restart=off, of the portable driver or in the foreground has none.`,
    );
  }
  const program = supervisor.find((word) => word.endsWith(basename(SERVER)));
  if (program === SERVER) return;
  throw new CfsError(
    'usage',
    `Cannot upgrade ${mount}: it is served from ${program}. Install the new version there, and use its cfs-mount.`,
  );
}

/** The command line of the supervisor that watches over the process: both are of one session. */
function supervisorOf(pid: number): readonly string[] | undefined {
  const session = sessionOf(String(pid));
  if (session === undefined) return undefined;
  const others = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && sessionOf(name) === session);
  return others.map(commandOf).find((words) => words[1]?.endsWith('/cfs-supervisor'));
}

/** Of process `pid`; undefined where there is none. */
function sessionOf(pid: string): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // what follows the name, which may hold blanks and parentheses: state, parent, group, session
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
