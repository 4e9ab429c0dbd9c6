/** Checks one of the 256 directories of objects: each file's shape, and its content against its name. */
import { constants } from 'node:fs';
import { equalBytes, toHex } from '../../base/bytes.ts';
import type { HashAlgorithm } from '../../base/digest.ts';
import { ELOOP, ENOENT, ENOTDIR, type Errno, errnoOf, isErrno } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { pathBytes } from '../../base/path-text.ts';
import { digestOf } from '../../objects/verify.ts';
import { closeFd } from '../../system/descriptors.ts';
import { openAt, statAt } from '../../system/file-calls.ts';
import type { FileStat } from '../../system/file-status.ts';
import { errnoText } from '../../system/libc.ts';
import { OBJECT_MODE, OBJECT_NAME, prefixName } from '../layout.ts';
import type { LocalRepository } from '../local-repository.ts';
import { isRegular, type StoreDirectory } from '../store-directory.ts';

/**
 * The problem of an object.
 * - corrupt: its content does not match its name
 * - shape: it is not a regular file
 * - unreadable: it could not be checked
 * - missing: a registered image or a mount names it
 * - quarantined: an earlier check moved it away, and there is no good copy yet
 */
export type DamageKind = 'corrupt' | 'shape' | 'unreadable' | 'missing' | 'quarantined';

export interface Damage {
  /** 64 hexadecimal digits. */
  readonly object: string;
  readonly kind: DamageKind;
  /** "its content is corrupted: …" */
  readonly problem: string;
}

/**
 * An oddity that damages no object.
 * - strange: it does not belong to a repository, or is not a directory as it should be
 * - mode: an object's file is writable
 * - missing: a directory that writers need
 */
export interface Oddity {
  readonly kind: 'strange' | 'mode' | 'missing';
  /** From the repository's directory. */
  readonly path: string;
  readonly problem: string;
  readonly mended?: true;
}

const OPEN_OBJECT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Receives the findings of a check. */
export interface CheckReport {
  damage(damage: Damage): void;
  oddity(oddity: Oddity): void;
  /** Called before each piece of content is hashed, with its bytes; may throw to stop. */
  bytes(length: number): void;
  /** Called after each object. */
  object(): void;
}

/**
 * Checks all files in `objects/<prefix>`. Files that are deleted during the check are skipped.
 * @returns the names of the existing objects, good or not, sorted
 * @throws CfsError (store) if the directory cannot be read
 */
export function checkPrefix(repository: LocalRepository, prefix: number, report: CheckReport): string[] {
  const place = `objects/${prefixName(prefix)}`;
  try {
    // if it is missing, fsck.ts reports that
    return repository.within(place, (directory) => checkIn(directory, repository.hash, prefix, report)) ?? [];
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    if (errno !== ELOOP && errno !== ENOTDIR) {
      throw new CfsError('store', `Cannot check repository ${repository.path}: ${place}: ${reasonOf(error)}`, {
        cause: error,
      });
    }
    // its objects count as missing, and all others can be checked
    report.oddity({ kind: 'strange', path: place, problem: reasonOf(error) });
    return [];
  }
}

function checkIn(directory: StoreDirectory, hash: HashAlgorithm, prefix: number, report: CheckReport): string[] {
  const there: string[] = [];
  for (const name of directory.names().sort()) {
    if (!OBJECT_NAME.test(name)) {
      const path = `objects/${prefixName(prefix)}/${name}`;
      report.oddity({ kind: 'strange', path, problem: 'its name is not a digest' });
    } else if (checkObject(directory.fd, hash, prefixName(prefix), name, report)) there.push(name);
  }
  return there;
}

/** @returns whether it exists */
function checkObject(
  directory: number,
  hash: HashAlgorithm,
  prefix: string,
  name: string,
  report: CheckReport,
): boolean {
  const bytes = pathBytes(name);
  const stat = statAt(directory, bytes);
  if (stat === ENOENT) return false;
  const object = prefix + name;
  const found = isErrno(stat) ? cannotRead(stat) : examine(directory, bytes, hash, object, stat, report.bytes);
  report.object();
  if (found === 'gone') return false;
  if (found !== undefined) report.damage({ object, ...found });
  else if (!isErrno(stat) && (stat.mode & 0o7777 & ~OBJECT_MODE) !== 0) {
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
    report.oddity({ kind: 'mode', path: `objects/${prefix}/${name}`, problem: `its mode is ${mode}` });
  }
  return true;
}

type Found = Omit<Damage, 'object'>;

const cannotRead = (errno: Errno): Found => ({ kind: 'unreadable', problem: `it cannot be read: ${errnoText(errno)}` });

function examine(
  directory: number,
  name: Uint8Array,
  hash: HashAlgorithm,
  object: string,
  stat: FileStat,
  onBytes: (length: number) => void,
): Found | 'gone' | undefined {
  // a fifo or a device is not even opened
  if (!isRegular(stat)) return { kind: 'shape', problem: 'it is not a regular file' };
  const fd = openAt(directory, name, OPEN_OBJECT);
  if (fd === ENOENT) return 'gone';
  if (isErrno(fd)) return cannotRead(fd);
  try {
    const digest = digestOf(fd, hash, stat.size, onBytes);
    if (digest !== undefined && equalBytes(digest, Buffer.from(object, 'hex'))) return undefined;
    const what = digest === undefined ? 'it became shorter while it was read' : `${hash} is ${toHex(digest)}`;
    return { kind: 'corrupt', problem: `its content is corrupted: ${what}` };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return cannotRead(errno);
  } finally {
    closeFd(fd);
  }
}

/** The current problem of one object; undefined if it is good. Shape, content; a missing one is `missing`. */
export function checkOne(repository: LocalRepository, object: string): Found | undefined {
  const missing: Found = { kind: 'missing', problem: 'it is missing' };
  let found: { readonly result: Found | 'gone' | undefined } | undefined;
  try {
    found = repository.within(`objects/${object.slice(0, 2)}`, ({ fd }) => {
      const name = Buffer.from(object.slice(2));
      const stat = statAt(fd, name);
      if (isErrno(stat)) return { result: stat === ENOENT ? missing : cannotRead(stat) };
      return { result: examine(fd, name, repository.hash, object, stat, () => undefined) };
    });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno === ELOOP || errno === ENOTDIR ? missing : cannotRead(errno);
  }
  return found === undefined || found.result === 'gone' ? missing : found.result;
}
