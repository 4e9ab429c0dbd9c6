/**
 * One life of a mount in a process that serves it and does nothing else: it is made, or taken over from a server that
 * died; parked for the server after this one; and served to its end. The daemon and `cfs-mount -f` differ only in how
 * they report that the mount answers, and in what succeeds them.
 */
import { CfsError, reasonOf } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { mountImage, resumeMount } from './mount.ts';
import { MountKeeper, type Successor } from './mount-keeper.ts';
import type { MountedImage } from './mounted-image.ts';
import type { MountSettings, OwnProcess } from './options.ts';
import { lookAtParkedMount, type ParkedMount, parkMount } from './parked-mount.ts';

/** Both ends of the socket in which a mount is parked. */
export type ParkedEnds = readonly [number, number];

/** How a server died, as far as that is known. */
export interface Death {
  /** Its exit status as a shell has it; empty if unknown. */
  readonly status: string;
  /** The number of deaths in a row, including this one. */
  readonly inRow: number;
}

/** A mount that was left by the earlier server. */
export interface LeftMount<Settings extends MountSettings> {
  readonly ends: ParkedEnds;
  readonly mount: ParkedMount<Settings>;
  readonly death?: Death;
}

/** The differences between the processes that serve mounts. */
export interface SessionHost {
  readonly log: Log;

  /**
   * Arranges for another server to start if this one dies. Called when the mount answers and is parked, before it is
   * announced.
   * @param isNew the mount was made by this process, not taken over
   * @returns undefined if no process succeeds this one after all
   */
  succeed(ends: ParkedEnds, mounted: MountedImage, isNew: boolean): Successor | undefined;

  /** Reports that the mount answers. @returns false if nothing waits for it any more: it is then unmounted */
  report(mounted: MountedImage): boolean;
}

/**
 * @returns undefined if nothing is parked: the mount had ended before its server was killed
 * @throws CfsError (mount)
 */
export function leftMount<Settings extends MountSettings>(
  ends: ParkedEnds,
  death?: Death,
): LeftMount<Settings> | undefined {
  const mount = lookAtParkedMount<Settings>(ends);
  return mount && { ends, mount, ...(death === undefined ? {} : { death }) };
}

/**
 * Serves a new mount until it is unmounted or a signal comes.
 * @throws CfsError: image, store or mount, if it cannot be made
 */
export async function runSession(settings: MountSettings, host: SessionHost): Promise<void> {
  const { log } = host;
  const keeper = new MountKeeper(log);
  const own = new ServingProcess();
  const mounted = await mountImage({ ...settings, log, ownProcess: own });
  const ends = parkNew(mounted, settings, log);
  const successor = ends && succeed(ends, mounted, true, host);
  own.isFollowed = successor !== undefined;
  if (!host.report(mounted)) await mounted.unmount();
  await keeper.serve(mounted, successor);
}

/**
 * Continues to serve a mount whose server died, until it is unmounted or a signal comes.
 * @throws CfsError: image, if it cannot be served any longer
 */
export async function resumeSession<Settings extends MountSettings>(
  { ends, mount, death }: LeftMount<Settings>,
  host: SessionHost,
): Promise<void> {
  const { log } = host;
  const keeper = new MountKeeper(log);
  const mounted = await resumeMount(mount, { ...mount.settings, log, ownProcess: new ServingProcess(true) });
  log(
    `${mounted.mountpoint}: the server died${howOf(death)}; this one continues`,
    'warning',
    undefined,
    'server-took-over',
  );
  mounted.tellParked?.(ends[1]);
  const successor = succeed(ends, mounted, false, host);
  if (!host.report(mounted)) await mounted.unmount();
  await keeper.serve(mounted, successor);
}

/** The reaction of this process if a thread of the mount fails. */
class ServingProcess implements OwnProcess {
  /** Another server starts if this one dies. */
  isFollowed: boolean;

  constructor(isFollowed = false) {
    this.isFollowed = isFollowed;
  }

  /** Another process may succeed; without one, the mount is taken away. */
  failed(): void {
    if (this.isFollowed) process.kill(process.pid, 'SIGKILL');
  }
}

/** A mount without a successor of its server is better than no mount. */
function succeed(ends: ParkedEnds, mounted: MountedImage, isNew: boolean, host: SessionHost): Successor | undefined {
  try {
    return host.succeed(ends, mounted, isNew);
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    host.log(withoutSuccessor(mounted, error));
    return undefined;
  }
}

function parkNew(mounted: MountedImage, settings: MountSettings, log: Log): ParkedEnds | undefined {
  const { parked, mountpoint } = mounted;
  if (parked === undefined) return undefined;
  if (!parked.connection.resends) {
    log(`${mountpoint}: if this server dies, requests in flight fail: resending them needs Linux 6.9`, 'info');
  }
  try {
    const ends = parkMount({ ...parked, settings });
    mounted.tellParked?.(ends[1]);
    return ends;
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    log(withoutSuccessor(mounted, error));
    return undefined;
  }
}

const withoutSuccessor = ({ mountpoint }: MountedImage, error: CfsError): string =>
  `${mountpoint}: no server will take over if this one dies: ${reasonOf(error)}`;

function howOf(death: Death | undefined): string {
  if (death === undefined) return '';
  const status = death.status === '' ? '' : ` (status ${death.status})`;
  return death.inRow > 1 ? `${status}, ${death.inRow} in a row` : status;
}
