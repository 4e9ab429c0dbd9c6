import { describe, expect, test } from 'vitest';
import { EINVAL, ENOENT, ENOTTY, ERANGE } from '../../../src/base/errno.ts';
import { ROOT_INO } from '../../../src/fs/filesystem.ts';
import { ImageFilesystem } from '../../../src/fs/image-filesystem.ts';
import * as abi from '../../../src/fuse/abi.ts';
import { CFS_IOC_FILE, CFS_IOC_MOUNT, CFS_IOC_SOURCE } from '../../../src/mount-info/mount-ioctls.ts';
import { decodeMount, MOUNT_SIZE } from '../../../src/mount-info/mount-record.ts';
import { decodeSource, SOURCE_SIZE } from '../../../src/mount-info/source-record.ts';
import type { ContentSource } from '../../../src/objects/content-source.ts';
import { inoOf, smallTree } from '../fs/image-fixture.ts';
import { identityOver, tablesOf } from '../mount/identity-fixture.ts';
import { Client } from './client.ts';
import { struct, u32, u64 } from './kernel-structs.ts';

const tables = tablesOf(smallTree);
const contents = { openless: true, read: () => 0 } as unknown as ContentSource;
const fs = new ImageFilesystem(tables, contents, undefined, identityOver(tables, []));
const client = new Client(fs);
const NOWHERE = 2 ** 51 + 12345;

/** fuse_ioctl_in, followed by the caller's structure. */
const ioctlIn = (command: number, input: Uint8Array, room: number, inSize = input.length): Buffer =>
  struct(u64(0), u32(0), u32(command), u64(0x7fff_0000_1000), u32(inSize), u32(room), Buffer.from(input));

describe('IOCTL', () => {
  test.each(['/', '/bin/tool', '/etc/conf.d/a', '/many'])(
    'on %s returns fuse_ioctl_out, then the structure',
    (path) => {
      const ino = inoOf(fs, path);
      const body = ioctlIn(CFS_IOC_MOUNT, Buffer.alloc(MOUNT_SIZE), MOUNT_SIZE);
      const reply = client.ask(abi.FUSE_IOCTL, ino, body);
      expect(reply).toHaveLength(16 + MOUNT_SIZE);
      expect(reply.subarray(0, 16).equals(Buffer.alloc(16))).toBe(true);
      expect(decodeMount(reply.subarray(16))).toMatchObject({ pid: 77, sources: 1 });
    },
  );

  test('reads the index from the structure, and nothing of the previous reply', () => {
    const input = Buffer.alloc(SOURCE_SIZE, 0xee);
    input.writeUInt32LE(0, 4);
    const reply = client.ask(abi.FUSE_IOCTL, ROOT_INO, ioctlIn(CFS_IOC_SOURCE, input, SOURCE_SIZE));
    expect(decodeSource(reply.subarray(16))).toMatchObject({ kind: 'image', index: 0 });
    input.writeUInt32LE(1, 4);
    expect(client.call(abi.FUSE_IOCTL, ROOT_INO, ioctlIn(CFS_IOC_SOURCE, input, SOURCE_SIZE)).error).toBe(EINVAL);
  });

  test('returns at most as many bytes as there is room for', () => {
    for (const room of [0, 4, 100, MOUNT_SIZE + 100]) {
      const reply = client.ask(abi.FUSE_IOCTL, ROOT_INO, ioctlIn(CFS_IOC_MOUNT, Buffer.alloc(8), room));
      expect(reply).toHaveLength(16 + room);
    }
  });

  test('with less input than it claims returns EINVAL', () => {
    for (const inSize of [9, 4096, 0x8000_0000, 0xffff_ffff]) {
      const body = ioctlIn(CFS_IOC_SOURCE, Buffer.alloc(8), SOURCE_SIZE, inSize);
      expect(client.call(abi.FUSE_IOCTL, ROOT_INO, body).error).toBe(EINVAL);
    }
  });

  test('of another program returns ENOTTY, and on an unknown inode ENOENT', () => {
    expect(client.call(abi.FUSE_IOCTL, ROOT_INO, ioctlIn(0x80086601, Buffer.alloc(8), 8)).error).toBe(ENOTTY);
    expect(client.call(abi.FUSE_IOCTL, NOWHERE, ioctlIn(CFS_IOC_FILE, Buffer.alloc(8), 8)).error).toBe(ENOENT);
    expect(client.log).toEqual([]);
  });
});

describe('GETXATTR of a private name', () => {
  const getxattrIn = (size: number, name: string): Buffer => struct(u32(size), u32(0), Buffer.from(`${name}\0`));

  test('returns its length, its value, or ERANGE', () => {
    const ask = (size: number): Buffer =>
      client.ask(abi.FUSE_GETXATTR, ROOT_INO, getxattrIn(size, 'trusted.cfs.source.0.path'));
    expect(ask(0).readUInt32LE(0)).toBe(6);
    expect(ask(6).toString()).toBe('/srv/0');
    const short = getxattrIn(5, 'trusted.cfs.source.0.path');
    expect(client.call(abi.FUSE_GETXATTR, ROOT_INO, short).error).toBe(ERANGE);
  });

  test('has no name that LISTXATTR lists', () => {
    const listed = client.ask(abi.FUSE_LISTXATTR, ROOT_INO, struct(u32(4096), u32(0)));
    expect(listed.toString()).not.toContain('cfs');
  });
});
