/**
 * The tree with which the random steps begin: each kind of file, and properties that copying up may lose.
 */
import {
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { makeDevice } from '../../support/libc.ts';
import { Random } from '../../support/random.ts';
import { chmod, close, lchown, lsetxattr, mknod, nameOf, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from '../calls.ts';
import { ALICE, BOB } from '../users.ts';

/** Paths of the tree, its directories first, in an order in which each can be made. */
export const DIRECTORIES: readonly string[] = [
  'dir',
  'dir/sub',
  'dir/sub/deep',
  'pair',
  'sticky',
  'setgid',
  'acl',
  'mine',
  'empty',
];

export const FILES: readonly string[] = [
  'file',
  'big',
  'sparse',
  'none',
  'dir/file',
  'dir/sub/file',
  'dir/sub/deep/file',
  'sticky/of-alice',
  'sticky/of-bob',
  'mine/file',
  'setgid/file',
  'acl/file',
  'with-xattrs',
  'with-acl',
  'setuid',
  'pair/a',
  'one',
];

/** Further names of existing files, each with the first name. */
export const LINKS: readonly (readonly [name: string, of: string])[] = [
  ['pair/b', 'pair/a'],
  ['two', 'one'],
  ['dir/three', 'one'],
];

export const SYMLINKS: readonly (readonly [name: string, target: string])[] = [
  ['link', 'file'],
  ['dangling', 'new/target'],
  ['to-dir', 'dir'],
  ['dir/up', '../file'],
  ['loop', 'loop'],
];

export const NODES: readonly (readonly [name: string, mode: number, device: number])[] = [
  ['fifo', S_IFIFO | 0o640, 0],
  ['socket', S_IFSOCK | 0o755, 0],
  ['null', S_IFCHR | 0o666, makeDevice(1, 3)],
  // a device for which the kernel has no driver
  ['dir/block', S_IFBLK | 0o600, makeDevice(250, 99)],
];

/** struct posix_acl_xattr_header and its entries: tag, permissions, id. */
export function aclOf(entries: readonly (readonly [tag: number, permissions: number, id?: number])[]): Buffer {
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2, 0);
  for (const [i, [tag, permissions, id = 0xffff_ffff]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * i);
    bytes.writeUInt16LE(permissions, 6 + 8 * i);
    bytes.writeUInt32LE(id, 8 + 8 * i);
  }
  return bytes;
}

export const ACL_USER_OBJ = 0x01;
export const ACL_USER = 0x02;
export const ACL_GROUP_OBJ = 0x04;
export const ACL_GROUP = 0x08;
export const ACL_MASK = 0x10;
export const ACL_OTHER = 0x20;

/** rwx for the owner, and `permissions` for one more user. */
export const aclFor = (uid: number, permissions: number): Buffer =>
  aclOf([
    [ACL_USER_OBJ, 7],
    [ACL_USER, permissions, uid],
    [ACL_GROUP_OBJ, 5],
    [ACL_MASK, 7],
    [ACL_OTHER, 1],
  ]);

function must(result: number, what: string): void {
  if (result < 0) throw new Error(`${what}: ${nameOf(result)}`);
}

/** Makes the tree in the empty directory `at`. */
export function makeLowerTree(at: string): void {
  const random = new Random(12);
  const path = (name: string): string => join(at, name);
  must(chmod(at, 0o755), at);
  for (const name of DIRECTORIES) mkdirSync(path(name), 0o755);
  for (const name of FILES) writeFileSync(path(name), random.bytes(random.integer(1, 6000)), { mode: 0o644 });
  writeFileSync(path('big'), random.bytes(200_000));
  writeFileSync(path('none'), '');
  const fd = openSync(path('sparse'), 'w');
  writeSync(fd, random.bytes(4096), 0, 4096, 0);
  writeSync(fd, random.bytes(5000), 0, 5000, 131_072);
  ftruncateSync(fd, 262_144);
  close(fd);
  for (const [name, of] of LINKS) linkSync(path(of), path(name));
  for (const [name, target] of SYMLINKS) symlinkSync(target, path(name));
  for (const [name, mode, device] of NODES) must(mknod(path(name), mode, device), name);

  const own = (name: string, { uid, gid }: { uid: number; gid: number }): void =>
    must(lchown(path(name), uid, gid), name);
  for (const name of ['mine', 'mine/file', 'sticky/of-alice', 'setuid', 'pair/a']) own(name, ALICE);
  for (const name of ['sticky/of-bob', 'dir/file']) own(name, BOB);
  own('setgid', { uid: 0, gid: ALICE.gid });
  const modes: Readonly<Record<string, number>> = { sticky: 0o1777, setgid: 0o2777, setuid: 0o4755, 'dir/file': 0o600 };
  for (const [name, mode] of Object.entries(modes)) must(chmod(path(name), mode), name);

  const xattr = (name: string, key: string, value: Uint8Array): void => must(lsetxattr(path(name), key, value), key);
  xattr('with-xattrs', 'user.color', Buffer.from('green'));
  xattr('with-xattrs', 'trusted.note', Buffer.from('seen by root'));
  xattr('with-xattrs', 'user.long', random.bytes(500));
  xattr('dir/sub', 'user.color', Buffer.from('blue'));
  xattr('link', 'trusted.note', Buffer.from('of a link'));
  xattr('with-acl', 'system.posix_acl_access', aclFor(ALICE.uid, 6));
  xattr('acl', 'system.posix_acl_default', aclFor(BOB.uid, 7));

  // the inner ones first: making a name changes its directory's time
  const all = [...DIRECTORIES, ...FILES, ...[LINKS, SYMLINKS, NODES].flatMap((list) => list.map(([name]) => name))];
  for (const [i, name] of [...all].reverse().entries()) lutimesSync(path(name), 1_000_000_000, 1_100_000_000 + i);
  lutimesSync(at, 1_000_000_000, 1_200_000_000);
}
