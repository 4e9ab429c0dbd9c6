/** Serving a mount to its end, in the foreground or as a daemon. */
import { appendFileSync } from 'node:fs';
import type { MountSummary } from './daemon.ts';
import type { MountedImage } from './mount.ts';
import { LOG_WARNING, syslog } from './syscall.ts';

export function summaryOf(mounted: MountedImage): MountSummary {
  const { unmount: _unmount, ended: _ended, ...summary } = mounted;
  return { ...summary, pid: process.pid };
}

/** Writes one line; `where` is a file's path, 'stderr' or 'syslog'. */
export function makeLog(where: string | 'stderr' | 'syslog'): (line: string) => void {
  const stamped = (line: string): string => `${new Date().toISOString()} cfs-mount[${process.pid}]: ${line}\n`;
  if (where === 'stderr') return (line) => void process.stderr.write(stamped(line));
  if (where === 'syslog') return (line) => syslog(LOG_WARNING, `cfs-mount[${process.pid}]: ${line}`);
  return (line) => appendFileSync(where, stamped(line));
}

/** Serves until somebody unmounts. SIGINT, SIGTERM and SIGHUP unmount; a second one does not wait for who still uses the mount. */
export async function serveUntilEnd(mounted: MountedImage): Promise<void> {
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (++signals > 1) {
      // process.exit() would wait for threads that wait for requests
      process.removeListener(signal, onSignal);
      process.kill(process.pid, signal);
    }
    mounted.unmount().catch((error: unknown) => {
      process.stderr.write(`cfs-mount: ${signal}: cannot unmount: ${String(error)}\n`);
    });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  await mounted.ended;
}
