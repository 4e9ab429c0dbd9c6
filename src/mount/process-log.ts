/** The log of a process that serves a mount. */
import { closeSync, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { oneLine } from '../base/bytes.ts';
import type { Log, LogEvent, ObjectProblem, Severity } from '../base/log.ts';
import { pathBytes, shownText } from '../base/path-text.ts';
import { isStderrOfJournal, type JournalField, sendToJournal } from '../system/journal.ts';
import { LOG_DAEMON, LOG_DEBUG, LOG_ERR, LOG_INFO, LOG_NOTICE, LOG_WARNING, syslog } from '../system/syslog.ts';
import { LineLimiter } from './line-limiter.ts';
import { MESSAGE_IDS } from './log-events.ts';
import type { MountSource } from './mount-sources.ts';

const PRIORITIES: Readonly<Record<Severity, number>> = {
  error: LOG_ERR,
  warning: LOG_WARNING,
  notice: LOG_NOTICE,
  info: LOG_INFO,
  debug: LOG_DEBUG,
};

/** What the lines are about, for the journal. */
export interface LoggedMount {
  mountpoint: string;
  image: string;
  /** In search order. */
  repositories: readonly string[];
  /** Undefined until the image was read. */
  id?: string;
}

/** @param sources of a mount that exists */
export function loggedMount(
  { mountpoint, image, repositories }: Pick<LoggedMount, 'mountpoint' | 'image' | 'repositories'>,
  sources: readonly Pick<MountSource, 'id'>[] = [],
): LoggedMount {
  const [source] = sources;
  return { mountpoint, image, repositories, ...(source === undefined ? {} : { id: source.id }) };
}

interface LineData {
  readonly about: ObjectProblem | undefined;
  readonly event: LogEvent | undefined;
}

/**
 * Writes one line; `where` is a file's path, 'stderr' or 'syslog'. The file is kept open, because a server that may
 * open no more files has something to log, too. If it was renamed or deleted, as by logrotate(8), a new one is made. A
 * line that cannot be written there goes to syslog: a full disk is no reason to stop serving. The journal, if there is
 * one, is preferred to syslog, and to standard error that leads to it: its entries have fields.
 */
export function makeLog(where: string | 'stderr' | 'syslog', mount: LoggedMount): Log {
  const limiter = new LineLimiter<LineData>(writerOf(where, mount));
  process.once('exit', () => limiter.flush());
  return (line, severity, about, event) => limiter.line(oneLine(shownText(line)), severity, { about, event });
}

type Write = (line: string, severity: Severity, data: LineData | undefined) => void;

function writerOf(where: string | 'stderr' | 'syslog', mount: LoggedMount): Write {
  const named = (line: string, severity: Severity): string =>
    `cfs-mount[${process.pid}]: ${severity === 'error' ? 'error: ' : ''}${line}`;
  const stamped = (line: string, severity: Severity): string =>
    `${new Date().toISOString()} ${named(line, severity)}\n`;
  const toJournal = (...[line, severity, data]: Parameters<Write>): boolean =>
    sendToJournal(fieldsOf(line, severity, data, mount));
  const toSyslog: Write = (line, severity, data) => {
    if (!toJournal(line, severity, data)) syslog(PRIORITIES[severity], `cfs-mount[${process.pid}]: ${line}`);
  };
  if (where === 'stderr') {
    // systemd reads the priority from the beginning of a line (sd-daemon(3))
    const hasPriority = process.env['JOURNAL_STREAM'] !== undefined;
    const isJournal = isStderrOfJournal();
    return (line, severity, data) => {
      if (isJournal && toJournal(line, severity, data)) return;
      process.stderr.write((hasPriority ? `<${PRIORITIES[severity]}>` : '') + stamped(line, severity));
    };
  }
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
  unlessFails(open, () => toSyslog(`cannot write the log ${where}`, 'warning', undefined));
  return (line, severity, data) =>
    unlessFails(
      () => void writeSync(open(), stamped(line, severity)),
      () => toSyslog(line, severity, data),
    );
}

/** An entry of the journal. Repositories are those that had no good copy, in search order. */
function fieldsOf(
  line: string,
  severity: Severity,
  data: LineData | undefined,
  { mountpoint, image, repositories, id }: LoggedMount,
): JournalField[] {
  const { about, event } = data ?? {};
  const path = (name: string, value: string): JournalField[] => (value === '' ? [] : [[name, pathBytes(value)]]);
  return [
    ['MESSAGE', line],
    ['PRIORITY', String(PRIORITIES[severity])],
    ['SYSLOG_FACILITY', String(LOG_DAEMON >> 3)],
    ['SYSLOG_IDENTIFIER', 'cfs-mount'],
    ['SYSLOG_PID', String(process.pid)],
    ...(event === undefined ? [] : [['MESSAGE_ID', MESSAGE_IDS[event]] as const]),
    ...path('CFS_MOUNTPOINT', mountpoint),
    ...path('CFS_IMAGE', image),
    ...(id === undefined ? [] : [['CFS_IMAGE_ID', id] as const]),
    ...(about === undefined ? [] : [['CFS_OBJECT', about.digest] as const]),
    ...(about?.copies ?? []).flatMap(({ repository, outcome }): JournalField[] => {
      const of = repositories[repository - 1];
      return of === undefined ? [] : [...path('CFS_REPOSITORY', of), ['CFS_OUTCOME', outcome]];
    }),
  ];
}

function isAt(file: number, path: string): boolean {
  const [own, there] = [fstatSync(file), statSync(path, { throwIfNoEntry: false })];
  return own.ino === there?.ino && own.dev === there.dev;
}
