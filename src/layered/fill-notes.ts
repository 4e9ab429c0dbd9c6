/**
 * Notes of files whose data is being copied in place. Writing the data changes their times, and removes their
 * capabilities, which are restored afterwards. If the server is killed in between, the next one, or the next mount,
 * restores them by the note.
 *
 * A note is a symbolic link among the orphans, so it is made by one call and is complete. It is made before the first
 * write, and removed when everything is restored. Only the thread that copies the data changes the file in the
 * meantime: others wait (`LayerState.copying`). So a note that a server finds when it begins is right. If overlayfs or
 * somebody else has changed the times in between, that is lost.
 */
import { EEXIST, ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { makeSymlinkAt, readLinkAt, setTimesAt, type TimeToSet, unlinkAt } from '../system/directory-calls.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { emptyFileStatus, type FileStatus, statusOf } from '../system/file-status.ts';
import { errnoText } from '../system/libc.ts';
import { getXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import type { Layer } from './layer.ts';
import { CAPABILITIES } from './layer-xattrs.ts';
import { orphanName, type Place, parseOrphanName } from './upper-tree.ts';

const PREFIX = 'fill-';
const EMPTY: Uint8Array = Uint8Array.of();

/** Times as three numbers each, and the xattr in hexadecimal digits. */
interface Kept {
  readonly atime: Exclude<TimeToSet, 'now'>;
  readonly mtime: Exclude<TimeToSet, 'now'>;
  readonly capabilities: Uint8Array | undefined;
}

const noteName = (ino: number): Uint8Array => Buffer.concat([Buffer.from(PREFIX), orphanName(ino)]);

/** The inode that a name among the orphans is a note of; -1 if it is none. */
export function notedInode(name: Uint8Array): number {
  const isNote = Buffer.from(name.subarray(0, PREFIX.length)).toString('latin1') === PREFIX;
  return isNote ? parseOrphanName(name.subarray(PREFIX.length)) : -1;
}

/**
 * Writes the data of an inode to its file `fd` by `fill`: times and capabilities are kept, also if it fails. Only where
 * the file system has no room for the capabilities that it had before, they are lost, and that is an error.
 */
export function fillInPlace(layer: Layer, ino: number, fd: number, fill: () => 0 | Errno): 0 | Errno {
  const kept = keptOf(fd);
  if (isErrno(kept)) return kept;
  const noted = note(layer, ino, kept);
  if (isErrno(noted)) return noted;
  const filled = fill();
  const restored = restore({ dir: fd, name: EMPTY }, kept);
  unlinkAt(layer.directories.orphans, noteName(ino));
  return isErrno(filled) ? filled : restored;
}

function note({ directories }: Layer, ino: number, kept: Kept): 0 | Errno {
  const target = Buffer.from(format(kept));
  const made = makeSymlinkAt(directories.orphans, noteName(ino), target);
  if (made !== EEXIST) return made;
  // one that could not be removed
  unlinkAt(directories.orphans, noteName(ino));
  return makeSymlinkAt(directories.orphans, noteName(ino), target);
}

/** For a server that begins, before its first request: restores what the last one was about to. */
export function restoreFilled(layer: Layer): void {
  const { directories } = layer;
  if (directories.orphans < 0) return;
  const found: Uint8Array[] = [];
  readDirectory(directories.orphans, (name) => {
    if (notedInode(name) >= 0) found.push(Buffer.from(name));
  });
  for (const name of found) {
    const result = restoreByNote(layer, name);
    if (isErrno(result)) layer.log(`times of a copied-up file cannot be restored: ${errnoText(result)}`);
    unlinkAt(directories.orphans, name);
  }
}

function restoreByNote(layer: Layer, name: Uint8Array): 0 | Errno {
  const target = readLinkAt(layer.directories.orphans, name);
  const kept = isErrno(target) ? undefined : parse(Buffer.from(target).toString('latin1'));
  const ino = notedInode(name);
  const confirmed = layer.confirm(ino, true);
  if (isErrno(confirmed)) return confirmed;
  const known = layer.table.find(ino);
  const row = known >= 0 ? known : layer.rowAfterScan(ino);
  // a file that is gone by now has no times
  if (row === ENOENT || kept === undefined) return 0;
  if (isErrno(row)) return row;
  const place = layer.tree.checkedPlace(row);
  return isErrno(place) ? place : restore(place, kept);
}

const status: FileStatus = emptyFileStatus();

function keptOf(fd: number): Kept | Errno {
  const looked = statusOf(fd, status);
  if (isErrno(looked)) return looked;
  const capabilities = getXattrAt(fd, EMPTY, CAPABILITIES);
  return {
    atime: { low: status.atimeLow, high: status.atimeHigh, nsec: status.atimeNsec },
    mtime: { low: status.mtimeLow, high: status.mtimeHigh, nsec: status.mtimeNsec },
    capabilities: isErrno(capabilities) ? undefined : capabilities,
  };
}

function restore({ dir, name }: Place, { atime, mtime, capabilities }: Kept): 0 | Errno {
  const set = capabilities === undefined ? 0 : setXattrAt(dir, name, CAPABILITIES, capabilities, 0);
  // the content is right without them, too
  setTimesAt(dir, name, atime, mtime);
  return set;
}

function format({ atime, mtime, capabilities }: Kept): string {
  const numbers = [atime, mtime].flatMap(({ low, high, nsec }) => [low, high, nsec]);
  return `${numbers.join(' ')} ${Buffer.from(capabilities ?? EMPTY).toString('hex')}.`;
}

function parse(text: string): Kept | undefined {
  const match = /^(-?\d+) (-?\d+) (\d+) (-?\d+) (-?\d+) (\d+) ([0-9a-f]*)\.$/.exec(text);
  if (match === null) return undefined;
  const [al, ah, an, ml, mh, mn] = match.slice(1, 7).map(Number) as [number, number, number, number, number, number];
  const capabilities = Buffer.from(match[7] as string, 'hex');
  return {
    atime: { low: al, high: ah, nsec: an },
    mtime: { low: ml, high: mh, nsec: mn },
    capabilities: capabilities.length > 0 ? capabilities : undefined,
  };
}
