/** The daemon's program: its settings come on standard input, as JSON. */
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { type DaemonSettings, READY_FD, type Ready } from './daemon.ts';
import { CfsError } from './error.ts';
import { type MountedImage, mountImage } from './mount.ts';
import { MountKeeper, makeLog, summaryOf } from './serve.ts';
import { dup2, isInherited } from './syscall.ts';

const STDIN = 0;
const STDERR = 2;

async function runDaemon({ logFile, ...options }: DaemonSettings): Promise<void> {
  const log = makeLog(logFile ?? 'syslog');
  const keeper = new MountKeeper(log);
  let mounted: MountedImage;
  try {
    mounted = await mountImage({ ...options, log });
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    tell({ error: { kind: error.kind, message: error.message } });
    process.exitCode = 1;
    return;
  }
  process.title = `cfs-mount ${options.image} ${options.mountpoint}`;
  leaveTerminal();
  // a starter that was stopped meanwhile has told nobody of this mount
  if (tell({ mounted: summaryOf(mounted) })) await keeper.serve(mounted);
  else await keeper.abandon(mounted);
}

/** @returns false where the starter is not there any more */
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
 * Closes what the starter's starter left open: pipes of a build system, say, whose readers would wait for the
 * end of this daemon. node opens everything close-on-exec, so what is not came from outside.
 */
function closeInherited(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd > READY_FD && isInherited(fd)) closeSync(fd);
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

closeInherited();
// nothing: whoever started this has nothing to mount after all
const settings = readFileSync(STDIN, 'utf8');
if (settings !== '') await runDaemon(JSON.parse(settings) as DaemonSettings);
