import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { digestContent } from '../../../src/base/digest.ts';
import { EINVAL, ENODATA, ENOTTY, type Errno, isErrno } from '../../../src/base/errno.ts';
import type { Caller } from '../../../src/fs/caller.ts';
import { ImageFilesystem } from '../../../src/fs/image-filesystem.ts';
import { u64 } from '../../../src/manifest/tables.ts';
import { decodeFile, FILE_SIZE } from '../../../src/mount-info/file-record.ts';
import { CFS_IOC_FILE, CFS_IOC_MOUNT, CFS_IOC_SOURCE } from '../../../src/mount-info/mount-ioctls.ts';
import { decodeMount, MOUNT_SIZE } from '../../../src/mount-info/mount-record.ts';
import { decodeSource, SOURCE_SIZE } from '../../../src/mount-info/source-record.ts';
import type { ContentSource } from '../../../src/objects/content-source.ts';
import { LARGE, smallTree } from '../fs/image-fixture.ts';
import { directory, inline, treeOf, xattr } from '../manifest/model.ts';
import { IMAGE_ID, identityOver, rowOf, sourceRecord, ToldRepository, tablesOf } from './identity-fixture.ts';

const tables = tablesOf(smallTree);
const repositories = [new ToldRepository('/first'), new ToldRepository('/second')];
repositories[1]?.put(LARGE);
const identity = identityOver(tables, repositories);
const ROOT = { uid: 0, pid: 0 };
const DIGEST = toHex(digestContent('blake3', LARGE).digest);

/** The value as text; ENODATA if there is none. */
function xattrOf(path: string, name: string): string | Errno {
  const value = identity.xattr(rowOf(tables, path), Buffer.from(name));
  return isErrno(value) ? value : Buffer.from(value).toString('latin1');
}

describe('xattr() of a file', () => {
  test.each(['trusted', 'user'])(
    'reports the image, the object and the sources that have it, as %s.cfs.*',
    (prefix) => {
      expect(xattrOf('/bin/tool', `${prefix}.cfs.image`)).toBe(IMAGE_ID);
      expect(xattrOf('/bin/tool', `${prefix}.cfs.object`)).toBe(`blake3:${DIGEST}`);
      expect(xattrOf('/bin/tool', `${prefix}.cfs.verified`)).toBe('no');
      expect(xattrOf('/bin/tool', `${prefix}.cfs.served`)).toBe('2');
      expect(xattrOf('/bin/tool', `${prefix}.cfs.holders`)).toBe('2');
    },
  );

  test('reports no object for a file in the image itself', () => {
    expect(xattrOf('/etc/conf.d/a', 'user.cfs.object')).toBe(ENODATA);
    expect(xattrOf('/etc/conf.d/a', 'user.cfs.served')).toBe('0');
    expect(xattrOf('/etc/conf.d/a', 'user.cfs.verified')).toBe('yes');
  });

  test('reports no source for an object that is in no repository', () => {
    expect(xattrOf('/bin/small', 'user.cfs.served')).toBe(ENODATA);
    expect(xattrOf('/bin/small', 'user.cfs.holders')).toBe('');
  });

  test.each(['/', '/etc/current', '/null', '/fifo'])('reports only the image for %s, which has no content', (path) => {
    expect(xattrOf(path, 'trusted.cfs.image')).toBe(IMAGE_ID);
    for (const key of ['object', 'verified', 'served', 'holders']) {
      expect(xattrOf(path, `trusted.cfs.${key}`)).toBe(ENODATA);
    }
  });

  test('reports its path only to root, by its first name', () => {
    expect(xattrOf('/bin/tool', 'trusted.cfs.path')).toBe('/bin/also-tool');
    expect(xattrOf('/', 'trusted.cfs.path')).toBe('/');
    expect(xattrOf('/bin/tool', 'user.cfs.path')).toBe(ENODATA);
  });

  describe('the path in struct cfs_file', () => {
    const hidden = { mode: 0o700, uid: 7 };
    const tree = treeOf(
      { '/a': directory, '/a/secret': inline('x'), '/b': directory, '/b/shown': '/a/secret', '/b/own': inline('y') },
      { '/': { mode: 0o755 }, '/a': hidden, '/b': { mode: 0o755 } },
    );
    const own = tablesOf(tree);
    const identityOf = identityOver(own, []);
    const pathFor = (path: string, name: string, caller?: Caller): string =>
      Buffer.from(
        decodeFile(identityOf.xattr(rowOf(own, path), Buffer.from(name), caller) as Uint8Array)?.path ?? [],
      ).toString();

    test.each([
      [{ uid: 0, pid: 0 }, '/a/secret'],
      [{ uid: 7, pid: 0 }, '/a/secret'],
      [{ uid: 1000, pid: 0 }, ''],
      [undefined, ''],
    ])('is shown to mode %o only if the directories permit it', (caller, shown) => {
      expect(pathFor('/b/shown', 'user.cfs.file', caller)).toBe(shown);
      expect(pathFor('/b/shown', 'trusted.cfs.file', caller)).toBe('/a/secret');
      expect(pathFor('/b/own', 'user.cfs.file', caller)).toBe('/b/own');
      expect(pathFor('/', 'user.cfs.file', caller)).toBe('/');
      const struct = identityOf.ioctl(rowOf(own, '/b/shown'), CFS_IOC_FILE, new Uint8Array(0), FILE_SIZE, caller);
      expect(Buffer.from(decodeFile(struct as Uint8Array)?.path ?? []).toString()).toBe(shown);
      expect(Buffer.from(struct as Uint8Array).includes('secret')).toBe(shown !== '');
    });

    test('is not shown through a directory with an ACL, or one closed to a group', () => {
      for (const attributes of [{ mode: 0o755, xattrs: [xattr('system.posix_acl_access', 'x')] }, { mode: 0o705 }]) {
        const closed = tablesOf(
          treeOf({ '/d': directory, '/d/f': inline('x') }, { '/': { mode: 0o755 }, '/d': attributes }),
        );
        const struct = identityOver(closed, []).xattr(rowOf(closed, '/d/f'), Buffer.from('user.cfs.file'), {
          uid: 1000,
          pid: 0,
        });
        expect(decodeFile(struct as Uint8Array)?.path).toHaveLength(0);
      }
    });
  });

  test('returns struct cfs_file', () => {
    const row = rowOf(tables, '/bin/tool');
    const struct = identity.xattr(row, Buffer.from('user.cfs.file'), ROOT) as Uint8Array;
    expect(decodeFile(struct)).toMatchObject({
      imageId: IMAGE_ID,
      ino: u64(tables.inodes.id, row),
      generation: tables.inodes.generation[row],
      size: LARGE.length,
      content: { source: 2, holders: [2], verified: 'no' },
    });
  });
});

describe('xattr() of the root', () => {
  test('reports each source, field by field', () => {
    expect(xattrOf('/', 'trusted.cfs.sources')).toBe('3');
    const fields = ['path', 'dev', 'given', 'kind', 'id', 'fstype', 'fsuuid', 'mnt_id'];
    expect(fields.map((field) => xattrOf('/', `trusted.cfs.source.2.${field}`))).toEqual([
      '/srv/2',
      '254:3',
      'given-2',
      'repository',
      'uuid-2',
      'ext4',
      '00010203-0405-0607-0809-0a0b0c0d0e0f',
      '29',
    ]);
    expect(xattrOf('/', 'trusted.cfs.source.0.kind')).toBe('image');
  });

  test('returns the handle as a struct file_handle', () => {
    expect(Buffer.from(xattrOf('/', 'trusted.cfs.source.1.fh') as string, 'latin1').toString('hex')).toBe(
      '08000000010000000102030405060708',
    );
  });

  test('returns struct cfs_source and struct cfs_mount', () => {
    const source = identity.xattr(0, Buffer.from('trusted.cfs.source.1')) as Uint8Array;
    expect(decodeSource(source)).toEqual({
      ...sourceRecord(1),
      given: Uint8Array.from(Buffer.from('given-1')),
      path: Uint8Array.from(Buffer.from('/srv/1')),
    });
    const mount = identity.xattr(0, Buffer.from('trusted.cfs.mount')) as Uint8Array;
    expect(decodeMount(mount)).toMatchObject({ pid: 77, sources: 3, imageId: IMAGE_ID });
  });

  test('has no value for a missing property of a source', () => {
    const gone = identityOver(tables, repositories, (index) =>
      sourceRecord(index, { path: undefined, handle: undefined, fsUuid: undefined }),
    );
    for (const field of ['path', 'fh', 'fsuuid']) {
      expect(gone.xattr(0, Buffer.from(`trusted.cfs.source.0.${field}`))).toBe(ENODATA);
    }
    expect(gone.xattr(0, Buffer.from('trusted.cfs.source.0.dev'))).toEqual(Buffer.from('254:3'));
  });

  test.each([
    'trusted.cfs.source.3',
    'trusted.cfs.source.3.path',
    'trusted.cfs.source.99999.path',
    'trusted.cfs.source.-1.path',
    'trusted.cfs.source.0x1.path',
    'trusted.cfs.source..path',
    'trusted.cfs.source.1.nothing',
    'trusted.cfs.source.1.path.path',
    'trusted.cfs.source.1.constructor',
    'trusted.cfs.',
    'trusted.cfs.nothing',
    'user.cfs.sources',
    'user.cfs.source.1.path',
    'user.cfs.mount',
  ])('has no %s', (name) => {
    expect(xattrOf('/', name)).toBe(ENODATA);
  });

  test.each(['trusted.cfs.sources', 'trusted.cfs.source.1.path'])('is the only one that has %s', (name) => {
    expect(xattrOf('/bin', name)).toBe(ENODATA);
    expect(xattrOf('/bin/tool', name)).toBe(ENODATA);
  });
});

const indexed = (index: number, size = SOURCE_SIZE): Buffer => {
  const struct = Buffer.alloc(size, 0xee);
  struct.writeUInt32LE(index, 4);
  return struct;
};

describe('ioctl()', () => {
  const call = (request: number, input: Uint8Array, room = input.length): Uint8Array | Errno =>
    identity.ioctl(rowOf(tables, '/bin/tool'), request, input, room);

  test('returns each structure', () => {
    expect(decodeMount(call(CFS_IOC_MOUNT, Buffer.alloc(MOUNT_SIZE)) as Uint8Array)).toMatchObject({ pid: 77 });
    expect(decodeFile(call(CFS_IOC_FILE, Buffer.alloc(FILE_SIZE)) as Uint8Array)).toMatchObject({ size: LARGE.length });
    for (const index of [0, 1, 2]) {
      const source = decodeSource(call(CFS_IOC_SOURCE, indexed(index)) as Uint8Array);
      expect(source).toMatchObject({ index, count: 3, id: sourceRecord(index).id });
    }
  });

  test('returns EINVAL for a source that does not exist, and if there is no room for an index', () => {
    for (const index of [3, 64, 2 ** 31, 2 ** 32 - 1]) expect(call(CFS_IOC_SOURCE, indexed(index))).toBe(EINVAL);
    for (const size of [0, 4, 7]) expect(call(CFS_IOC_SOURCE, new Uint8Array(size))).toBe(EINVAL);
  });

  test('returns ENOTTY for commands of other drivers', () => {
    // FS_IOC_GETFLAGS, FS_IOC_GETFSUUID, FS_IOC_ENABLE_VERITY, an unknown one of this type
    for (const request of [0x80086601, 0x80111500, 0x40806685, 0xc008c604]) {
      expect(call(request, new Uint8Array(8))).toBe(ENOTTY);
    }
  });

  test('returns the beginning to a caller with a smaller structure, and zeros to one with a larger', () => {
    const whole = Buffer.from(call(CFS_IOC_SOURCE, indexed(1)) as Uint8Array);
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 0x3fff }), (size) => {
        const answer = call(CFS_IOC_SOURCE, indexed(1, size)) as Uint8Array;
        const expected = Buffer.alloc(size);
        whole.copy(expected);
        expect(expected.equals(answer)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test('never returns more than a command can request', () => {
    expect((call(CFS_IOC_MOUNT, new Uint8Array(0), 0xffff_ffff) as Uint8Array).length).toBe(0x3fff);
  });
});

describe('private names in an image', () => {
  const names = [
    'trusted.cfs.path',
    'user.cfs.object',
    'user.cfs.own',
    'trusted.cfs.source.0.path',
    'user.cfs',
    'user.a',
  ];
  const attributes = { xattrs: names.map((name) => xattr(name, 'pretended')) };
  const hostile = tablesOf(
    treeOf({ '/a': inline('text'), '/d': directory }, { '/': attributes, '/a': attributes, '/d': attributes }),
  );
  const contents = { openless: true, read: () => 0 } as unknown as ContentSource;

  test.each([
    ['with an identity', identityOver(hostile, repositories)],
    ['without one', undefined],
  ])('are neither listed nor given, %s', (_, own) => {
    const fs = new ImageFilesystem(hostile, contents, undefined, own);
    for (const path of ['/', '/a', '/d']) {
      const ino = u64(hostile.inodes.id, rowOf(hostile, path));
      const listed = Buffer.from(fs.listxattr(ino) as Uint8Array)
        .toString()
        .split('\0');
      expect(listed.filter((name) => name !== '').sort()).toEqual(['user.a', 'user.cfs']);
      for (const name of names) {
        const value = fs.getxattr(ino, Buffer.from(name));
        const isPlain = ['user.a', 'user.cfs'].includes(name);
        if (isPlain) expect(Buffer.from(value as Uint8Array).toString()).toBe('pretended');
        else expect(isErrno(value) || Buffer.from(value).toString() !== 'pretended').toBe(true);
      }
      expect(fs.getxattr(ino, Buffer.from('user.cfs.own'))).toBe(ENODATA);
    }
  });
});
