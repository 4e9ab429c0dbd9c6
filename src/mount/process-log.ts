/** The log of a process that serves a mount. */
import { closeSync, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { oneLine } from '../base/bytes.ts';
import type { Log, Severity } from '../base/log.ts';
import { shownText } from '../base/path-text.ts';
import { LOG_DEBUG, LOG_ERR, LOG_INFO, LOG_WARNING, syslog } from '../system/syslog.ts';
import { LineLimiter } from './line-limiter.ts';

const PRIORITIES: Readonly<Record<Severity, number>> = {
  error: LOG_ERR,
  warning: LOG_WARNING,
  info: LOG_INFO,
  debug: LOG_DEBUG,
};

/**
 * Writes one line; `where` is a file's path, 'stderr' or 'syslog'. The file is kept open, because a server that may
 * open no more files has something to log, too. If it was renamed or deleted, as by logrotate(8), a new one is made. A
 * line that cannot be written there goes to syslog: a full disk is no reason to stop serving.
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
