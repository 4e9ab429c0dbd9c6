import { closeSync, fstatSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  EBADF,
  EINVAL,
  EIO,
  EISDIR,
  ENODATA,
  ENOENT,
  ENOTDIR,
  EOPNOTSUPP,
  type Errno,
  isErrno,
} from '../../../src/base/errno.ts';
import type { Caller } from '../../../src/fs/caller.ts';
import { emptyAttributes, type OpenFile } from '../../../src/fs/filesystem.ts';
import { ImageFilesystem } from '../../../src/fs/image-filesystem.ts';
import type { ContentSource } from '../../../src/objects/content-source.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file, treeOf, xattr } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { attributesOf, imageFixture, inoOf, LARGE, SMALL, smallTree } from './image-fixture.ts';

const at = useScratch();
const { fs, asked } = imageFixture(smallTree, at('small'));
const NOWHERE = 2 ** 51 + 12345;
const out = emptyAttributes();

const lookup = (path: string, name: string | Uint8Array): number | Errno => {
  const result = fs.lookup(inoOf(fs, path), Buffer.from(name as string), out);
  return result === 0 ? out.ino : result;
};

/** At most `most` names that `readdir` returns from the cookie `from` on, each with the cookie after it. */
function entries(
  ino: number,
  from = 0,
  most = Number.POSITIVE_INFINITY,
): { name: string; next: number; ino: number }[] {
  const found: { name: string; next: number; ino: number }[] = [];
  const result = fs.readdir(ino, from, out, (name, next) => {
    found.push({ name: Buffer.from(name).toString(), next, ino: out.ino });
    return found.length < most;
  });
  expect(result).toBe(0);
  return found;
}

function opened(of: ImageFilesystem, path: string): OpenFile {
  const result = of.open(of.slotOf(inoOf(of, path)));
  if (isErrno(result)) throw new Error(`open() gave ${result}`);
  return result;
}

function read(path: string, offset: number, length: number): Buffer | Errno {
  const ino = inoOf(fs, path);
  const { handle } = opened(fs, path);
  const into = Buffer.alloc(length, 0xaa);
  const n = fs.read(ino, handle, offset, into);
  fs.release(handle);
  if (isErrno(n)) return n;
  expect(into.subarray(n).every((byte) => byte === 0xaa)).toBe(true);
  return into.subarray(0, n);
}

describe('lookup()', () => {
  test('finds names, and fills in all attributes', () => {
    expect(attributesOf(fs, '/bin/tool')).toMatchObject({
      mode: 0o104755,
      nlink: 2,
      uid: 70_000,
      gid: 0,
      size: LARGE.length,
      rdev: 0,
      mtimeLow: 1_700_000_000,
      mtimeHigh: 0,
      mtimeNsec: 5,
    });
    expect(attributesOf(fs, '/etc/conf.d')).toMatchObject({
      mode: 0o40700,
      mtimeLow: 2 ** 32 - 5,
      mtimeHigh: 2 ** 32 - 1,
      mtimeNsec: 999_999_999,
    });
    expect(attributesOf(fs, '/fifo')).toMatchObject({ mode: 0o10644, gid: 2 ** 32 - 2, mtimeLow: 0, mtimeHigh: 4 });
    expect(attributesOf(fs, '/null')).toMatchObject({ mode: 0o20644, rdev: 0x103 });
    expect(attributesOf(fs, '/etc/current')).toMatchObject({ mode: 0o120644, size: 8 });
  });

  test('returns the same inode for the two names of a hard link', () => {
    expect(attributesOf(fs, '/bin/also-tool')).toEqual(attributesOf(fs, '/bin/tool'));
  });

  test('counts subdirectories in the links of a directory', () => {
    expect(attributesOf(fs, '/etc').nlink).toBe(3);
    expect(attributesOf(fs, '/empty-directory').nlink).toBe(2);
  });

  test('has id 1 and generation 0 for the root, as file handles require', () => {
    expect(attributesOf(fs, '/')).toMatchObject({ ino: 1, generation: 0 });
  });

  test.each(['nothing', 'bi', 'binn', 'BIN', '', 'bin/tool', 'n'.repeat(255)])('returns ENOENT for "%s"', (name) => {
    expect(lookup('/', name)).toBe(ENOENT);
  });

  test.each(['.', '/'])('resolves "%s" to the inode itself, of any type, for file handles', (name) => {
    for (const path of ['/', '/bin', '/bin/tool', '/etc/current', '/null'])
      expect(lookup(path, name)).toBe(inoOf(fs, path));
  });

  test('resolves ".." to the parent directory, and the root to itself', () => {
    expect(lookup('/etc/conf.d', '..')).toBe(inoOf(fs, '/etc'));
    expect(lookup('/etc', '..')).toBe(1);
    expect(lookup('/', '..')).toBe(1);
  });

  test('returns ENOTDIR below a file that is not a directory, also for ".."', () => {
    for (const path of ['/bin/tool', '/etc/current', '/null']) {
      expect(lookup(path, 'x')).toBe(ENOTDIR);
      expect(lookup(path, '..')).toBe(ENOTDIR);
    }
  });

  test.each([NOWHERE, 0, 2, 2 ** 52, 2 ** 64])('returns ENOENT for the unknown inode %i, in every method', (ino) => {
    expect(fs.lookup(ino, Buffer.from('.'), out)).toBe(ENOENT);
    expect(fs.getattr(ino, out)).toBe(ENOENT);
    expect(fs.readdir(ino, 0, out, () => true)).toBe(ENOENT);
    expect(fs.readlink(ino)).toBe(ENOENT);
    expect(fs.open(fs.slotOf(ino))).toBe(ENOENT);
    expect(fs.read(ino, 0, 0, Buffer.alloc(1))).toBe(ENOENT);
    expect(fs.getxattr(ino, Buffer.from('user.a'))).toBe(ENOENT);
    expect(fs.listxattr(ino)).toBe(ENOENT);
  });
});

describe('readdir()', () => {
  test('feeds ".", "..", then the names in bytewise order, with their inodes', () => {
    const found = entries(inoOf(fs, '/bin'));
    expect(found.map(({ name }) => name)).toEqual(['.', '..', 'also-tool', 'small', 'tool']);
    expect(found.map(({ ino }) => ino)).toEqual(
      ['/bin', '/', '/bin/tool', '/bin/small', '/bin/tool'].map((p) => inoOf(fs, p)),
    );
  });

  test('feeds two entries of an empty directory', () => {
    expect(entries(inoOf(fs, '/empty-directory')).map(({ name }) => name)).toEqual(['.', '..']);
  });

  test('continues from every cookie that it returned', () => {
    const all = entries(inoOf(fs, '/many'));
    expect(all).toHaveLength(302);
    all.forEach(({ next }, i) => {
      expect(entries(inoOf(fs, '/many'), next, 1)[0]).toEqual(all[i + 1]);
    });
  });

  test('returns cookies that ascend and are not 0', () => {
    const cookies = entries(inoOf(fs, '/bin')).map(({ next }) => next);
    expect(cookies).toEqual([...cookies].sort((a, b) => a - b));
    expect(new Set([0, ...cookies]).size).toBe(6);
  });

  test('stops when the sink is full, and does not call it again', () => {
    expect(entries(inoOf(fs, '/many'), 0, 1)).toHaveLength(1);
    expect(entries(inoOf(fs, '/many'), 0, 2)).toHaveLength(2);
    expect(entries(inoOf(fs, '/many'), 5, 7)).toHaveLength(7);
  });

  test.each([303, 1e6, 2 ** 32, 2 ** 53, 2 ** 64])(
    'returns nothing from cookie %i, which it never returned',
    (cookie) => {
      expect(entries(inoOf(fs, '/many'), cookie)).toEqual([]);
    },
  );

  test('returns ENOTDIR for a file', () => {
    expect(fs.readdir(inoOf(fs, '/bin/tool'), 0, out, () => true)).toBe(ENOTDIR);
  });
});

describe('readlink()', () => {
  test('returns the target, and EINVAL for a file that is not a symbolic link', () => {
    expect(Buffer.from(fs.readlink(inoOf(fs, '/etc/current')) as Uint8Array).toString()).toBe('conf.d/a');
    for (const path of ['/', '/bin/tool', '/null']) expect(fs.readlink(inoOf(fs, path))).toBe(EINVAL);
  });
});

describe('open()', () => {
  test('returns a descriptor of the object and a slot, and passes the path to the store', () => {
    asked.length = 0;
    const { fd, handle, slot } = opened(fs, '/bin/also-tool');
    expect(fstatSync(fd).size).toBe(LARGE.length);
    expect(slot).toBeLessThan(fs.slots);
    expect(asked).toEqual(['/bin/also-tool']);
    fs.release(handle);
    expect(() => fstatSync(fd)).toThrow('EBADF');
  });

  test('returns a different slot for each inode', () => {
    const slots = ['/bin/tool', '/bin/small', '/empty', '/etc/conf.d/a'].map((path) => {
      const file = opened(fs, path);
      fs.release(file.handle);
      return file.slot;
    });
    expect(new Set(slots).size).toBe(4);
  });

  test.each(['/etc/conf.d/a', '/empty'])('asks no store for %s, whose content is in the image', (path) => {
    asked.length = 0;
    expect(opened(fs, path).fd).toBe(-1);
    expect(asked).toEqual([]);
  });

  test('returns EISDIR for a directory, and EINVAL for an inode without content', () => {
    expect(fs.open(fs.slotOf(inoOf(fs, '/bin')))).toBe(EISDIR);
    for (const path of ['/etc/current', '/null', '/fifo', '/socket', '/disk'])
      expect(fs.open(fs.slotOf(inoOf(fs, path)))).toBe(EINVAL);
  });

  test('passes on the error of the store', () => {
    const lost = imageFixture(treeOf({ '/f': file('lost') }), at('lost'));
    unlinkSync(lost.pathOf(Buffer.from('lost')));
    expect(lost.fs.open(lost.fs.slotOf(inoOf(lost.fs, '/f')))).toBe(ENOENT);
  });
});

describe('read()', () => {
  test.each([
    [0, 200_000],
    [0, 1],
    [1, 65536],
    [199_999, 1],
    [131_072, 65536],
  ])('returns the bytes of an object from %i, %i of them', (offset, length) => {
    expect(read('/bin/tool', offset, length)).toEqual(LARGE.subarray(offset, offset + length));
  });

  test.each(['/bin/small', '/etc/conf.d/a'])('returns fewer bytes at the end of %s, and none beyond it', (path) => {
    const { size } = attributesOf(fs, path);
    expect(read(path, size - 2, 100)).toHaveLength(2);
    expect(read(path, size, 100)).toHaveLength(0);
    expect(read(path, 2 ** 52, 100)).toHaveLength(0);
  });

  test('returns inline contents, and nothing of an empty file', () => {
    expect(read('/etc/conf.d/a', 0, 100)).toEqual(Buffer.from('a = 1\n'));
    expect(read('/etc/conf.d/a', 2, 3)).toEqual(Buffer.from('= 1'));
    expect(read('/empty', 0, 100)).toHaveLength(0);
    expect(read('/bin/small', 0, 0)).toHaveLength(0);
  });

  test('returns EIO, not zeros, if the object became shorter after it was opened', () => {
    const image = imageFixture(treeOf({ '/f': file(LARGE) }), at('cut'));
    const { handle } = opened(image.fs, '/f');
    truncateSync(image.pathOf(LARGE), 100_000);
    const ino = inoOf(image.fs, '/f');
    expect(image.fs.read(ino, handle, 0, Buffer.alloc(4096))).toBe(4096);
    expect(image.fs.read(ino, handle, 98_304, Buffer.alloc(4096))).toBe(EIO);
    expect(image.fs.read(ino, handle, 150_000, Buffer.alloc(4096))).toBe(EIO);
    image.fs.release(handle);
  });

  test('returns no byte beyond the size in the image, if the object has grown', () => {
    const image = imageFixture(treeOf({ '/f': file(SMALL) }), at('grown'));
    const { handle } = opened(image.fs, '/f');
    writeFileSync(image.pathOf(SMALL), Buffer.concat([SMALL, Buffer.from(' and more')]));
    const into = Buffer.alloc(100);
    expect(image.fs.read(inoOf(image.fs, '/f'), handle, 0, into)).toBe(SMALL.length);
    image.fs.release(handle);
  });

  test('returns an error, not another content, for a handle that is not open', () => {
    const { fd, handle } = opened(fs, '/bin/tool');
    closeSync(fd);
    expect(fs.read(inoOf(fs, '/bin/tool'), handle, 0, Buffer.alloc(10))).toBe(EBADF);
    expect(fs.read(inoOf(fs, '/bin/tool'), 0, 0, Buffer.alloc(10))).toBe(EIO);
    expect(fs.read(inoOf(fs, '/bin'), 0, 0, Buffer.alloc(10))).toBeLessThanOrEqual(0);
  });
});

describe('xattrs', () => {
  const get = (path: string, name: string): string | Errno => {
    const value = fs.getxattr(inoOf(fs, path), Buffer.from(name));
    return isErrno(value) ? value : Buffer.from(value).toString();
  };

  test('getxattr() returns the value, ENODATA if there is none', () => {
    expect(get('/bin/tool', 'user.a')).toBe('1');
    expect(get('/bin/also-tool', 'security.capability')).toBe('xyz');
    expect(get('/etc', 'user.empty')).toBe('');
    for (const name of ['user.b', 'user.', 'user.aa', '', 'user.empty']) expect(get('/bin/tool', name)).toBe(ENODATA);
    expect(get('/empty', 'user.a')).toBe(ENODATA);
  });

  test('getxattr() reports SELinux labels as unsupported if no file of the image has one, and only these', () => {
    expect(get('/bin/tool', 'security.selinux')).toBe(EOPNOTSUPP);
    for (const name of ['security.capability', 'security.selinux2', 'security.ima', 'trusted.a']) {
      expect(get('/bin/small', name)).toBe(ENODATA);
    }
    const label = { '/a': { xattrs: [xattr('security.selinux', 'a label')] } };
    const labelled = imageFixture(treeOf({ '/a': file('x'), '/b': file('y') }, label), at('labelled')).fs;
    expect(labelled.getxattr(inoOf(labelled, '/b'), Buffer.from('security.selinux'))).toBe(ENODATA);
  });

  test('those of overlayfs are neither listed nor returned if the view hides them', () => {
    const names = ['trusted.overlay.redirect', 'user.overlay.opaque', 'user.overlay', 'trusted.overlays'];
    const attributes = { '/a': { xattrs: names.map((name) => xattr(name, 'v')) } };
    const { tables } = imageFixture(treeOf({ '/a': file('x') }, attributes), at('overlay'));
    const contents = { openless: true, read: () => 0 } as unknown as ContentSource;
    for (const hideOverlayXattrs of [false, true]) {
      const own = new ImageFilesystem(tables, contents, undefined, undefined, { hideOverlayXattrs });
      const shown = hideOverlayXattrs ? names.slice(2) : names;
      const listed = Buffer.from(own.listxattr(inoOf(own, '/a')) as Uint8Array).toString();
      expect(listed.split('\0').slice(0, -1).sort()).toEqual([...shown].sort());
      for (const name of names) {
        expect(own.getxattr(inoOf(own, '/a'), Buffer.from(name)) === ENODATA, name).toBe(!shown.includes(name));
      }
    }
  });

  test('listxattr() lists trusted names only for administrators', () => {
    const attributes = { '/a': { xattrs: [xattr('trusted.a', '1'), xattr('user.a', '1')] } };
    const own = imageFixture(treeOf({ '/a': file('x') }, attributes), at('trusted')).fs;
    const list = (caller?: Caller): string =>
      Buffer.from(own.listxattr(inoOf(own, '/a'), caller) as Uint8Array).toString();
    for (const caller of [{ uid: 0, pid: 0 }, undefined]) expect(list(caller)).toBe('trusted.a\0user.a\0');
    expect(list({ uid: 0, pid: process.pid })).toBe(isRoot ? 'trusted.a\0user.a\0' : 'user.a\0');
    expect(list({ uid: 1000, pid: 0 })).toBe('user.a\0');
  });

  test('getxattr() reports ACLs as unsupported if no file of the image has one', () => {
    for (const name of ['system.posix_acl_access', 'system.posix_acl_default']) {
      expect(get('/bin/tool', name)).toBe(fs.features.acls ? ENODATA : EOPNOTSUPP);
    }
    const acl = xattr('system.posix_acl_access', 'an ACL');
    const withAcl = imageFixture(
      treeOf({ '/a': file('x'), '/b': file('y') }, { '/a': { xattrs: [acl] } }),
      at('with ACL'),
    ).fs;
    expect(withAcl.getxattr(inoOf(withAcl, '/b'), Buffer.from('system.posix_acl_access'))).toBe(ENODATA);
  });

  test('listxattr() returns all names, each with its NUL', () => {
    const list = (path: string): string => Buffer.from(fs.listxattr(inoOf(fs, path)) as Uint8Array).toString();
    expect(list('/bin/tool')).toBe('security.capability\0user.a\0');
    expect(list('/etc')).toBe('user.empty\0');
    expect(list('/empty')).toBe('');
  });

  test('features report whether there are any, and whether there are ACLs', () => {
    const featuresOf = (name: string, xattrs: readonly string[]): unknown =>
      imageFixture(treeOf({ '/d': directory }, { '/d': { xattrs: xattrs.map((x) => xattr(x, 'v')) } }), at(name)).fs
        .features;
    expect(featuresOf('none', [])).toEqual({ acls: false, openless: false });
    expect(featuresOf('user', ['user.a'])).toEqual({ acls: false, openless: false });
    expect(featuresOf('acl', ['system.posix_acl_default'])).toEqual({ acls: true, openless: false });
    expect(featuresOf('similar', ['user.system.posix_acl'])).toEqual({ acls: false, openless: false });
  });
});

describe('statfs()', () => {
  test('counts each object once, in whole blocks, and every inode', () => {
    expect(fs.statfs()).toEqual({ blockSize: 4096, blocks: 49 + 1, files: fs.slots, nameMax: 255 });
    expect(fs.slots).toBe(smallTree.inodes.length);
  });
});
