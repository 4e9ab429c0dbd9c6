/** Serving a mount to its end, in the foreground or as a daemon. */
import { closeSync, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { oneLine } from '../base/bytes.ts';
import { reasonOf } from '../base/error.ts';
import type { Log, Severity } from '../base/log.ts';
import { shownText } from '../base/path-text.ts';
import { LOG_DEBUG, LOG_ERR, LOG_INFO, LOG_WARNING, syslog } from '../system/syscall.ts';
import type { MountSummary } from './daemon.ts';
import { LineLimiter } from './line-limiter.ts';
import type { MountedImage } from './mount.ts';

const PRIORITIES: Readonly<Record<Severity, number>> = {
  error: LOG_ERR,
  warning: LOG_WARNING,
  info: LOG_INFO,
  debug: LOG_DEBUG,
};

export function summaryOf(mounted: MountedImage): MountSummary {
  const {
    unmount: _unmount,
    tellParked: _tellParked,
    tellWritten: _tellWritten,
    ending: _ending,
    ended: _ended,
    parked: _parked,
    ...summary
  } = mounted;
  return { ...summary, pid: process.pid };
}

/**
 * Writes one line; `where` is a file's path, 'stderr' or 'syslog'. The file is kept open, for a server that may open no more files
 * has something to say; another one is made where it was renamed or deleted, as by logrotate(8). What cannot be written there
 * goes to syslog: a full disk is no reason to stop serving.
 */
export function makeLog(where: string | 'stderr' | 'syslog'): Log {
  const limiter = new LineLimiter(writerOf(where));
  process.once('exit', () => limiter.flush());
  return (line, severity) => limiter.line(oneLine(shownText(line)), severity);
}

type Write = (line: string, severity: Severity) => void;

function writerOf(where: string | 'stderr' | 'syslog'): Write {
  const named = (line: string, severity: Severity): string =>
    `cfs-mount[${process.pid}]: ${severity === 'error' ? 'error: ' : ''}${line}`;
  const stamped: (...said: Parameters<Write>) => string = (...said) =>
    `${new Date().toISOString()} ${named(...said)}\n`;
  const toSyslog: Write = (line, severity) => void syslog(PRIORITIES[severity], `cfs-mount[${process.pid}]: ${line}`);
  // systemd reads the priority from the beginning of a line (sd-daemon(3))
  const isJournal = process.env['JOURNAL_STREAM'] !== undefined;
  const priority = (severity: Severity): string => (isJournal ? `<${PRIORITIES[severity]}>` : '');
  if (where === 'stderr')
    return (line, severity) => void process.stderr.write(priority(severity) + stamped(line, severity));
  if (where === 'syslog') return toSyslog;
  let file: number | undefined;
  const open = (): number => {
    if (file !== undefined && isAt(file, where)) return file;
    const other = openSync(where, 'a');
    if (file !== undefined) closeSync(file);
    file = other;
    return file;
  };
  const unlessFails = (work: () => void, otherwise: () => void): void => {
    try {
      work();
    } catch {
      otherwise();
    }
  };
  unlessFails(open, () => toSyslog(`cannot write the log ${where}`, 'warning'));
  return (line, severity) =>
    unlessFails(
      () => void writeSync(open(), stamped(line, severity)),
      () => toSyslog(line, severity),
    );
}

function isAt(file: number, path: string): boolean {
  const [own, there] = [fstatSync(file), statSync(path, { throwIfNoEntry: false })];
  return own.ino === there?.ino && own.dev === there.dev;
}

/** Who starts another server when this one dies. */
export interface Successor {
  /** Tells that the mount has ended as it should: nobody is to take over. */
  dismiss(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Keeps a mount from outliving its server by accident. Made before anything is mounted: a signal that comes
 * while the mount is made unmounts it as soon as it is there.
 */
export class MountKeeper {
  readonly #log: Log;
  #mounted: MountedImage | undefined;
  #supervisor: Successor | undefined;
  #signals = 0;

  constructor(log: Log) {
    this.#log = log;
    for (const signal of SIGNALS) process.on(signal, () => this.#onSignal(signal));
    process.on('uncaughtException', (error) => this.#onBug(error));
  }

  /** Serves until somebody unmounts, or a signal comes. */
  async serve(mounted: MountedImage, supervisor?: Successor): Promise<void> {
    this.#mounted = mounted;
    this.#supervisor = supervisor;
    if (this.#signals > 0) this.#unmount();
    await mounted.ending;
    supervisor?.dismiss();
    await mounted.ended;
  }

  /** The first unmounts, and files that are open are served on; the second does not wait for who has them open. */
  #onSignal(signal: NodeJS.Signals): void {
    if (++this.#signals === 1) this.#unmount();
    else {
      this.#supervisor?.dismiss();
      this.#die(signal);
    }
  }

  #unmount(): void {
    this.#mounted?.unmount().catch((error: unknown) => this.#log(`cannot unmount: ${reasonOf(error)}`, 'error'));
  }

  #onBug(error: Error): void {
    const what = this.#supervisor === undefined ? 'unmounting' : 'another server takes over';
    const line = `internal error, ${what}: ${(error.stack ?? error.message).replaceAll('\n', ' |')}`;
    this.#log(line, 'error');
    // a daemon that has not mounted yet still has its starter's terminal
    process.stderr.write(`cfs-mount: ${oneLine(line)}\n`);
    if (this.#supervisor === undefined) this.#unmount();
    this.#die('SIGKILL');
  }

  /** Ends the process by a signal: process.exit() would wait for threads that wait for requests. */
  #die(signal: NodeJS.Signals): void {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
}
