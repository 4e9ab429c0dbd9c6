import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isKnownInode } from '../../../src/fuse/device.ts';

test('isKnownInode() writes fuse_notify_inval_inode_out with all bits of the inode, and takes no pages away', () => {
  const directory = mkdtempSync(join(tmpdir(), 'cfs-device-'));
  const path = join(directory, 'written');
  const fd = openSync(path, 'w');
  try {
    expect(isKnownInode(fd, 0x000f_1234_89ab_cdef)).toBe(true);
    const bytes = readFileSync(path);
    expect(bytes).toHaveLength(40);
    // fuse_out_header: the length, the notification's code, and 0 in place of the number of a request
    expect([bytes.readUInt32LE(0), bytes.readInt32LE(4), bytes.readBigUInt64LE(8)]).toEqual([40, 2, 0n]);
    expect(bytes.readBigUInt64LE(16)).toBe(0x000f_1234_89ab_cdefn);
    expect([bytes.readBigInt64LE(24), bytes.readBigInt64LE(32)]).toEqual([-1n, 0n]);
  } finally {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  }
});
