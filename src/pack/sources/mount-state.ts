/** A writable mount at the time when packing begins, and whether it is still the same at the end. */
import { latin1, printable } from '../../base/bytes.ts';
import { isErrno } from '../../base/errno.ts';
import { CfsError } from '../../base/error.ts';
import { S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import type { ManifestTables } from '../../manifest/tables.ts';
import { changesOf, type MountChanges } from '../../mount-info/ask-changes.ts';
import type { ChangeRecord } from '../../mount-info/change-records.ts';
import { systemError } from '../../system/libc.ts';
import type { FileSystemId } from '../source.ts';
import { sourceError } from './source-error.ts';

export interface WritableMount {
  /** The open root of the mount. */
  readonly root: number;
  /** As it was given, for messages. */
  readonly path: Uint8Array;
  readonly imageId: string;
  readonly tables: ManifestTables;
  readonly changes: MountChanges;
  /** When the changes were asked for. */
  readonly began: number;
  /** `st_dev` of the mount, in the number of FileStat. */
  readonly device: number;
  /** The file system of the upper layer; undefined if its times are not reliable. */
  readonly upper: FileSystemId | undefined;
  /** Identifies the upper layer: `Source.name`. */
  readonly name: string;
  /** Whether xattrs of `trusted.` are seen. */
  readonly seesTrusted: boolean;
}

/** A file that is open for writing counts as unchanged if its ctime is this much older than the beginning. */
const CLOCK_MS = 100;
const MOST_LISTED = 10;

/** Whether a file would have another ctime if it were written after `began`. */
const isSettled = ({ ctime, ctimeNsec }: ChangeRecord, began: number): boolean =>
  ctime * 1000 + ctimeNsec / 1e6 + CLOCK_MS <= began;

const MOST_TRIES = 5;
const never: Int32Array = new Int32Array(new SharedArrayBuffer(4));

/** The changes, when no open file was written a moment ago, if there is such a time. */
export function settledChanges(fd: number): Pick<WritableMount, 'began' | 'changes'> | undefined {
  for (let tries = 1; ; tries++) {
    const began = Date.now();
    const changes = changesOf(fd);
    if (isErrno(changes)) return undefined;
    const isUnsettled = changes.records.some((record) => record.isChanging && !isSettled(record, began));
    if (!isUnsettled || tries === MOST_TRIES) return { began, changes };
    Atomics.wait(never, 0, 0, CLOCK_MS);
  }
}

/**
 * To be called at the end.
 * @throws CfsError (source) if anything changed since the beginning, with the paths
 */
export function requireUnchanged(
  { root, path, changes, began }: Pick<WritableMount, 'root' | 'path' | 'changes' | 'began'>,
  action: string = 'pack',
  done: string = 'packed',
): void {
  const now = changesOf(root, changes.token);
  if (isErrno(now)) throw sourceError('ask for the changes of', path, systemError(now, 'ioctl', ''));
  if (now.isEverything) {
    const reason = 'its server was replaced by one that does not know what changed';
    throw new CfsError('source', `Cannot ${action} ${printable(path)}: ${reason}`, { hint: 'Try it again.' });
  }
  const before = new Map(changes.records.map((record) => [keyOf(record), record]));
  const others = now.records.filter((record) => !isSame(before.get(keyOf(record)), record, began));
  if (others.length === 0) return;
  const listed = [...new Set(others.map((record) => printable(record.path)))].sort();
  const shown = listed.slice(0, MOST_LISTED).join(', ') + (listed.length > MOST_LISTED ? ', …' : '');
  const count = listed.length === 1 ? 'a file' : `${listed.length} files`;
  throw new CfsError('source', `Cannot ${action} ${printable(path)}: ${count} changed while it was ${done}: ${shown}`, {
    hint:
      action === 'pack' ? 'Pack a snapshot, or stop the program that writes to it.' : 'Stop the program that writes.',
  });
}

/** A path may be that of a file that is there, and of one that is gone. */
const keyOf = ({ kind, path }: ChangeRecord): string => (kind === 'removed' ? 'gone ' : '') + latin1(path);

/** Whether a file was only opened for writing, or closed, and nothing was written: its ctime is from before. */
function isSame(before: ChangeRecord | undefined, now: ChangeRecord, began: number): boolean {
  if ((now.mode & S_IFMT) !== S_IFREG || now.kind === 'removed' || !isSettled(now, began)) return false;
  if (before === undefined) return now.kind === 'changed' && now.what === 0;
  return before.ino === now.ino && before.size === now.size && before.kind === now.kind && before.what === now.what;
}
