/** The mounts, processes and loop devices of the machine. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { until } from '../support/until.ts';
import { run } from './run.ts';

export { until };

/**
 * Runs a command that unmounts, which must succeed. A test that runs at the same time may ask all mounts of the machine
 * ('cfs-info mounts'), which keeps each busy for a moment: then the command is repeated.
 */
export async function unmountBy(command: readonly string[]): Promise<void> {
  await until(`${command.join(' ')} succeeds`, async () => {
    const { status, stderr } = await run(command);
    if (status !== 0 && !/busy/i.test(stderr)) throw new Error(`${command.join(' ')}: status ${status}: ${stderr}`);
    return status === 0;
  });
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, 'latin1');
  } catch {
    return undefined; // it ended in the meantime
  }
}

/** Fields of /proc/PID/stat from the state (index 0) on; undefined if there is no such process. */
function statOf(pid: number): string[] | undefined {
  const text = readProc(`${pid}/stat`);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** False for a zombie, too, which only waits for its parent. */
export function isAlive(pid: number): boolean {
  const state = statOf(pid)?.[0];
  return state !== undefined && state !== 'Z' && state !== 'X';
}

const processes = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/** Processes of a session, e.g. of a daemon that leads one. */
export function sessionMembers(session: number): number[] {
  return processes().filter((pid) => isAlive(pid) && Number(statOf(pid)?.[3]) === session);
}

/** Whether a process of a daemon's session is the supervisor, which starts another server when one dies. */
export const isSupervisor = (pid: number): boolean => readProc(`${pid}/cmdline`)?.startsWith('/bin/sh') ?? false;

/** The process that serves a mount, by the session of its first one; undefined while the next one is not started. */
export const serverIn = (session: number): number | undefined =>
  sessionMembers(session).find((pid) => !isSupervisor(pid));

/** Kills the server of a session, and waits for the next one. */
export async function killServer({ pid }: { readonly pid: number }): Promise<void> {
  const server = serverIn(pid);
  if (server === undefined) throw new Error(`session ${pid} has no server`);
  process.kill(server, 'SIGKILL');
  await until(`${server} has ended`, () => !isAlive(server));
  await until('there is another server', () => serverIn(pid) !== undefined);
}

/** Processes whose command line or environment names `text`. */
export function processesNaming(text: string): number[] {
  const names = (pid: number, file: string): boolean => readProc(`${pid}/${file}`)?.includes(text) ?? false;
  return processes().filter(
    (pid) => pid !== process.pid && isAlive(pid) && (names(pid, 'cmdline') || names(pid, 'environ')),
  );
}

/** Open descriptors of a process. */
export const descriptors = (pid: number): string[] => readdirSync(`/proc/${pid}/fd`);

const OBJECT = /\/objects\/[0-9a-f]{2}\/[0-9a-f]{62}$/;

/** The number of objects that a process has open: its other descriptors become more when another thread starts. */
export function openObjects(pid: number): number {
  const isObject = (fd: string): boolean => {
    try {
      return OBJECT.test(readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      return false; // it was closed in the meantime
    }
  };
  return descriptors(pid).filter(isObject).length;
}

export interface MountLine {
  /** major:minor, one for each mounted file system. */
  readonly device: string;
  readonly mountpoint: string;
  readonly options: string;
  readonly type: string;
  readonly source: string;
}

/** A field of mountinfo, read as latin1: blanks and backslashes are octal there, all others are bytes. */
const decodeField = (text: string): string =>
  Buffer.from(
    text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    'latin1',
  ).toString();

/** /proc/PID/mountinfo, proc(5); the last mount on a mount point hides earlier ones. */
export function mountTable(witness: number | 'self' = 'self'): MountLine[] {
  return (readProc(`${witness}/mountinfo`) ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before, after] = line.split(' - ') as [string, string];
      const fields = before.split(' ');
      const [type, source] = after.split(' ') as [string, string];
      return {
        device: fields[2] as string,
        mountpoint: decodeField(fields[4] as string),
        options: fields[5] as string,
        type,
        source: decodeField(source),
      };
    });
}

/** The mount exactly at `mountpoint`. */
export function mountedAt(mountpoint: string, witness: number | 'self' = 'self'): MountLine | undefined {
  return mountTable(witness).findLast((mount) => mount.mountpoint === mountpoint);
}

/** Mount points in `directory`, the inner ones first. */
export function mountsBelow(directory: string): string[] {
  return mountTable()
    .map(({ mountpoint }) => mountpoint)
    .filter((mountpoint) => mountpoint.startsWith(`${directory}/`))
    .reverse();
}

/** Loop devices over files in `directory`. */
export function loopDevicesOn(directory: string): string[] {
  return execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, file]) => file?.startsWith(`${directory}/`))
    .map(([name]) => name as string);
}

/** Drops the kernel's caches: dentries and inodes of all mounts, and clean pages. */
export function dropCaches(): void {
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}
