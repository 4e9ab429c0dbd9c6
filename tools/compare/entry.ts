/** Compares one name on both sides: its metadata, its link target, its attributes, its content. */
import { type BigIntStats, closeSync, constants, openSync, readlinkSync, readSync } from 'node:fs';
import { compareBytes, equalBytes, exactUtf8, printable } from '../../src/base/bytes.ts';
import { EOPNOTSUPP, isErrno } from '../../src/base/errno.ts';
import { getXattr, listXattrs } from '../../src/system/xattrs.ts';
import { attempt, Failure, type Name, type Report } from './report.ts';

const CHUNK = 1 << 20;
/** Neither blocks if the file has become a fifo, nor follows it if it has become a symbolic link. */
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
const NSEC_PER_SEC = 1_000_000_000n;
const NSEC_PER_MSEC = 1_000_000n;

const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [constants.S_IFREG, 'file'],
  [constants.S_IFDIR, 'directory'],
  [constants.S_IFLNK, 'symbolic link'],
  [constants.S_IFIFO, 'fifo'],
  [constants.S_IFSOCK, 'socket'],
  [constants.S_IFCHR, 'character device'],
  [constants.S_IFBLK, 'block device'],
]);

/** The file type bits of st_mode. */
export const typeOf = (stats: BigIntStats): number => Number(stats.mode) & constants.S_IFMT;

const typeText = (stats: BigIntStats): string => TYPE_NAMES.get(typeOf(stats)) ?? `type 0${typeOf(stats).toString(8)}`;
const modeText = (stats: BigIntStats): string => `0${(Number(stats.mode) & 0o7777).toString(8)}`;

/** All results of stat(2) except the inode number and link count, which need the whole tree. */
export function compareStats(report: Report, name: Name, left: BigIntStats, right: BigIntStats): void {
  report.compare('type', name, typeText(left), typeText(right));
  report.compare('mode', name, modeText(left), modeText(right));
  report.compare('uid', name, `${left.uid}`, `${right.uid}`);
  report.compare('gid', name, `${left.gid}`, `${right.gid}`);
  compareTimes(report, name, left.mtimeNs, right.mtimeNs);
  if (typeOf(left) !== typeOf(right) || left.isDirectory()) return;
  report.compare('size', name, `${left.size}`, `${right.size}`);
  if (left.isCharacterDevice() || left.isBlockDevice()) {
    report.compare('rdev', name, `0x${left.rdev.toString(16)}`, `0x${right.rdev.toString(16)}`);
  }
}

function compareTimes(report: Report, name: Name, left: bigint, right: bigint): void {
  const unit = report.ignores('mtimeNsec') ? NSEC_PER_MSEC : 1n;
  if (floorDivide(left, unit) === floorDivide(right, unit)) return;
  const sameSecond = floorDivide(left, NSEC_PER_SEC) === floorDivide(right, NSEC_PER_SEC);
  const field = sameSecond && unit === 1n ? 'mtimeNsec' : 'mtime';
  // ignoring the whole time includes its fraction
  if (!report.ignores('mtime')) report.differ(field, name, timeText(left), timeText(right));
}

function floorDivide(a: bigint, b: bigint): bigint {
  return a >= 0n ? a / b : -((b - 1n - a) / b);
}

function timeText(nanoseconds: bigint): string {
  const second = floorDivide(nanoseconds, NSEC_PER_SEC);
  return `${second} s + ${nanoseconds - second * NSEC_PER_SEC} ns`;
}

/** Returns true if the target was skipped because it is not UTF-8. */
export function compareTargets(
  report: Report,
  name: Name,
  leftPath: Uint8Array,
  rightPath: Uint8Array,
  skipNonUtf8: boolean,
): boolean {
  const left = attempt(() => readTarget(leftPath));
  if (skipNonUtf8 && !(left instanceof Failure) && exactUtf8(left) === undefined) return true;
  const right = attempt(() => readTarget(rightPath));
  if (left instanceof Failure || right instanceof Failure) report.unreadable('target', name, left, right);
  else if (!equalBytes(left, right)) report.differ('target', name, printable(left), printable(right));
  return false;
}

const readTarget = (path: Uint8Array): Buffer => readlinkSync(Buffer.from(path), { encoding: 'buffer' });

/** Names as latin1 text, so that each byte counts. */
type Xattrs = ReadonlyMap<string, Uint8Array>;

export function compareXattrs(report: Report, name: Name, leftPath: Uint8Array, rightPath: Uint8Array): void {
  if (report.ignores('xattrs')) return;
  const left = readXattrs(leftPath);
  const right = readXattrs(rightPath);
  if (left instanceof Failure || right instanceof Failure) {
    report.unreadable('xattrs', name, left, right);
    return;
  }
  for (const attribute of new Set([...left.keys(), ...right.keys()])) {
    const a = left.get(attribute);
    const b = right.get(attribute);
    if (a !== undefined && b !== undefined && equalBytes(a, b)) continue;
    report.differ('xattrs', name, xattrText(attribute, a), xattrText(attribute, b));
  }
}

function xattrText(attribute: string, value: Uint8Array | undefined): string {
  const shown = printable(Buffer.from(attribute, 'latin1'));
  if (value === undefined) return `no ${shown}`;
  return `${shown}=${printable(value.subarray(0, 80))}${value.length > 80 ? `… (${value.length} bytes)` : ''}`;
}

function readXattrs(path: Uint8Array): Xattrs | Failure {
  const names = listXattrs(path);
  if (isErrno(names)) return names === EOPNOTSUPP ? new Map<string, Uint8Array>() : new Failure(names);
  const xattrs = new Map<string, Uint8Array>();
  for (const name of names.sort(compareBytes)) {
    const value = getXattr(path, name);
    if (isErrno(value)) return new Failure(value);
    xattrs.set(Buffer.from(name).toString('latin1'), value);
  }
  return xattrs;
}

/** Compares contents chunk by chunk; keeps its two buffers from file to file. */
export class ContentComparer {
  readonly #report: Report;
  readonly #left: Buffer = Buffer.alloc(CHUNK);
  readonly #right: Buffer = Buffer.alloc(CHUNK);
  /** Regular files that were compared to their ends. */
  files = 0;
  /** Bytes that are the same on both sides. */
  bytes = 0;

  constructor(report: Report) {
    this.#report = report;
  }

  compare(name: Name, leftPath: Uint8Array, rightPath: Uint8Array): void {
    if (this.#report.ignores('content')) return;
    const left = attempt(() => openSync(Buffer.from(leftPath), OPEN_FILE));
    const right = attempt(() => openSync(Buffer.from(rightPath), OPEN_FILE));
    try {
      if (left instanceof Failure || right instanceof Failure) this.#report.unreadable('content', name, left, right);
      else this.#compareOpen(name, left, right);
    } finally {
      if (!(left instanceof Failure)) closeSync(left);
      if (!(right instanceof Failure)) closeSync(right);
    }
  }

  #compareOpen(name: Name, left: number, right: number): void {
    for (let at = 0; ; ) {
      const a = attempt(() => readFull(left, this.#left, at));
      const b = attempt(() => readFull(right, this.#right, at));
      if (a instanceof Failure || b instanceof Failure) {
        this.#report.unreadable('content', name, a, b);
        return;
      }
      if (a !== b || this.#left.compare(this.#right, 0, b, 0, a) !== 0) {
        this.#reportBytes(name, this.#left.subarray(0, a), this.#right.subarray(0, b), at);
        return;
      }
      this.bytes += a;
      at += a;
      if (a < CHUNK) break;
    }
    this.files++;
  }

  #reportBytes(name: Name, left: Buffer, right: Buffer, at: number): void {
    const same = Math.min(left.length, right.length);
    let i = 0;
    while (i < same && left[i] === right[i]) i++;
    const text = (side: Buffer): string =>
      i < side.length ? `0x${side.toString('hex', i, i + 1)} at byte ${at + i}` : `ends at byte ${at + i}`;
    this.#report.differ('content', name, text(left), text(right));
  }
}

/** Fills `buffer` from offset `at` of the file, up to its end. */
function readFull(fd: number, buffer: Buffer, at: number): number {
  let filled = 0;
  while (filled < buffer.length) {
    const n = readSync(fd, buffer, filled, buffer.length - filled, at + filled);
    if (n === 0) break;
    filled += n;
  }
  return filled;
}
