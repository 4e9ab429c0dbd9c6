/**
 * The results of the last fsck and of the last gc, for reports: a small file for each in runs/. They are only
 * information. A run that cannot write one has the same result, and a damaged one counts as missing.
 */
import { errnoOf } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import type { LocalRepository } from './local-repository.ts';
import { replaceSmallFile } from './small-file.ts';
import { distrust } from './trust.ts';

/** Numbers of a run. `time`: when it ended, in ms since 1970; `ms`: how long it took. */
const FIELDS = {
  /** `damaged`: objects that were damaged or missing; `repaired`: of these; `badRoots`: damaged lists of images. */
  fsck: ['time', 'ms', 'objects', 'bytes', 'damaged', 'repaired', 'badRoots'],
  gc: ['time', 'ms', 'freedObjects', 'freedBytes', 'freedDiskBytes', 'keptObjects', 'keptBytes', 'keptDiskBytes'],
} as const;

export type RunKind = keyof typeof FIELDS;
export type Run<K extends RunKind> = Readonly<Record<(typeof FIELDS)[K][number], number>>;

const DIRECTORY = 'runs';
const VERSION = 1;
const MOST_BYTES = 4_096;

/** Records a run that has just ended. Does nothing if this process may not write to the repository. */
export function rememberRun<K extends RunKind>(
  repository: LocalRepository,
  kind: K,
  run: Omit<Run<K>, 'time' | 'ms'>,
  ms: number,
): void {
  const text = JSON.stringify({ version: VERSION, time: Date.now(), ms: Math.round(ms), ...run });
  try {
    const root = repository.enter();
    try {
      if (distrust(root) !== undefined) return;
      const directory = root.make(DIRECTORY);
      try {
        replaceSmallFile(repository, directory, kind, Buffer.from(`${text}\n`), 'run', true);
      } finally {
        directory.close();
      }
    } finally {
      root.close();
    }
  } catch (error) {
    // read-only, full, another user's, or something else in its place
    if (!(error instanceof CfsError) && errnoOf(error) === undefined) throw error;
  }
}

/** The last run; undefined if none is recorded, or the record cannot be read. */
export function lastRun<K extends RunKind>(repository: LocalRepository, kind: K): Run<K> | undefined {
  try {
    const text = repository.within(DIRECTORY, (directory) => directory.readText(kind, MOST_BYTES));
    return text === undefined ? undefined : parseRun(text, kind);
  } catch (error) {
    if (!(error instanceof CfsError) && errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

/** Undefined for anything but a record of this version, with all its numbers. */
function parseRun<K extends RunKind>(text: string, kind: K): Run<K> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const record = value as Readonly<Record<string, unknown>>;
  const fields: readonly string[] = FIELDS[kind];
  if (record['version'] !== VERSION) return undefined;
  if (!fields.every((field) => Number.isSafeInteger(record[field]) && (record[field] as number) >= 0)) return undefined;
  // a time that no calendar has is damage, too
  if ((record['time'] as number) > LAST_TIME) return undefined;
  return Object.fromEntries(fields.map((field) => [field, record[field]])) as Run<K>;
}

/** The last time that a Date can have. */
const LAST_TIME = 8.64e15;
