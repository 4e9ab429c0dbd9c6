/** The daemon's program: its settings are the only argument, as JSON. */
import { closeSync, openSync, readdirSync, writeSync } from 'node:fs';
import { type DaemonSettings, READY_FD, type Ready } from './daemon.ts';
import { CfsError } from './error.ts';
import { type MountedImage, mountImage } from './mount.ts';
import { makeLog, serveUntilEnd, summaryOf } from './serve.ts';
import { dup2, isInherited } from './syscall.ts';

const STDERR = 2;

async function runDaemon(settings: DaemonSettings): Promise<void> {
  const { logFile, ...options } = settings;
  const tell = (ready: Ready): void => {
    writeSync(READY_FD, `${JSON.stringify(ready)}\n`);
    closeSync(READY_FD);
  };
  let mounted: MountedImage;
  try {
    mounted = await mountImage({ ...options, log: makeLog(logFile ?? 'syslog') });
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    tell({ error: { kind: error.kind, message: error.message } });
    process.exitCode = 1;
    return;
  }
  process.title = `cfs-mount ${settings.image} ${settings.mountpoint}`;
  leaveTerminal();
  tell({ mounted: summaryOf(mounted) });
  await serveUntilEnd(mounted);
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
  const fd = openSync('/dev/null', 'w');
  dup2(fd, STDERR);
  closeSync(fd);
}

closeInherited();
await runDaemon(JSON.parse(process.argv[2] as string) as DaemonSettings);
