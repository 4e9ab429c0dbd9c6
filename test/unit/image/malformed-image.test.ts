import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { whyMalformed } from '../../../src/image/malformed-image.ts';
import { refusal } from '../manifest/exercise.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfs-malformed-'));
  mkdirSync(join(directory, 'tree'));
  writeFileSync(join(directory, 'tree/file'), 'content');
});
afterAll(() => rmSync(directory, { recursive: true }));

/** A file made by a program; undefined if the program is not installed. */
function made(program: string, args: readonly string[]): Uint8Array | undefined {
  try {
    execFileSync(program, args, { cwd: directory, stdio: 'ignore' });
    return readFileSync(join(directory, 'out'));
  } catch {
    return undefined;
  }
}

const at = (offset: number, bytes: string): Uint8Array =>
  Buffer.concat([Buffer.alloc(offset), Buffer.from(bytes, 'latin1'), Buffer.alloc(100)]);

const why = (file: Uint8Array): string => whyMalformed(refusal(file), file, false).reason;

describe('whyMalformed()', () => {
  test.each([
    ['EROFS', at(1024, '\xe2\xe1\xf5\xe0'), 'an EROFS image (mount.composefs'],
    ['composefs', Buffer.concat([Buffer.from('9a6278d0', 'hex'), at(1020, '\xe2\xe1\xf5\xe0')]), 'a composefs image'],
    ['SquashFS', at(0, 'hsqs'), 'a SquashFS image'],
    ['ext4', at(1080, '\x53\xef'), 'an ext2, ext3 or ext4 file system'],
    ['zip', at(0, 'PK\x03\x04'), 'a zip archive'],
    ['gzip', gzipSync('content'), 'a gzip file'],
    ['zstd', at(0, '\x28\xb5\x2f\xfd'), 'a zstd file'],
    ['a signature', Buffer.from('d28458', 'hex'), 'a signature (IMAGE.sig)'],
    ['zeros', Buffer.alloc(5000), 'a file that begins with zeros'],
  ])('recognizes %s', (_, file, what) => {
    expect(why(file)).toContain(`it is not a cfs image, but ${what}`);
  });

  test.each([
    ['tar', 'tar', ['-cf', 'out', 'tree'], 'a tar archive'],
    ['mksquashfs', 'mksquashfs', ['tree', 'out', '-noappend'], 'a SquashFS image'],
    ['mkfs.erofs', 'mkfs.erofs', ['out', 'tree'], 'an EROFS image'],
    ['mke2fs', 'mke2fs', ['-q', '-t', 'ext4', 'out', '1M'], 'an ext2, ext3 or ext4 file system'],
  ])('recognizes the output of %s', (_, program, args, what) => {
    rmSync(join(directory, 'out'), { force: true });
    const file = made(program, args);
    if (file !== undefined) expect(why(file)).toContain(what);
  });

  test('says what to do with an archive', () => {
    const zip = at(0, 'PK\x03\x04');
    expect(whyMalformed(refusal(zip), zip, false).hint).toBe('Unpack it, and pack the directory with `pack`.');
  });

  test('explains how a manifest may have been damaged', () => {
    const cut = Buffer.from('d9d9f7ab', 'hex');
    expect(why(cut)).toMatch(/^malformed manifest: cut off.*; the file is damaged, or was not made by cfs$/);
    expect(why(Buffer.from('hello'))).toContain('tag 55799');
    expect(whyMalformed(refusal(cut), cut, true).reason).toContain('not by cfs: its checksum is right');
    const newer = 'malformed manifest: its version is 2; this program reads version 1';
    expect(whyMalformed(newer, cut, false)).toEqual({ reason: newer });
  });
});
