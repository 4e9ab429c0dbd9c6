/** The result of stat(2), for people and for programs. */
import type { BigIntStats } from 'node:fs';
import { fileType, modeString, utcTime } from './inode.ts';

/** A stat in --json. Keys without a value are left out. */
export interface StatJson {
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  /** Whole seconds since 1970. */
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
  /** A string beyond 2^53, because a JSON reader may lose digits; stacked file systems have such numbers. */
  readonly ino: number | string;
  readonly dev: string;
  readonly rdev: string | undefined;
}

export function jsonOfStat(stat: BigIntStats): StatJson {
  const inode = BigInt.asUintN(64, stat.ino); // node reads it as signed
  return {
    type: fileType(Number(stat.mode)).name,
    mode: Number(stat.mode),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    nlink: Number(stat.nlink),
    size: Number(stat.size),
    mtime: Number(secondsOf(stat.mtimeNs)),
    mtimeNsec: nanosecondsOf(stat.mtimeNs),
    ctime: Number(secondsOf(stat.ctimeNs)),
    ctimeNsec: nanosecondsOf(stat.ctimeNs),
    ino: inode <= Number.MAX_SAFE_INTEGER ? Number(inode) : String(inode),
    dev: deviceText(stat.dev),
    rdev: stat.isCharacterDevice() || stat.isBlockDevice() ? deviceText(stat.rdev) : undefined,
  };
}

const NS = 1_000_000_000n;
const nanosecondsOf = (ns: bigint): number => Number(((ns % NS) + NS) % NS);
const secondsOf = (ns: bigint): bigint => (ns - BigInt(nanosecondsOf(ns))) / NS;

/** "8:17"; gnu_dev_major(3) of a 64-bit dev_t. */
function deviceText(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn & 0xffffffffn);
  return `${major}:${minor}`;
}

/** As lines of "key: value". */
export function linesOfStat(stat: BigIntStats): [key: string, value: string][] {
  const { type, mode, uid, gid, nlink, size, ino, rdev } = jsonOfStat(stat);
  const lines: [key: string, value: string][] = [
    ['type', type],
    ['mode', `0${mode.toString(8)} ${modeString(mode)}`],
    ['uid', String(uid)],
    ['gid', String(gid)],
    ['nlink', String(nlink)],
    ['size', String(size)],
    ['mtime', utcTime(secondsOf(stat.mtimeNs), nanosecondsOf(stat.mtimeNs))],
    ['ctime', utcTime(secondsOf(stat.ctimeNs), nanosecondsOf(stat.ctimeNs))],
    ['inode', String(ino)],
  ];
  if (rdev !== undefined) lines.push(['rdev', rdev]);
  return lines;
}
