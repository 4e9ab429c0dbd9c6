/**
 * A mount in the foreground under a service manager, which is notified when the mount answers, and keeps the parked
 * files for the next start. The protocol of sd_notify(3) and sd_pid_notify_with_fds(3), and $LISTEN_FDS of
 * sd_listen_fds(3).
 */
import { closeSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { connectTo, SOCK_DGRAM, sendDescriptors } from '../system/descriptor-passing.ts';
import { setInherit } from '../system/descriptors.ts';

/** The first descriptor that a service manager passes. */
const LISTEN_FDS_START = 3;
const NAME = 'cfs';

/** Whether there is a service manager to notify. */
export const isService = (): boolean => process.env['NOTIFY_SOCKET'] !== undefined;

/**
 * Sends lines of KEY=VALUE, with open files. Does nothing if there is no service manager.
 * @returns whether it was sent
 */
function notify(lines: readonly string[], fds: readonly number[] = []): boolean {
  const name = process.env['NOTIFY_SOCKET'];
  if (name === undefined || !/^[/@]/.test(name)) return false;
  const socket = connectTo(Buffer.from(name.replace(/^@/, '\0')), SOCK_DGRAM);
  if (isErrno(socket)) return false;
  try {
    return !isErrno(sendDescriptors(socket, Buffer.from(lines.join('\n')), fds));
  } finally {
    closeSync(socket);
  }
}

/** The mount answers. */
export const notifyReady = (mountpoint: string): boolean =>
  notify(['READY=1', `STATUS=serving ${mountpoint}`, `MAINPID=${process.pid}`]);

/** Stores the ends of the socket with the parked files for the next start, if the unit has FileDescriptorStoreMax=2. */
export const storeParked = (ends: readonly [number, number]): boolean => notify(['FDSTORE=1', `FDNAME=${NAME}`], ends);

/** The mount has ended normally: nothing is to be kept. */
export const forgetParked = (): boolean => notify(['STOPPING=1', 'FDSTOREREMOVE=1', `FDNAME=${NAME}`]);

/** The ends that were stored by an earlier start; undefined if there are none. */
export function storedEnds(): readonly [number, number] | undefined {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = process.env;
  if (Number(LISTEN_PID) !== process.pid) return undefined;
  const names = (LISTEN_FDNAMES ?? '').split(':').slice(0, Number(LISTEN_FDS));
  const fds = names.flatMap((name, i) => (name === NAME ? [LISTEN_FDS_START + i] : []));
  const [first, second] = fds;
  if (first === undefined || second === undefined) return undefined;
  for (const fd of fds) setInherit(fd, false);
  return [first, second];
}
