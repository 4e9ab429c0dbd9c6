/**
 * include/cfs.h: a C program that is compiled with it reads all answers of a mount, and structures that TypeScript
 * wrote.
 */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  CFS_IOC_CLAIM,
  CFS_IOC_LINKABLE,
  CFS_IOC_RELINK,
  type ClaimRequest,
  decodeOrphan,
  encodeClaim,
  encodeClaimAnswer,
  encodeOrphan,
} from '../../src/base/checkpoint-structs.ts';
import { ChangesWriter, CURSOR_SIZE } from '../../src/mount-info/change-records.ts';
import { encodeFile, FILE_SIZE } from '../../src/mount-info/file-record.ts';
import { encodeMount, MOUNT_SIZE } from '../../src/mount-info/mount-record.ts';
import { encodeSource, SOURCE_SIZE } from '../../src/mount-info/source-record.ts';
import { type Mounted, type Packed, useScratch } from './harness.ts';
import { type Place, run, succeed } from './run.ts';

const scratch = useScratch();
const program = scratch.at('cfs-header');
const INCLUDE = join(import.meta.dirname, '../../include');
const STRICT = ['-Wall', '-Wextra', '-Werror', '-pedantic', `-I${INCLUDE}`];

beforeAll(async () => {
  await succeed([
    'gcc',
    '-std=c99',
    '-D_GNU_SOURCE',
    ...STRICT,
    '-o',
    program,
    join(import.meta.dirname, 'cfs-header.c'),
  ]);
});

/** Lines "name=value", each name once. */
const fieldsOf = (text: string): Record<string, string> =>
  Object.fromEntries(
    text.split('\n').flatMap((line) => {
      const equals = line.indexOf('=');
      return equals < 0 ? [] : [[line.slice(0, equals), line.slice(equals + 1)]];
    }),
  );

const shownByC = (what: string, bytes: Uint8Array): Record<string, string> =>
  fieldsOf(execFileSync(program, [what], { input: bytes, encoding: 'latin1' }));

describe('include/cfs.h', () => {
  test('compiles as C and C++ without a warning', async () => {
    const source = scratch.at('empty.c');
    writeFileSync(
      source,
      '#include "cfs.h"\n#include "cfs.h"\nint main(void) { return sizeof(struct cfs_file) == 0; }\n',
    );
    await succeed(['gcc', '-std=c89', ...STRICT, '-fsyntax-only', source]);
    await succeed(['g++', '-std=c++11', ...STRICT, '-x', 'c++', '-fsyntax-only', source]);
  });

  test('has every field of struct cfs_mount at the offset that TypeScript uses', () => {
    const record = {
      pid: 0x01020304,
      sources: 0x05060708,
      imageId: '0123456789abcdef'.repeat(4),
      mountpoint: Buffer.from('m'.repeat(4095)),
      options: Buffer.from('o'.repeat(4095)),
      release: 'r'.repeat(31),
    };
    expect(shownByC('mount', encodeMount(record))).toEqual({
      version: '1',
      sources: String(0x05060708),
      pid: String(0x01020304),
      reserved: '0',
      image_id: record.imageId,
      options: record.options.toString(),
      mountpoint: record.mountpoint.toString(),
      release: record.release,
    });
  });

  test('has every field of struct cfs_source at the offset that TypeScript uses', () => {
    const bytes = (length: number, from: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i + from);
    const source = {
      kind: 'repository',
      index: 0x01020304,
      count: 0x05060708,
      given: Buffer.from('g'.repeat(4095)),
      path: Buffer.from('p'.repeat(4095)),
      device: { major: 0x11121314, minor: 0x15161718 },
      ino: 0xfa1b1c1d1e1f2021n,
      fsType: 'f'.repeat(31),
      fsUuid: '00010203-0405-0607-0809-0a0b0c0d0e0f',
      mountId: 0x2a2b2c2d,
      handle: { type: -5, bytes: bytes(128, 0) },
      parent: { handle: { type: 0x30081, bytes: bytes(128, 100) }, name: Buffer.from('n'.repeat(255)) },
      id: 'i'.repeat(79),
    } as const;
    const fields = {
      version: '1',
      index: String(source.index),
      count: String(source.count),
      kind: '2',
      flags: '14',
      dev: `${source.device.major}:${source.device.minor}`,
      reserved: '0',
      ino: String(source.ino),
      mnt_id: String(source.mountId),
      'handle.type': '-5',
      'handle.data': Buffer.from(source.handle.bytes).toString('hex'),
      'parent.type': String(0x30081),
      'parent.data': Buffer.from(source.parent.handle.bytes).toString('hex'),
      fs_uuid: source.fsUuid.replaceAll('-', ''),
      fs_type: source.fsType,
      id: source.id,
      name: source.parent.name.toString(),
      path: source.path.toString(),
      given: source.given.toString(),
    };
    expect(shownByC('source', encodeSource(source))).toEqual(fields);
    const bare = {
      ...source,
      kind: 'image',
      path: undefined,
      fsUuid: undefined,
      handle: undefined,
      parent: undefined,
    } as const;
    expect(shownByC('source', encodeSource(bare))).toMatchObject({
      kind: '1',
      flags: '1',
      path: '',
      'handle.data': '',
    });
  });

  test('has every field of struct cfs_file at the offset that TypeScript uses', () => {
    const digest = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);
    const file = {
      imageId: 'fedcba9876543210'.repeat(4),
      ino: 0xabcdef123456,
      generation: 0x81828384,
      size: 0x1a2a3a4a5a,
      path: Buffer.from('p'.repeat(4095)),
      content: { object: { hash: 'fsverity-sha256', digest }, source: 3, holders: [0, 3, 63], verified: 'off' },
    } as const;
    const fields = {
      version: '1',
      flags: '7',
      ino: String(file.ino),
      size: String(file.size),
      generation: String(file.generation),
      hash: '2',
      image_id: file.imageId,
      object: Buffer.from(digest).toString('hex'),
      source: '3',
      verified: '4',
      holders: '8000000000000009',
      path: file.path.toString(),
    };
    expect(shownByC('file', encodeFile(file))).toEqual(fields);
    const none = encodeFile({ ...file, content: undefined, path: Buffer.alloc(5000, 'p') });
    expect(shownByC('file', none)).toMatchObject({ flags: '0', source: '4294967295', verified: '0', path: '' });
    const nobody = encodeFile({ ...file, content: { object: undefined, source: -1, holders: [], verified: 'no' } });
    expect(shownByC('file', nobody)).toMatchObject({ flags: '5', source: '4294967295', verified: '3', holders: '0' });
  });

  test('has every field of struct cfs_changes and cfs_change at the offset that TypeScript uses', () => {
    const cursor = Uint8Array.from({ length: CURSOR_SIZE }, (_, i) => i & 0xff);
    const record = {
      kind: 'renamed',
      what: 0x7f,
      isChanging: true,
      hasOtherNames: false,
      isMoved: true,
      isElsewhere: true,
      hasXattrs: true,
      path: Buffer.from('/now'),
      old: Buffer.from('/before'),
      ino: 0xfabcdef123456,
      generation: 0x81828384,
      mode: 0o104755,
      nlink: 3,
      uid: 0x91929394,
      gid: 5,
      rdev: 6,
      size: 0x1a2a3a4a5a,
      mtime: -2,
      mtimeNsec: 7,
      ctime: 0x123456789,
      ctimeNsec: 8,
      lower: 0xf000000000001,
      upper: 0x100000002,
    } as const;
    const writer = new ChangesWriter();
    expect(writer.add(record)).toBe(true);
    const struct = writer.finish(5, { since: 's'.repeat(63), token: 't'.repeat(63), cursor });
    expect(shownByC('changes', struct)).toEqual({
      version: '1',
      'changes.flags': '5',
      count: '1',
      used: '120',
      since: 's'.repeat(63),
      token: 't'.repeat(63),
      cursor: Buffer.from(cursor).toString('hex'),
      bytes: '120',
      kind: '4',
      flags: '29',
      what: '127',
      ino: String(record.ino),
      generation: String(record.generation),
      mode: '104755',
      nlink: '3',
      uid: String(record.uid),
      gid: '5',
      rdev: '6',
      size: String(record.size),
      mtime: '-2.000000007',
      ctime: `${record.ctime}.000000008`,
      lower: String(record.lower),
      upper: String(record.upper),
      path: '/now',
      old: '/before',
    });
  });
});

describe('the structures for checkpoints in include/cfs.h', () => {
  test('have every field of struct cfs_orphan at the offset that TypeScript uses', () => {
    const request = {
      isLinkable: true,
      ino: 0xfedcba987654,
      generation: 0xf1f2f3f4,
      claim: 0xf8f7f6f5f4f3f2f1n,
      parent: 0xabcdef0123,
      name: Buffer.from('n'.repeat(255)),
    };
    expect(shownByC('orphan', encodeOrphan(request, 7))).toEqual({
      version: '1',
      flags: '1',
      ino: String(request.ino),
      generation: String(request.generation),
      nlink: '7',
      claim: 'f8f7f6f5f4f3f2f1',
      parent: String(request.parent),
      name: request.name.toString(),
      linkable: CFS_IOC_LINKABLE.toString(16),
      relink: CFS_IOC_RELINK.toString(16),
    });
    expect(decodeOrphan(encodeOrphan(request))).toEqual({ ...request, name: new Uint8Array(request.name) });
  });

  test('have every field of struct cfs_claim at the offset that TypeScript uses', () => {
    const request = { operation: 'read', id: 0xf8f7f6f5f4f3f2f1n, offset: 0xabcdef0123, text: Buffer.alloc(4096, 't') };
    expect(shownByC('claim', encodeClaim(request as ClaimRequest))).toEqual({
      version: '1',
      operation: '5',
      id: 'f8f7f6f5f4f3f2f1',
      offset: String(request.offset),
      length: '4096',
      complete: '0',
      text: request.text.toString(),
      command: CFS_IOC_CLAIM.toString(16),
    });
    expect(shownByC('claim', encodeClaimAnswer({ id: 5n, isComplete: true, text: Buffer.from('x') }))).toMatchObject({
      complete: '1',
      text: 'x',
    });
  });
});

describe('ioctl(2) by a C program', () => {
  const source = scratch.at('source');
  let packed: Packed;

  beforeAll(async () => {
    mkdirSync(join(source, 'directory'), { recursive: true });
    writeFileSync(join(source, 'large'), Buffer.alloc(200_000, 'large '));
    writeFileSync(join(source, 'inline'), 'inline');
    writeFileSync(join(source, 'empty'), '');
    symlinkSync('large', join(source, 'link'));
    packed = await scratch.pack(source);
  });

  const PATHS = ['.', 'directory', 'large', 'inline', 'empty'];

  /** Asks on each file, and compares the answer with the facts. */
  async function expectAnswers(mounted: Mounted, place: Place, verified: string): Promise<void> {
    for (const path of PATHS) {
      const text = await succeed(place.command(program, 'ask', mounted.at(path)));
      const [mount = '', ...rest] = text.split(/^(?=version=)/m);
      expect(fieldsOf(mount)).toMatchObject({
        sources: '2',
        image_id: mounted.report.id,
        mountpoint: mounted.path,
      });
      const [image, repository, file] = rest.map(fieldsOf);
      const imageStat = statSync(packed.image);
      expect(image).toMatchObject({
        kind: '1',
        index: '0',
        count: '2',
        path: packed.image,
        ino: String(imageStat.ino),
      });
      expect(image).toMatchObject({
        id: mounted.report.id,
        given: packed.image,
        fs_type: 'ext4',
        name: packed.image.split('/').at(-1),
      });
      expect(repository).toMatchObject({
        kind: '2',
        index: '1',
        path: scratch.store,
        ino: String(statSync(scratch.store).ino),
      });
      const stat = lstatSync(join(source, path));
      expect(file).toMatchObject({ image_id: mounted.report.id, path: join('/', path) });
      if (path === 'large') expect(file).toMatchObject({ flags: '7', hash: '1', source: '1', holders: '2', verified });
      else if (stat.isFile())
        expect(file).toMatchObject({ flags: '5', hash: '0', source: '0', holders: '1', verified: '1' });
      else expect(file).toMatchObject({ flags: '4', source: '4294967295' });
      if (stat.isFile()) expect(file).toMatchObject({ size: String(stat.size) });
    }
  }

  test('works on passed-through files, and directories', async () => {
    const mounted = await scratch.mount(packed.image);
    expect(mounted.report.passthrough).toBe(true);
    await expectAnswers(mounted, mounted.place, '1'); // the program opens the file
  });

  test('works with verify=read and off', async () => {
    const reading = await scratch.mount(packed.image, { words: ['verify=read'] });
    await expectAnswers(reading, reading.place, '2');
    const off = await scratch.mount(packed.image, { words: ['verify=off', 'threads=1'] });
    await expectAnswers(off, off.place, '4');
  });

  test('works in a user namespace', async () => {
    const place = await scratch.namespace('user namespace');
    const mounted = await scratch.mount(packed.image, { place });
    await expectAnswers(mounted, place, '1');
  });

  test('works with smaller and larger structures than the current ones', async () => {
    const mounted = await scratch.mount(packed.image);
    const lines = (await succeed([program, 'sizes', mounted.at('large')])).trimEnd().split('\n');
    const expected = [MOUNT_SIZE, SOURCE_SIZE, FILE_SIZE].flatMap((today, i) =>
      [4, 8, 100, today - 1, today, today + 1, 0x3fff].map((size) =>
        // there is no room for the index in four bytes
        i === 1 && size === 4 ? 'nr=2 size=4 error=Invalid argument' : `nr=${i + 1} size=${size} first=1 wrong=0`,
      ),
    );
    expect(lines).toEqual(expected);
  });

  test('fails with ENOTTY outside of a mount of cfs, and if the driver supports no ioctls', async () => {
    const here = await run([program, 'ask', scratch.path]);
    expect(here).toMatchObject({ status: 1, stdout: `${scratch.path}: Inappropriate ioctl for device\n` });
    const native = await scratch.mount(packed.image, { words: ['driver=fuse-native'] });
    const { status, stdout } = await run([program, 'ask', native.path]);
    expect({ status, stdout }).toEqual({
      status: 1,
      stdout: expect.stringMatching(/Inappropriate ioctl for device|Function not implemented/),
    });
  });
});
