import { constants } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  EBADF,
  EINVAL,
  EIO,
  EISDIR,
  ENODATA,
  ENOENT,
  ENOSYS,
  ENOTDIR,
  ENOTTY,
  ENXIO,
  ERANGE,
  EROFS,
} from '../../../src/base/errno.ts';
import { ROOT_INO } from '../../../src/fs/filesystem.ts';
import { ImageFilesystem } from '../../../src/fs/image-filesystem.ts';
import * as abi from '../../../src/fuse/abi.ts';
import type { ContentSource } from '../../../src/objects/content-source.ts';
import { attributesOf, imageFixture, inoOf, LARGE, SMALL, smallTree } from '../fs/image-fixture.ts';
import { file, treeOf } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { Client } from './client.ts';
import * as k from './kernel-structs.ts';

const at = useScratch();
const { O_RDWR, O_WRONLY } = constants;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const { fs, tables } = imageFixture(smallTree, at('small'));
const client = new Client(fs);
const ino = (path: string): number => inoOf(fs, path);
const name = (text: string): Buffer => Buffer.from(`${text}\0`);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const NOWHERE = 2 ** 51 + 12345;

const getxattrIn = (size: number, attribute = ''): Buffer =>
  k.struct(k.u32(size), k.u32(0), attribute === '' ? Buffer.alloc(0) : name(attribute));
const openIn = (flags: number): Buffer => k.struct(k.u32(flags), k.u32(0));

describe('LOOKUP', () => {
  test.each(['bin', 'empty', 'null', 'fifo'])('of %s is answered with its fuse_entry_out', (text) => {
    expect(hex(client.ask(abi.FUSE_LOOKUP, ROOT_INO, name(text)))).toBe(hex(k.fuseEntryOut(attributesOf(fs, text))));
  });

  test('of a name that does not exist is answered with an entry to cache, not with ENOENT', () => {
    expect(hex(client.ask(abi.FUSE_LOOKUP, ROOT_INO, name('nothing')))).toBe(hex(k.negativeEntryOut));
    // after a positive entry, none of whose fields may show through
    client.ask(abi.FUSE_LOOKUP, ROOT_INO, name('bin'));
    expect(hex(client.ask(abi.FUSE_LOOKUP, ino('/bin'), name('x')))).toBe(hex(k.negativeEntryOut));
  });

  test('of "." of an id that is not in the image returns no inode: the handle is stale', () => {
    expect(client.ask(abi.FUSE_LOOKUP, NOWHERE, name('.')).readBigUInt64LE(0)).toBe(0n);
  });

  test('of "." of a file, and of "..", answers file handles', () => {
    expect(hex(client.ask(abi.FUSE_LOOKUP, ino('/bin/tool'), name('.')))).toBe(
      hex(k.fuseEntryOut(attributesOf(fs, '/bin/tool'))),
    );
    expect(hex(client.ask(abi.FUSE_LOOKUP, ino('/etc/conf.d'), name('..')))).toBe(
      hex(k.fuseEntryOut(attributesOf(fs, '/etc'))),
    );
  });

  test('below a file returns ENOTDIR', () => {
    expect(client.call(abi.FUSE_LOOKUP, ino('/empty'), name('x')).error).toBe(ENOTDIR);
  });
});

describe('GETATTR and STATX', () => {
  test.each(['/', '/bin/tool', '/etc/conf.d', '/null', '/fifo', '/etc/current'])('of %s', (path) => {
    const attributes = attributesOf(fs, path);
    expect(hex(client.ask(abi.FUSE_GETATTR, attributes.ino, k.zeros(16)))).toBe(hex(k.fuseAttrOut(attributes)));
    const [major, minor] = path === '/null' ? [1, 3] : [0, 0];
    expect(hex(client.ask(abi.FUSE_STATX, attributes.ino, k.zeros(24)))).toBe(
      hex(k.fuseStatxOut(attributes, major, minor)),
    );
  });

  test('of an unknown inode return an error, also beyond 2^53', () => {
    for (const nodeid of [NOWHERE, 0, 2n ** 63n, 2n ** 64n - 1n]) {
      expect(client.call(abi.FUSE_GETATTR, nodeid, k.zeros(16)).error).toBe(ENOENT);
      expect(client.call(abi.FUSE_STATX, nodeid, k.zeros(24)).error).toBe(ENOENT);
    }
  });
});

describe('OPEN, READ and RELEASE', () => {
  /** The fh of an open that must succeed. */
  const openFile = (path: string): bigint => client.ask(abi.FUSE_OPEN, ino(path), openIn(0)).readBigUInt64LE(0);
  const read = (path: string, fh: bigint, offset: number, size: number): Buffer =>
    client.ask(abi.FUSE_READ, ino(path), k.fuseReadIn(fh, offset, size));
  const releaseIn = (fh: bigint): Buffer => k.struct(k.u64(fh), k.zeros(16));

  test.each([
    ['/bin/tool', LARGE],
    ['/bin/small', SMALL],
    ['/etc/conf.d/a', Buffer.from('a = 1\n')],
    ['/empty', Buffer.alloc(0)],
  ])('read %s in pieces and whole', (path, content) => {
    const fh = openFile(path);
    const pieces: Buffer[] = [];
    for (let offset = 0; offset < content.length; offset += 65_536) pieces.push(read(path, fh, offset, 65_536));
    expect(Buffer.concat(pieces).equals(content)).toBe(true);
    expect(read(path, fh, 0, 1 << 20).equals(content)).toBe(true);
    expect(read(path, fh, content.length, 4096)).toHaveLength(0);
    expect(read(path, fh, 2 ** 40, 4096)).toHaveLength(0);
    expect(client.ask(abi.FUSE_RELEASE, ino(path), releaseIn(fh))).toHaveLength(0);
  });

  test('OPEN for writing is refused even if files are opened without a request', () => {
    const openless = new ImageFilesystem(tables, { openless: true, read: () => 0 } as unknown as ContentSource);
    for (const flags of [O_WRONLY, O_RDWR]) {
      expect(client.call(abi.FUSE_OPEN, ino('/bin/small'), openIn(flags)).error).toBe(EROFS);
      expect(new Client(openless).call(abi.FUSE_OPEN, ino('/bin/small'), openIn(flags)).error).toBe(EROFS);
    }
    expect(new Client(openless).call(abi.FUSE_OPEN, ino('/bin/small'), openIn(0)).error).toBe(ENOSYS);
  });

  test('LSEEK reports data and holes, and is not needed if there are no holes', () => {
    const lseekIn = (offset: number, whence: number): Buffer =>
      k.struct(k.u64(0), k.u64(offset), k.u32(whence), k.u32(0));
    expect(client.call(abi.FUSE_LSEEK, ino('/bin/tool'), lseekIn(0, SEEK_DATA)).error).toBe(ENOSYS);
    const content = Buffer.concat([Buffer.alloc(65_536, 'x'), Buffer.alloc(131_072)]);
    const sparse = imageFixture(treeOf({ '/f': file(content), '/small': file('x') }), at('sparse')).fs;
    const seek = (path: string, offset: number, whence: number): number => {
      const { error, payload } = new Client(sparse).call(abi.FUSE_LSEEK, inoOf(sparse, path), lseekIn(offset, whence));
      return error === 0 ? Number(payload.readBigUInt64LE(0)) : error;
    };
    expect([seek('/f', 5, SEEK_DATA), seek('/f', 5, SEEK_HOLE)]).toEqual([5, 65_536]);
    expect([seek('/f', 70_000, SEEK_DATA), seek('/f', 70_000, SEEK_HOLE)]).toEqual([ENXIO, 70_000]);
    expect([seek('/f', 196_608, SEEK_DATA), seek('/f', 196_608, SEEK_HOLE)]).toEqual([ENXIO, ENXIO]);
    expect([seek('/small', 0, SEEK_DATA), seek('/small', 0, SEEK_HOLE)]).toEqual([0, 1]);
    expect([seek('/', 0, SEEK_DATA), seek('/f', 0, 0)]).toEqual([EINVAL, EINVAL]);
    expect(attributesOf(sparse, '/f')).toMatchObject({ size: 196_608, blocks: 128 });
  });

  test('OPEN keeps the page cache and needs no FLUSH', () => {
    const reply = client.ask(abi.FUSE_OPEN, ino('/bin/small'), openIn(0));
    expect(reply).toHaveLength(16);
    expect(reply.readUInt32LE(8)).toBe((1 << 1) | (1 << 5));
    expect(reply.readInt32LE(12)).toBe(0);
    client.ask(abi.FUSE_RELEASE, ino('/bin/small'), releaseIn(reply.readBigUInt64LE(0)));
  });

  test('OPEN for writing is refused; O_NOATIME and similar flags are accepted', () => {
    for (const flags of [1, 2, 0o101, 0o1002]) {
      expect(client.call(abi.FUSE_OPEN, ino('/bin/small'), openIn(flags)).error).toBe(EROFS);
    }
    const fh = client.ask(abi.FUSE_OPEN, ino('/bin/small'), openIn(0o1000000 | 0o100000)).readBigUInt64LE(0);
    client.ask(abi.FUSE_RELEASE, ino('/bin/small'), releaseIn(fh));
  });

  test('OPEN of a directory returns EISDIR, of an unknown inode ENOENT', () => {
    expect(client.call(abi.FUSE_OPEN, ino('/bin'), openIn(0)).error).toBe(EISDIR);
    expect(client.call(abi.FUSE_OPEN, NOWHERE, openIn(0)).error).toBe(ENOENT);
  });

  test('READ returns no more than fits into a reply', () => {
    const fh = openFile('/bin/tool');
    expect(read('/bin/tool', fh, 0, 0xffffffff)).toHaveLength(LARGE.length);
    client.ask(abi.FUSE_RELEASE, ino('/bin/tool'), releaseIn(fh));
  });

  test('an OPEN whose answer is not sent is undone, and nothing else is', () => {
    const small = ino('/bin/small');
    const fh = client.ask(abi.FUSE_OPEN, small, openIn(0)).readBigUInt64LE(0);
    client.dispatcher.abandon();
    expect(client.call(abi.FUSE_READ, small, k.fuseReadIn(fh, 0, 10)).error).toBe(EBADF);
    const other = openFile('/bin/small');
    for (const request of [k.fuseRequest(abi.FUSE_OPEN, NOWHERE, openIn(0)), k.fuseRequest(abi.FUSE_FORGET, 1)]) {
      client.send(request);
      client.dispatcher.abandon();
    }
    client.send(k.fuseRequest(abi.FUSE_OPEN, small, openIn(0)).subarray(0, 41));
    client.dispatcher.abandon();
    expect(read('/bin/small', other, 0, 100).equals(SMALL)).toBe(true);
    client.ask(abi.FUSE_RELEASE, small, releaseIn(other));
  });

  test('READ of a released file returns an error', () => {
    const fh = openFile('/bin/tool');
    client.ask(abi.FUSE_RELEASE, ino('/bin/tool'), releaseIn(fh));
    expect(client.call(abi.FUSE_READ, ino('/bin/tool'), k.fuseReadIn(fh, 0, 10)).error).toBe(EBADF);
  });
});

describe('READLINK, STATFS and extended attributes', () => {
  test('READLINK returns the target without a NUL', () => {
    expect(client.ask(abi.FUSE_READLINK, ino('/etc/current')).toString()).toBe('conf.d/a');
  });

  test('STATFS returns fuse_statfs_out', () => {
    const reply = client.ask(abi.FUSE_STATFS, ROOT_INO);
    expect(reply).toHaveLength(80);
    expect(reply.readBigUInt64LE(0)).toBe(50n);
    expect(reply.readBigUInt64LE(24)).toBe(BigInt(fs.slots));
  });

  test('GETXATTR returns the length for size 0, the value, or ERANGE', () => {
    const tool = ino('/bin/tool');
    expect(hex(client.ask(abi.FUSE_GETXATTR, tool, getxattrIn(0, 'security.capability')))).toBe('0300000000000000');
    expect(client.ask(abi.FUSE_GETXATTR, tool, getxattrIn(3, 'security.capability')).toString()).toBe('xyz');
    expect(client.ask(abi.FUSE_GETXATTR, tool, getxattrIn(100, 'security.capability')).toString()).toBe('xyz');
    expect(client.call(abi.FUSE_GETXATTR, tool, getxattrIn(2, 'security.capability')).error).toBe(ERANGE);
    expect(client.call(abi.FUSE_GETXATTR, tool, getxattrIn(0, 'user.none')).error).toBe(ENODATA);
    expect(client.ask(abi.FUSE_GETXATTR, ino('/etc'), getxattrIn(10, 'user.empty'))).toHaveLength(0);
  });

  test('LISTXATTR returns the length for size 0, the list, or ERANGE', () => {
    const tool = ino('/bin/tool');
    const list = 'security.capability\0user.a\0';
    expect(client.ask(abi.FUSE_LISTXATTR, tool, getxattrIn(0)).readUInt32LE(0)).toBe(list.length);
    expect(client.ask(abi.FUSE_LISTXATTR, tool, getxattrIn(list.length)).toString()).toBe(list);
    expect(client.call(abi.FUSE_LISTXATTR, tool, getxattrIn(list.length - 1)).error).toBe(ERANGE);
    expect(client.ask(abi.FUSE_LISTXATTR, ino('/empty'), getxattrIn(10))).toHaveLength(0);
  });

  test('are an empty list if no inode has any', () => {
    const without = new Client(imageFixture(treeOf({ '/f': file('x') }), at('without')).fs);
    expect(without.call(abi.FUSE_GETXATTR, ROOT_INO, getxattrIn(0, 'user.a')).error).toBe(ENODATA);
    expect(without.ask(abi.FUSE_LISTXATTR, ROOT_INO, getxattrIn(0)).readUInt32LE(0)).toBe(0);
    expect(without.ask(abi.FUSE_LISTXATTR, ROOT_INO, getxattrIn(100))).toHaveLength(0);
  });
});

describe('opcodes with a constant answer', () => {
  const rows: readonly (readonly [string, number, readonly number[]])[] = [
    ['ENOSYS', ENOSYS, [abi.FUSE_OPENDIR, abi.FUSE_ACCESS, abi.FUSE_FLUSH, abi.FUSE_POLL]],
    ['ENOSYS: unknown', ENOSYS, [0, 7, 19, 31, 32, 33, 37, 41, 48, 49, 54, 1000, 4096, 0xffffffff]],
    [
      'EROFS',
      EROFS,
      [
        ...[abi.FUSE_SETATTR, abi.FUSE_SYMLINK, abi.FUSE_MKNOD, abi.FUSE_MKDIR, abi.FUSE_UNLINK, abi.FUSE_RMDIR],
        ...[abi.FUSE_RENAME, abi.FUSE_RENAME2, abi.FUSE_LINK, abi.FUSE_WRITE, abi.FUSE_SETXATTR, abi.FUSE_CREATE],
        ...[abi.FUSE_REMOVEXATTR, abi.FUSE_TMPFILE, abi.FUSE_FALLOCATE, abi.FUSE_COPY_FILE_RANGE],
        abi.FUSE_COPY_FILE_RANGE_64,
      ],
    ],
    ['success', 0, [abi.FUSE_RELEASEDIR, abi.FUSE_FSYNC, abi.FUSE_FSYNCDIR, abi.FUSE_SYNCFS, abi.FUSE_DESTROY]],
    ['ENOTTY', ENOTTY, [abi.FUSE_IOCTL]],
    ['EIO: a second INIT', EIO, [abi.FUSE_INIT]],
  ];

  test.each(rows.flatMap(([what, error, opcodes]) => opcodes.map((opcode) => [opcode, what, error] as const)))(
    'opcode %i: %s',
    (opcode, _what, error) => {
      const reply = client.call(opcode, ROOT_INO, k.zeros(64));
      expect(reply.error).toBe(error);
      expect(reply.payload).toHaveLength(0);
    },
  );

  test.each([abi.FUSE_FORGET, abi.FUSE_BATCH_FORGET])('opcode %i has no answer: the kernel expects none', (opcode) => {
    expect(client.send(k.fuseRequest(opcode, ROOT_INO, k.zeros(8)))).toBeUndefined();
  });
});
