/**
 * Small tests of one situation each. The files of a test are made before: once in the file system under test, and once
 * below it, so that each call also meets files of the lower layer.
 */
import { lstatSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { native } from '../../src/system/libc.ts';
import type { Scratch } from '../e2e/harness.ts';
import { makeDevice } from '../support/libc.ts';
import {
  chmod,
  chown,
  closeLeft,
  lchown,
  mknod,
  nameOf,
  type Path,
  pread,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFSOCK,
} from './calls.ts';
import { differences, look } from './look.ts';
import { MAKE_SITE, type Site, type SiteName, TESTED } from './sites.ts';
import { ROOT, type User, withUmask } from './users.ts';

/** One situation. Both functions run as root in a directory of the case's own, with umask 0. */
export interface Case {
  readonly name: string;
  /** Makes the files that the calls need. */
  readonly arrange?: () => void;
  /** The calls, with the results expected on any file system, or on this one. */
  readonly act: (site: SiteName) => void;
}

/** A case for each item. */
export const casesOf = <T>(items: readonly T[], make: (item: T) => Case): Case[] => items.map(make);

type Layer = 'upper' | 'lower';

/** Registers the cases for each file system, with the files that they need in each layer. */
export function describeCases(scratch: Scratch, groups: Readonly<Record<string, readonly Case[]>>): void {
  for (const name of TESTED) {
    const layers: readonly Layer[] = name === 'plain' ? ['upper'] : ['upper', 'lower'];
    describe.each(layers)(`on ${name}, with files of the %s layer`, (layer) =>
      describeOn(scratch, name, layer, groups),
    );
  }
}

const directoryOf = (root: string, index: number): string => join(root, `case-${index}`);

function describeOn(
  scratch: Scratch,
  name: SiteName,
  layer: Layer,
  groups: Readonly<Record<string, readonly Case[]>>,
): void {
  const cases = Object.values(groups).flat();
  let site: Site;
  beforeAll(async () => {
    const lower = scratch.directory('lower');
    for (const index of cases.keys()) mkdirSync(directoryOf(lower, index), { mode: 0o755 });
    const arrangeAll = (root: string): void => {
      for (const [index, { arrange }] of cases.entries()) if (arrange) inside(directoryOf(root, index), arrange);
    };
    if (layer === 'lower') arrangeAll(lower);
    site = await MAKE_SITE[name](scratch, lower);
    if (layer === 'upper') arrangeAll(site.root);
  });
  afterAll(() => site?.end());

  describe.each(Object.entries(groups))('%s', (_, group) => {
    for (const one of group) {
      test(one.name, () => inside(directoryOf(site.root, cases.indexOf(one)), () => one.act(name)));
    }
  });

  test('everything is the same after it was mounted again', async () => {
    const before = look(site.root);
    await site.remount();
    expect(differences(before, look(site.root))).toEqual([]);
  });
}

function inside(directory: string, work: () => void): void {
  const before = process.cwd();
  process.chdir(directory);
  try {
    withUmask(0, work);
  } finally {
    process.chdir(before);
    closeLeft();
  }
}

/** Expects that the call succeeded. Returns its result. */
export function ok(result: number): number {
  expect(nameOf(result)).toBe('ok');
  return result;
}

/** The bytes that pread(2) returns, which must succeed. */
export function readAt(fd: number, length: number, offset: number): Buffer {
  const bytes = pread(fd, length, offset);
  if (isErrno(bytes)) throw new Error(`pread: ${nameOf(bytes)}`);
  return bytes;
}

/** Expects that the call failed with this error. */
export const fails = (result: number, error: string): void => expect(nameOf(result)).toBe(error);

interface Making {
  readonly mode?: number;
  readonly owner?: User;
}

/** Makes a regular file, of root and with mode 644 by default. */
export function makeFile(
  path: Path,
  { mode = 0o644, owner = ROOT, content = 'content' }: Making & { content?: string | Uint8Array } = {},
): void {
  writeFileSync(typeof path === 'string' ? path : Buffer.from(path), content);
  own(path, mode, owner);
}

/** Makes a directory, of root and with mode 755 by default. */
export function makeDirectory(path: string, { mode = 0o755, owner = ROOT }: Making = {}): void {
  mkdirSync(path);
  own(path, mode, owner);
}

function own(path: Path, mode: number, { uid, gid }: User): void {
  ok(chown(path, uid, gid));
  ok(chmod(path, mode));
}

/** A kind of file other than regular file, directory and symbolic link. */
export const NODE_TYPES = {
  fifo: S_IFIFO,
  socket: S_IFSOCK,
  'character device': S_IFCHR,
  'block device': S_IFBLK,
} as const;

/** Makes a file of any type: "file", "directory", "symlink", or one of NODE_TYPES. */
export function makeAny(type: string, path: string, making: Making = {}): void {
  if (type === 'file') makeFile(path, making);
  else if (type === 'directory') makeDirectory(path, making);
  else if (type === 'symlink') {
    symlinkSync('target', path);
    const { uid, gid } = making.owner ?? ROOT;
    ok(lchown(path, uid, gid));
  } else {
    ok(mknod(path, NODE_TYPES[type as keyof typeof NODE_TYPES] | 0o644, makeDevice(250, 1)));
    own(path, making.mode ?? 0o644, making.owner ?? ROOT);
  }
}

/** All of them. */
export const TYPES: readonly string[] = ['file', 'directory', 'symlink', ...Object.keys(NODE_TYPES)];

/** The mode without the type. */
export const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;

const clockFn = native('int clock_gettime(int clock, void *time)');
const CLOCK_REALTIME_COARSE = 5;
const clock = Buffer.alloc(16);

function coarseTime(): bigint {
  clockFn(CLOCK_REALTIME_COARSE, clock);
  return clock.readBigInt64LE(0) * 1_000_000_000n + clock.readBigInt64LE(8);
}

/** Waits until the clock that the kernel takes times of files from has advanced. */
export function tick(): void {
  const before = coarseTime();
  while (coarseTime() === before);
}
