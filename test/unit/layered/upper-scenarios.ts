/**
 * Operations on the upper layer, each of whose system calls a test lets fail, or ends the server before.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { afterEach, expect, vi } from 'vitest';
import { type Errno, isErrno } from '../../../src/base/errno.ts';
import { S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/base/stat-bits.ts';
import type { Changes, OpenedContent, Writer } from '../../../src/fs/writable-filesystem.ts';
import { isRoot } from '../../support/root.ts';
import { removeTree } from '../../support/tree-generator.ts';
import { directory, file, inline, symlink, treeOf } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';

// the variable is read when the modules are loaded
process.env['CFS_FAIL_UPPER_AT'] = 'nowhere';
export const { upperFailPoints } = await import('../../../src/system/fail-points.ts');
const fixture = await import('./layered-fixture.ts');
const { LayeredTree } = fixture;
export const { writer } = fixture;
type Layered = InstanceType<typeof LayeredTree>;

const at = useScratch();
export const THREAD = isMainThread ? 'main' : 'worker';
const LARGE = Buffer.alloc(70_000, 'all work and no play ');
const paths = {
  '/bin': directory,
  '/bin/tool': file(LARGE),
  '/bin/also-tool': '/bin/tool',
  '/bin/small': file('small'),
  '/bin/other': file('other'),
  '/empty': directory,
  '/etc': directory,
  '/etc/conf.d': directory,
  '/etc/conf.d/a': inline('a = 1\n'),
  '/etc/current': symlink('conf.d/a'),
};
const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const modes = Object.entries({ '/': directory, ...paths }).map(([path, body]) => [
  path,
  { ...own, mode: body === directory ? 0o755 : 0o644 },
]);
const tree = treeOf(paths, Object.fromEntries(modes));

/** One request, which a server may get again after another one was killed. */
type Request = (by: Writer) => Errno | 0 | number | OpenedContent;

/** Makes the state before a request, and finds the inodes that it names. */
export type Scenario = (one: Layered) => Request;

const bytes = (text: string): Uint8Array => Buffer.from(text);
const CAPABILITIES = bytes('security.capability');
/** `cap_net_raw=ep`: struct vfs_cap_data, revision 2, effective. */
const NET_RAW = Buffer.from('0100000200200000000000000000000000000000', 'hex');
const [O_RDWR, O_TRUNC] = [2, 0o1000];
const [RENAME_NOREPLACE, RENAME_EXCHANGE] = [1, 2];

const setattr = (one: Layered, path: string, changes: Partial<Changes>): Request => {
  const ino = one.ino(path);
  return (by) => one.fs.setattr(ino, { killPrivileges: false, ...changes }, by, one.out);
};
const open = (one: Layered, path: string, flags: number): Request => {
  const ino = one.ino(path);
  return () => one.fs.open(ino, flags, false);
};
const create = (one: Layered, parent: string, name: string): Request => {
  const ino = one.ino(parent);
  return (by) => one.fs.create(ino, bytes(name), 0o640, 1, by, one.out);
};
const mkdir = (one: Layered, parent: string, name: string): Request => {
  const ino = one.ino(parent);
  return (by) => one.fs.mkdir(ino, bytes(name), 0o750, by, one.out);
};
const makeSymlink = (one: Layered, parent: string, name: string): Request => {
  const ino = one.ino(parent);
  return (by) => one.fs.symlink(ino, bytes(name), bytes('target'), by, one.out);
};
const mkfifo = (one: Layered, parent: string, name: string): Request => {
  const ino = one.ino(parent);
  return (by) => one.fs.mknod(ino, bytes(name), S_IFIFO | 0o600, 0, by, one.out);
};
const link = (one: Layered, path: string, parent: string, name: string): Request => {
  const [ino, to] = [one.ino(path), one.ino(parent)];
  return (by) => one.fs.link(ino, to, bytes(name), by, one.out);
};
const unlink = (one: Layered, parent: string, name: string): Request => {
  const ino = one.ino(parent);
  return (by) => one.fs.unlink(ino, bytes(name), by);
};
const rmdir = (one: Layered, parent: string, name: string): Request => {
  const ino = one.ino(parent);
  return (by) => one.fs.rmdir(ino, bytes(name), by);
};
const rename = (one: Layered, from: string, name: string, to: string, newName: string, flags = 0): Request => {
  const [old, parent] = [one.ino(from), one.ino(to)];
  return (by) => one.fs.rename(old, bytes(name), parent, bytes(newName), flags, by);
};
const setxattr = (one: Layered, path: string): Request => {
  const ino = one.ino(path);
  return (by) => one.fs.setxattr(ino, bytes('user.name'), bytes('value'), 0, false, by);
};

/** Does `change` before the request. */
const after =
  (change: (one: Layered) => unknown, next: Scenario): Scenario =>
  (one) => {
    change(one);
    return next(one);
  };
const removed = (path: string) => (one: Layered) => one.unlink(path);
const made = (path: string) => (one: Layered) => one.write(path, 'made');
const changed = (path: string) => (one: Layered) => one.change(path, { mode: 0o600 });

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'create a file': (one) => create(one, '/', 'new'),
  'create a file in a directory of the image': (one) => create(one, '/etc/conf.d', 'new'),
  'create a file over a whiteout': after(removed('/bin/small'), (one) => create(one, '/bin', 'small')),
  'make a directory': (one) => mkdir(one, '/etc', 'new'),
  'make a directory over a whiteout': after(removed('/bin/small'), (one) => mkdir(one, '/bin', 'small')),
  'make a symbolic link': (one) => makeSymlink(one, '/etc', 'new'),
  'make a symbolic link over a whiteout': after(removed('/bin/small'), (one) => makeSymlink(one, '/bin', 'small')),
  'make a FIFO': (one) => mkfifo(one, '/etc', 'new'),
  'make a FIFO over a whiteout': after(removed('/bin/small'), (one) => mkfifo(one, '/bin', 'small')),
  'link a new file': after(made('/etc/made'), (one) => link(one, '/etc/made', '/bin', 'new')),
  'link a file of the image': (one) => link(one, '/bin/small', '/etc', 'new'),
  'link a file of the image with two names': (one) => link(one, '/bin/tool', '/etc', 'new'),
  'link a file over a whiteout': after(removed('/bin/small'), (one) => link(one, '/bin/other', '/bin', 'small')),
  'unlink a new file': after(made('/etc/made'), (one) => unlink(one, '/etc', 'made')),
  'unlink a file of the image': (one) => unlink(one, '/bin', 'small'),
  'unlink a second file of the image': after(removed('/bin/other'), (one) => unlink(one, '/bin', 'small')),
  'unlink a copied file': after(changed('/bin/small'), (one) => unlink(one, '/bin', 'small')),
  'unlink one of two names of the image': (one) => unlink(one, '/bin', 'tool'),
  'unlink the last of two names of the image': after(removed('/bin/tool'), (one) => unlink(one, '/bin', 'also-tool')),
  'unlink one of two new names': after(
    (one) => {
      one.write('/etc/made', 'made');
      one.link('/etc/made', '/etc/also-made');
    },
    (one) => unlink(one, '/etc', 'made'),
  ),
  'unlink one of two names over one of the image': after(
    (one) => {
      one.unlink('/bin/small');
      one.write('/bin/small', 'made');
      one.link('/bin/small', '/etc/also-made');
    },
    (one) => unlink(one, '/bin', 'small'),
  ),
  'remove a new directory': after(
    (one) => one.mkdir('/etc/made'),
    (one) => rmdir(one, '/etc', 'made'),
  ),
  'remove a directory of the image': (one) => rmdir(one, '/', 'empty'),
  'remove a directory with whiteouts': after(
    (one) => {
      one.unlink('/etc/conf.d/a');
      one.write('/etc/conf.d/b', 'b');
      one.unlink('/etc/conf.d/b');
    },
    (one) => rmdir(one, '/etc', 'conf.d'),
  ),
  'rename a new file': after(made('/etc/made'), (one) => rename(one, '/etc', 'made', '/bin', 'new')),
  'rename a new file over another': after(
    (one) => {
      one.write('/etc/made', 'made');
      one.write('/etc/replaced', 'replaced');
    },
    (one) => rename(one, '/etc', 'made', '/etc', 'replaced'),
  ),
  'rename a new file over one of the image': after(made('/etc/made'), (one) =>
    rename(one, '/etc', 'made', '/bin', 'small'),
  ),
  'rename a new file over one of two names': after(made('/etc/made'), (one) =>
    rename(one, '/etc', 'made', '/bin', 'tool'),
  ),
  'rename a file of the image': (one) => rename(one, '/bin', 'small', '/etc', 'new'),
  'rename a file of the image within its directory': (one) =>
    rename(one, '/bin', 'small', '/bin', 'new', RENAME_NOREPLACE),
  'rename a file of the image over another': (one) => rename(one, '/bin', 'small', '/bin', 'other'),
  'rename one of two names of the image': (one) => rename(one, '/bin', 'tool', '/etc', 'new'),
  'exchange files of the image': (one) => rename(one, '/bin', 'small', '/etc/conf.d', 'a', RENAME_EXCHANGE),
  'rename a new directory over a whiteout': after(
    (one) => {
      one.unlink('/bin/small');
      one.mkdir('/etc/made');
    },
    (one) => rename(one, '/etc', 'made', '/bin', 'small'),
  ),
  'rename a new directory over one of the image': after(
    (one) => one.mkdir('/etc/made'),
    (one) => rename(one, '/etc', 'made', '/', 'empty'),
  ),
  'rename a new directory over a new one': after(
    (one) => {
      one.mkdir('/etc/made');
      one.mkdir('/etc/replaced');
    },
    (one) => rename(one, '/etc', 'made', '/etc', 'replaced'),
  ),
  'open a file of the image for writing': (one) => open(one, '/bin/small', O_RDWR),
  'open a file with two names for writing': (one) => open(one, '/bin/tool', O_RDWR),
  'open a file of the image with O_TRUNC': (one) => open(one, '/bin/small', O_RDWR | O_TRUNC),
  'open a file that was changed for writing': after(changed('/bin/small'), (one) => open(one, '/bin/small', O_RDWR)),
  'write to a file': after(made('/etc/made'), (one) => {
    const ino = one.ino('/etc/made');
    return () => one.fs.write(ino, 2, bytes('other'), false);
  }),
  'make a file of the image shorter': (one) => setattr(one, '/bin/small', { size: 2 }),
  'make a file of the image longer': (one) => setattr(one, '/bin/small', { size: 9 }),
  'make a file that was changed shorter': after(changed('/bin/small'), (one) =>
    setattr(one, '/bin/small', { size: 2 }),
  ),
  'change the mode of a file of the image': (one) => setattr(one, '/bin/small', { mode: 0o600 }),
  'change the mode of a file with two names': (one) => setattr(one, '/bin/tool', { mode: 0o600 }),
  'change the mode of a directory of the image': (one) => setattr(one, '/etc/conf.d', { mode: 0o700 }),
  'change the times of a new file': after(made('/etc/made'), (one) =>
    setattr(one, '/etc/made', { mtime: { low: 1_000_000, high: 0, nsec: 3 } }),
  ),
  'set an xattr of a file of the image': (one) => setxattr(one, '/bin/small'),
  'remove an xattr': after(
    (one) => setxattr(one, '/bin/small')(writer()),
    (one) => {
      const ino = one.ino('/bin/small');
      return (by) => one.fs.removexattr(ino, bytes('user.name'), by);
    },
  ),
  'allocate blocks': after(made('/etc/made'), (one) => {
    const ino = one.ino('/etc/made');
    return () => one.fs.fallocate(ino, 0, 0, 10_000);
  }),
  ...(isRoot && {
    'open a file with capabilities that was changed for writing': after(
      (one: Layered) => {
        setattr(one, '/bin/small', { mode: 0o755 })(writer());
        const ino = one.ino('/bin/small');
        expect(one.fs.setxattr(ino, CAPABILITIES, NET_RAW, 0, false, writer())).toBe(0);
      },
      (one) => open(one, '/bin/small', O_RDWR),
    ),
    'change the owner of a file of the image': (one: Layered) => setattr(one, '/bin/small', { uid: 7, gid: 8 }),
    'rename a directory of the image': (one: Layered) => rename(one, '/etc', 'conf.d', '/bin', 'new'),
    'rename a directory of the image over another': (one: Layered) => rename(one, '/etc', 'conf.d', '/', 'empty'),
    'exchange a directory and a file': (one: Layered) => rename(one, '/etc', 'conf.d', '/bin', 'tool', RENAME_EXCHANGE),
  }),
};

let count = 0;
let current: Layered | undefined;
let place = '';
/** The private directory of the layer. */
export const privateDirectory = (): string => join(place, 'w/cfs');
afterEach(() => {
  upperFailPoints.failAt('nowhere');
  vi.restoreAllMocks();
  current?.close();
  current = undefined;
  removeTree(at('layers'));
});

/** The layer of a new directory, or of the last one with another table. */
export function layered(isNew = true): Layered {
  current?.close();
  if (isNew) place = at('layers', `${++count}`);
  // not volatile, each copy waits for the disk
  current = new LayeredTree(tree, place, { settings: { volatile: true }, inodes: 500 });
  return current;
}

/** Each name with what users see of it. Inodes that were there before are called by the names that they had then. */
export function look(one: Layered, before: ReadonlyMap<number, string>, hasTimes: boolean): string[] {
  const lines: string[] = [];
  const visit = (path: string): void => {
    const { ino, mode, uid, gid, nlink, size, mtimeLow, mtimeNsec } = one.stat(path);
    const type = mode & S_IFMT;
    const shown: unknown[] = [path, before.get(ino) ?? 'new', mode.toString(8), uid, gid];
    if (type !== S_IFDIR) shown.push(nlink, size);
    if (hasTimes && type !== S_IFDIR) shown.push(mtimeLow, mtimeNsec);
    if (type === S_IFREG) shown.push(one.read(path));
    if (type === S_IFLNK) shown.push(Buffer.from(one.fs.readlink(ino) as Uint8Array).toString());
    const xattr = one.fs.getxattr(ino, bytes('user.name'));
    if (!isErrno(xattr)) shown.push(Buffer.from(xattr).toString());
    const capabilities = one.fs.getxattr(ino, CAPABILITIES);
    if (!isErrno(capabilities)) shown.push(Buffer.from(capabilities).toString('hex'));
    lines.push(shown.join(' '));
    if (type === S_IFDIR) for (const name of one.list(path || '/', 100)) visit(`${path}/${name}`);
  };
  visit('');
  return lines;
}

/** The inodes by the first of their names. */
export function inodes(one: Layered): Map<number, string> {
  const found = new Map<number, string>();
  const visit = (path: string): void => {
    const { ino, mode } = one.stat(path);
    if (!found.has(ino)) found.set(ino, `was ${path}`);
    if ((mode & S_IFMT) === S_IFDIR) for (const name of one.list(path || '/', 100)) visit(`${path}/${name}`);
  };
  visit('');
  return found;
}

export function isDone(one: Layered, result: ReturnType<Request>): boolean {
  if (isErrno(result as Errno)) return false;
  if (typeof result === 'object') one.fs.closeContent(result);
  return true;
}

export const unfinished = (): string[] =>
  readdirSync(join(place, 'w/work')).filter((name) => name !== '#whiteout' && name !== 'cfs-ids');

/** The calls of a request that can fail; and what users see afterwards, which is also there after a remount. */
export function reference(prepare: Scenario): { readonly calls: string[]; readonly done: string[] } {
  const one = layered();
  const request = prepare(one);
  const before = inodes(one);
  const trace = `${place}.trace`;
  upperFailPoints.failAt(`trace:${trace}`);
  expect(isDone(one, request(writer()))).toBe(true);
  upperFailPoints.failAt('nowhere');
  const done = look(one, before, false);
  expect(look(layered(false), before, false), 'after a remount').toEqual(done);
  // there is none if the request changes nothing
  const calls = existsSync(trace) ? readFileSync(trace, 'utf8').trimEnd().split('\n') : [];
  return { calls, done };
}

/** An ordinary user repeats some of them: without privileges fewer calls are made. */
export const names = Object.keys(SCENARIOS).filter((_, i) => isRoot || i % 3 === 0);
