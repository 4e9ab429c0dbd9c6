/** Everything of a mount that outlives the process which serves it: what it is, and its open files. */
import { lookAtParked, park } from '../survival/parking.ts';
import type { MountLease } from './mount-leases.ts';
import type { MountSource } from './mount-sources.ts';

/** Open files by their descriptors. */
export interface ParkedMount<Settings> {
  /** What the mount was made with. */
  readonly settings: Settings;
  /** Absolute, without symbolic links. */
  readonly mountpoint: string;
  /** major:minor of the mount's file system. */
  readonly device: string | undefined;
  /** Mounted by fusermount3. */
  readonly helper: boolean;
  readonly passthrough: boolean;
  /** FUSE_NOTIFY_RESEND may be asked for (Linux 6.9). */
  readonly resends: boolean;
  /** The connection. */
  readonly connection: number;
  /** The file of OpenFileJournal. */
  readonly journal: number;
  readonly sources: readonly MountSource[];
  /** The file of ImageKeeper; undefined of a mount that a version without it made. */
  readonly imageCopy: number | undefined;
  /** Undefined of a mount that a version without leases made. */
  readonly leases: readonly MountLease[] | undefined;
}

/** @returns the ends of the socket, as `park` gives them */
export function parkMount<Settings>(mount: ParkedMount<Settings>): readonly [number, number] {
  const fds: number[] = [];
  const add = (fd: number): number => (fd < 0 ? -1 : fds.push(fd) - 1);
  const value = {
    ...mount,
    connection: add(mount.connection),
    journal: add(mount.journal),
    sources: mount.sources.map((source) => ({
      ...source,
      fd: add(source.fd),
      directory: add(source.directory),
      name: Buffer.from(source.name).toString('base64'),
    })),
    imageCopy: add(mount.imageCopy ?? -1),
    leases: mount.leases?.map((lease) => ({ ...lease, fd: add(lease.fd) })),
  };
  return park({ value, fds });
}

/** Undefined where nothing is parked at `socket`: the mount has ended. */
export function lookAtParkedMount<Settings>(socket: number): ParkedMount<Settings> | undefined {
  const parked = lookAtParked(socket);
  if (parked === undefined) return undefined;
  const mount = parked.value as ParkedMount<Settings>;
  const fdOf = (index: number): number => (index < 0 ? -1 : (parked.fds[index] as number));
  return {
    ...mount,
    connection: fdOf(mount.connection),
    journal: fdOf(mount.journal),
    sources: mount.sources.map((source) => ({
      ...source,
      fd: fdOf(source.fd),
      directory: fdOf(source.directory),
      // a name is bytes, which JSON has not
      name: Buffer.from(source.name as unknown as string, 'base64'),
    })),
    imageCopy: fdOf(mount.imageCopy ?? -1),
    leases: mount.leases?.map((lease) => ({ ...lease, fd: fdOf(lease.fd) })),
  };
}
