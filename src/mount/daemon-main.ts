/**
 * The daemon's program: it reads its settings from standard input, as JSON; or it takes over a mount whose server died.
 */
import '../base/no-debugger.ts';
import '../system/exact-paths.ts';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { CfsError, withHint } from '../base/error.ts';
import { limitReason } from '../base/limits.ts';
import { shownText } from '../base/path-text.ts';
import { readOpenImage } from '../image/image-file.ts';
import { DEATHS, LAST_STATUS, PARKED_ENDS, REHEARSAL, REHEARSAL_FD } from '../survival/handover.ts';
import { Supervisor } from '../survival/supervisor.ts';
import { dup2, isInherited } from '../system/descriptors.ts';
import { type DaemonSettings, READY_FD, type Ready } from './daemon.ts';
import { summaryOf } from './mounted-image.ts';
import { loggedMount, makeLog } from './process-log.ts';
import { rebased } from './rebase-parked.ts';
import { leftMount, resumeSession, runSession } from './session.ts';

const STDIN = 0;
const STDERR = 2;

/** Mounts according to the settings, and reports to the starter. */
async function runDaemon(settings: DaemonSettings): Promise<void> {
  const { logFile, ...options } = settings;
  const about = loggedMount(settings);
  const log = makeLog(logFile ?? 'syslog', about);
  let isTold = false;
  try {
    await runSession(settings, {
      log,
      succeed: (ends, { parked, mountpoint, id }) => {
        about.id = id;
        const device = parked?.connection.device;
        return Supervisor.start(ends, { mountpoint, device, logFile }, log);
      },
      report: (mounted) => {
        isTold = true;
        nameProcess(settings);
        leaveTerminal();
        // a starter that was stopped has not announced this mount
        return tell({ mounted: summaryOf(mounted) });
      },
    });
  } catch (error) {
    if (isTold) throw error;
    const reason = limitReason(error);
    if (!(error instanceof CfsError) && reason === undefined) throw error;
    const { kind, message, hint } =
      error instanceof CfsError ? error : new CfsError('mount', `Cannot mount ${options.image}: ${reason}`);
    tell({ error: { kind, message, ...(hint === undefined ? {} : { hint }) } });
    process.exitCode = 1;
  }
}

/** Continues in place of a server that died. */
async function takeOver(inRow: number): Promise<void> {
  const left = leftMount<DaemonSettings>(PARKED_ENDS, { status: process.env[LAST_STATUS] ?? '', inRow });
  // the earlier server was killed after the mount had ended
  if (left === undefined) return;
  const { settings, connection } = left.mount;
  const { mountpoint, device } = connection;
  const about = loggedMount(settings, left.mount.sources);
  const log = makeLog(settings.logFile ?? 'syslog', about);
  nameProcess(settings);
  try {
    const now = await rebased(left, log);
    Object.assign(about, loggedMount(now.mount.settings, now.mount.sources));
    await resumeSession(now, {
      log,
      succeed: () => {
        const supervisor = Supervisor.ofParent({ mountpoint, device, logFile: settings.logFile }, log);
        supervisor.tellAnswered();
        return supervisor;
      },
      report: () => true,
    });
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    // the supervisor tries again for a while: what is missing may come back
    log(
      `cannot continue to serve ${mountpoint}: ${withHint(error.message, error.hint)}`,
      'error',
      undefined,
      'server-cannot-continue',
    );
    process.exitCode = 1;
  }
}

/** Reads the image as a server that takes over does, and ends. */
function rehearse(id: string): void {
  try {
    readOpenImage(REHEARSAL_FD, 'of the mount', id);
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    process.stderr.write(`Error: ${withHint(error.message, error.hint)}\n`);
    process.exitCode = 1;
  }
}

const nameProcess = ({ image, mountpoint }: DaemonSettings): void => {
  process.title = shownText(`cfs-mount ${image} ${mountpoint}`);
};

/** @returns false if the starter is gone */
function tell(ready: Ready): boolean {
  try {
    writeSync(READY_FD, `${JSON.stringify(ready)}\n`);
    closeSync(READY_FD);
    return true;
  } catch {
    return false;
  }
}

/**
 * Closes the descriptors that the starter inherited and left open: pipes of a build system, for example, whose readers
 * would wait for the end of this daemon. node opens everything close-on-exec, so any other descriptor came from
 * outside.
 */
function closeInherited(kept: readonly number[]): void {
  // without /proc nothing is mounted, and the starter reports this
  if (!existsSync('/proc/self/fd')) return;
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd > READY_FD && !kept.includes(fd) && isInherited(fd)) closeSync(fd);
  }
}

/** A daemon keeps no directory busy, and no terminal or pipe of its starter open. */
function leaveTerminal(): void {
  process.chdir('/');
  const fd = openSync('/dev/null', 'r+');
  dup2(fd, STDIN);
  dup2(fd, STDERR);
  closeSync(fd);
}

const deaths = Number(process.env[DEATHS] ?? 0);
const rehearsal = process.env[REHEARSAL];
closeInherited(deaths > 0 ? PARKED_ENDS : rehearsal === undefined ? [] : [REHEARSAL_FD]);
if (rehearsal !== undefined) {
  rehearse(rehearsal);
} else if (deaths > 0) {
  await takeOver(deaths);
} else {
  // empty if the starter has nothing to mount after all
  const settings = readFileSync(STDIN, 'utf8');
  const isWhole = settings.endsWith('}'); // otherwise the starter was killed while it wrote
  if (isWhole) await runDaemon(JSON.parse(settings) as DaemonSettings);
}
