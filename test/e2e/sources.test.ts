/** The sources that a mount reports: what they are, and where they are now. */
import {
  chmodSync,
  closeSync,
  constants,
  cpSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import type { FileHandle } from '../../src/base/handle-format.ts';
import { encodeManifest } from '../../src/manifest/encode.ts';
import type { SourceRecord } from '../../src/mount-info/source-record.ts';
import { openByHandle } from '../../src/system/file-handle.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { listXattrs } from '../../src/system/xattrs.ts';
import { setXattr } from '../support/libc.ts';
import { buildTables, inline, treeOf, xattr } from '../unit/manifest/model.ts';
import { ask, pathsOf, xattrText } from './asking.ts';
import { hasProgram, mountLoop, mountTmpfs, outputOf } from './cli.ts';
import { type Mounted, type Packed, useScratch } from './harness.ts';
import { HERE, type Place, run, succeed } from './run.ts';
import { mountTable } from './system.ts';

const scratch = useScratch();
const source = scratch.at('source');

beforeAll(() => {
  mkdirSync(join(source, 'directory'), { recursive: true });
  writeFileSync(join(source, 'object'), Buffer.alloc(5000, 'object '));
  writeFileSync(join(source, 'directory/inline'), 'inline');
  symlinkSync('object', join(source, 'link'));
});

/** A store and an image in a new directory. */
async function packIn(directory: string): Promise<Packed & { readonly store: string }> {
  mkdirSync(directory, { recursive: true });
  const store = join(directory, 'store');
  return { ...(await scratch.pack(source, { store, image: join(directory, 'image.cfs') })), store };
}

/** st_dev and st_ino of the file that a handle opens, through the file system of `path`. */
function opened(path: string, handle: FileHandle): { dev: number; ino: number } {
  const through = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const fd = openByHandle(through, handle, O_PATH);
    if (isErrno(fd)) throw new Error(`open_by_handle_at: ${fd}`);
    const { dev, ino } = fstatSync(fd);
    closeSync(fd);
    return { dev, ino };
  } finally {
    closeSync(through);
  }
}

/** struct file_handle in the xattr `trusted.cfs.source.N.fh`. */
function handleXattr(path: string, name: string): FileHandle {
  const bytes = Buffer.from(xattrText(path, name), 'latin1');
  expect(bytes.readUInt32LE(0)).toBe(bytes.length - 8);
  return { type: bytes.readInt32LE(4), bytes: bytes.subarray(8) };
}

const FILE_SYSTEMS = [
  ['root', async (_: string) => undefined],
  ['ext4', (path: string) => mountLoop(path, 'ext4', 64)],
  ['xfs', (path: string) => mountLoop(path, 'xfs', 320)],
  ['btrfs', (path: string) => mountLoop(path, 'btrfs', 128)],
  ['tmpfs', (path: string) => mountTmpfs(path)],
] as const;

describe.each(FILE_SYSTEMS)('sources on %s', (name, make) => {
  const directory = scratch.at(`on ${name}`);
  let packed: Packed & { readonly store: string };
  let mounted: Mounted;

  beforeAll(async () => {
    await make(directory);
    packed = await packIn(directory);
    mounted = await scratch.mount(packed.image, { repos: [packed.store] });
  });

  test('are reported with device, inode, type and uuid of their file system, and the given path', async () => {
    const [type, uuid] = (await outputOf('findmnt', '-no', 'FSTYPE,UUID', '-T', directory)).split(/\s+/);
    const { sources } = ask(mounted.path);
    const meta = JSON.parse(readFileSync(join(packed.store, 'meta.json'), 'utf8')) as { uuid: string };
    const mount =
      mountTable().findLast(({ mountpoint }) => directory === mountpoint) ??
      mountTable().find(({ mountpoint }) => mountpoint === '/');
    expect(sources.map(({ kind, id, index, count }) => [kind, id, index, count])).toEqual([
      ['image', mounted.report.id, 0, 2],
      ['repository', meta.uuid, 1, 2],
    ]);
    for (const [i, path] of [packed.image, packed.store].entries()) {
      const stat = statSync(path, { bigint: true });
      const record = sources[i] as SourceRecord;
      const { device, ino, fsType, fsUuid } = record;
      const text = `${device.major}:${device.minor}`;
      expect([ino, fsType]).toEqual([stat.ino, type]);
      expect(text).toBe(await outputOf('stat', '-c', '%Hd:%Ld', path));
      expect([record.path, record.given].map((bytes) => bytes && Buffer.from(bytes).toString())).toEqual([path, path]);
      // the kernel may know no uuid of this machine's disk; the uuid of a tmpfs is in no list
      if (uuid !== undefined && name !== 'root') expect(fsUuid).toBe(uuid);
      const at = `trusted.cfs.source.${i}`;
      expect(xattrText(mounted.path, `${at}.path`)).toBe(path);
      expect(xattrText(mounted.path, `${at}.given`)).toBe(path);
      expect(xattrText(mounted.path, `${at}.dev`)).toBe(text);
      expect(xattrText(mounted.path, `${at}.fstype`)).toBe(type);
      expect(xattrText(mounted.path, `${at}.fsuuid`)).toBe(fsUuid ?? 'ENODATA');
      expect(xattrText(mounted.path, `${at}.id`)).toBe(record.id);
      // the xattr has the bytes of the mount table
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).toMatch(
        new RegExp(`^${xattrText(mounted.path, `${at}.mnt_id`)} .* ${mount?.mountpoint.replaceAll(' ', '.040')} `, 'm'),
      );
    }
  });

  test('open by their handles, the image also by its directory and name', () => {
    const { sources } = ask(mounted.path);
    for (const [i, path] of [packed.image, packed.store].entries()) {
      const { dev, ino } = statSync(path);
      const handle = handleXattr(mounted.path, `trusted.cfs.source.${i}.fh`);
      expect(sources[i]?.handle).toEqual({ type: handle.type, bytes: Uint8Array.from(handle.bytes) });
      expect(opened(directory, handle)).toEqual({ dev, ino });
    }
    const parent = sources[0]?.parent as NonNullable<SourceRecord['parent']>;
    expect(Buffer.from(parent.name).toString()).toBe('image.cfs');
    const { dev, ino } = statSync(directory);
    expect(opened(directory, parent.handle)).toEqual({ dev, ino });
    expect(sources[1]?.parent).toBeUndefined();
  });

  test('are gone after their files and directories were deleted, and distinguished from their replacements', async () => {
    const moved = `${directory}/other`;
    const other = await packIn(moved);
    const second = await scratch.mount(other.image, { repos: [other.store] });
    cpSync(other.image, `${other.image}.copy`);
    renameSync(`${other.image}.copy`, other.image); // as when a new version replaces a file
    expect(pathsOf(second.path)).toEqual(['gone', other.store]);
    rmSync(moved, { recursive: true });
    expect(pathsOf(second.path)).toEqual(['gone', 'gone']);
    expect(xattrText(second.path, 'trusted.cfs.source.1.path')).toBe('ENODATA');
    expect(xattrText(second.path, 'trusted.cfs.source.1.given')).toBe(other.store);
    expect(ask(second.path).sources[0]?.parent).toBeUndefined();
    const { status } = await run(['cat', second.at('object')]);
    expect(status).toBe(1);
  });
});

describe('sources', () => {
  test('have absolute paths if they were given by relative ones, and by symbolic links', async () => {
    const directory = scratch.at('given');
    const packed = await packIn(directory);
    const links = scratch.directory('links');
    symlinkSync(packed.image, join(links, 'link.cfs'));
    symlinkSync(packed.store, join(links, 'link-store'));
    const at = scratch.directory('mnt');
    const args = ['--json', '--repo', 'link-store', '--repo', relative(links, packed.store), './link.cfs', at];
    const { stdout } = await run(HERE.tool('cfs-mount', args, scratch.environment), { cwd: links });
    scratch.adopt(JSON.parse(stdout));
    const { sources } = ask(at);
    expect(sources.map(({ given }) => Buffer.from(given).toString())).toEqual([
      './link.cfs',
      'link-store',
      relative(links, packed.store),
    ]);
    expect(pathsOf(at)).toEqual([packed.image, packed.store, packed.store]);
    // the directory is that of the file, not of the link
    const parent = sources[0]?.parent as NonNullable<SourceRecord['parent']>;
    expect(Buffer.from(parent.name).toString()).toBe('image.cfs');
    expect(opened(directory, parent.handle).ino).toBe(statSync(directory).ino);
  });

  test('are shown at their current paths after they were renamed and moved', async () => {
    const directory = scratch.at('moving');
    const packed = await packIn(directory);
    const mounted = await scratch.mount(packed.image, { repos: [packed.store] });
    const parentName = (): string | undefined => {
      const name = ask(mounted.path).sources[0]?.parent?.name;
      return name && Buffer.from(name).toString();
    };
    renameSync(packed.image, join(directory, 'renamed.cfs'));
    renameSync(packed.store, join(directory, 'renamed\nstore'));
    writeFileSync(packed.image, 'something else');
    expect(pathsOf(mounted.path)).toEqual([join(directory, 'renamed.cfs'), join(directory, 'renamed\nstore')]);
    expect(parentName()).toBe('renamed.cfs');
    const elsewhere = scratch.directory('elsewhere');
    renameSync(join(directory, 'renamed.cfs'), join(elsewhere, 'image.cfs'));
    renameSync(join(directory, 'renamed\nstore'), join(elsewhere, 'store'));
    expect(pathsOf(mounted.path)).toEqual([join(elsewhere, 'image.cfs'), join(elsewhere, 'store')]);
    expect(parentName()).toBeUndefined(); // the store is no longer in the directory that the mount keeps open
    renameSync(elsewhere, `${elsewhere} renamed`);
    expect(pathsOf(mounted.path)).toEqual([
      join(`${elsewhere} renamed`, 'image.cfs'),
      join(`${elsewhere} renamed`, 'store'),
    ]);
  });

  test('are gone after they were deleted on an overlayfs, and not because of an odd name', async () => {
    const layers = scratch.directory('layers');
    for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(layers, name));
    await packIn(join(layers, 'lower/a (deleted)'));
    const options = `lowerdir=${layers}/lower,upperdir=${layers}/upper,workdir=${layers}/work`;
    await succeed(['mount', '-t', 'overlay', 'overlay', '-o', options, join(layers, 'merged')]);
    const directory = join(layers, 'merged/a (deleted)');
    renameSync(join(directory, 'image.cfs'), join(directory, 'image (deleted)'));
    const [image, store] = [join(directory, 'image (deleted)'), join(directory, 'store')];
    const mounted = await scratch.mount(image, { repos: [store] });
    expect(pathsOf(mounted.path)).toEqual([image, store]);
    rmSync(store, { recursive: true });
    expect(pathsOf(mounted.path)).toEqual([image, 'gone']);
    rmSync(image);
    expect(pathsOf(mounted.path)).toEqual(['gone', 'gone']);
  });

  test('are shown by the other name if one of two was deleted', async () => {
    const packed = await packIn(scratch.at('linked'));
    linkSync(packed.image, `${packed.image}.link`);
    const mounted = await scratch.mount(packed.image, { repos: [packed.store] });
    unlinkSync(`${packed.image}.link`);
    expect(pathsOf(mounted.path)).toEqual([packed.image, packed.store]);
  });

  test('are gone after their file system was lazily unmounted, and still serve', async () => {
    const directory = await mountTmpfs(scratch.at('detached'));
    const packed = await packIn(directory);
    const mounted = await scratch.mount(packed.image, { repos: [packed.store] });
    const before = ask(mounted.path).sources;
    await succeed(['umount', '-l', directory]);
    const after = ask(mounted.path).sources;
    expect(pathsOf(mounted.path)).toEqual(['gone', 'gone']);
    // the rest is unchanged: it identifies the missing disk
    expect(after).toEqual(before.map((record) => ({ ...record, path: undefined })));
    expect(readFileSync(mounted.at('object')).length).toBe(5000);
  });

  test('are the image alone if it needs no repository', async () => {
    const small = scratch.directory('small');
    writeFileSync(join(small, 'a'), 'in the image');
    const { image } = await scratch.pack(small);
    const mounted = await scratch.mount(image);
    expect(ask(mounted.path)).toMatchObject({ mount: { sources: 1 }, sources: [{ kind: 'image', count: 1 }] });
    expect(xattrText(mounted.path, 'trusted.cfs.sources')).toBe('1');
  });

  test('of 70 repositories are all reported, in their order', async () => {
    const { image, store } = await packIn(scratch.at('many'));
    const repos = Array.from({ length: 70 }, (_, i) => `${store}-${i}`);
    for (const repo of repos) symlinkSync(store, repo);
    const mounted = await scratch.mount(image, { repos });
    const { sources } = ask(mounted.path);
    expect(sources.map(({ given }) => Buffer.from(given).toString())).toEqual([image, ...repos]);
    expect(xattrText(mounted.path, 'trusted.cfs.source.70.path')).toBe(store);
    // the mask of `struct cfs_file` ends at 63; the list does not
    expect(xattrText(mounted.at('object'), 'user.cfs.holders')).toBe(repos.map((_, i) => i + 1).join(' '));
  });
});

describe('private xattrs', () => {
  const plain = scratch.at('plain');
  let mounts: readonly Mounted[];

  beforeAll(async () => {
    cpSync(source, plain, { recursive: true });
    setXattr(join(plain, 'object'), 'user.own', Buffer.from('kept'));
    setXattr(join(plain, 'object'), 'trusted.own', Buffer.from('kept'));
    const [without, having] = [await scratch.pack(source), await scratch.pack(plain)];
    mounts = [
      await scratch.mount(without.image),
      await scratch.mount(having.image),
      await scratch.mount(having.image, { words: ['verify=read'] }),
      await scratch.mount(having.image, { words: ['driver=fuse-native'] }),
    ];
  });

  const PATHS = ['.', 'object', 'directory', 'directory/inline', 'link'];

  test('are returned, and never listed', () => {
    for (const mounted of mounts) {
      for (const path of PATHS) {
        expect(xattrText(mounted.at(path), 'trusted.cfs.image')).toBe(mounted.report.id);
        expect(xattrText(mounted.at(path), 'trusted.cfs.path')).toBe(join('/', path));
        const names = listXattrs(mounted.at(path));
        const text = isErrno(names)
          ? ''
          : names
              .map((name) => Buffer.from(name).toString())
              .sort()
              .join();
        expect(text).toBe(path === 'object' && mounted !== mounts[0] ? 'trusted.own,user.own' : '');
      }
      expect(xattrText(mounted.path, 'trusted.cfs.sources')).toBe('2');
    }
  });

  test('are not copied or shown by tools', async () => {
    const [, having] = mounts as [Mounted, Mounted];
    const shown = await succeed(['getfattr', '-R', '-h', '-d', '-m', '-', '--absolute-names', having.path]);
    expect(shown).toContain('user.own="kept"');
    expect(shown).not.toContain('cfs.');
    const copies = scratch.directory('copies');
    await succeed(['cp', '-a', having.path, join(copies, 'cp')]);
    await succeed([
      'sh',
      '-c',
      `mkdir ${copies}/tar && tar -C ${having.path} --xattrs --xattrs-include='*' -c . | tar -C ${copies}/tar --xattrs --xattrs-include='*' -x`,
    ]);
    if (hasProgram('rsync')) await succeed(['rsync', '-aX', `${having.path}/`, join(copies, 'rsync')]);
    for (const copy of readdirSync(copies)) {
      for (const path of PATHS) {
        const names = listXattrs(join(copies, copy, path)) as Uint8Array[];
        const expected = path === 'object' ? 'trusted.own,user.own' : '';
        expect(
          names
            .map((name) => Buffer.from(name).toString())
            .sort()
            .join(),
        ).toBe(expected);
      }
    }
  });

  test('are left out of a source that is packed, with a warning', async () => {
    const own = scratch.at('own');
    cpSync(source, own, { recursive: true });
    setXattr(join(own, 'object'), 'user.cfs.object', Buffer.from('pretended'));
    setXattr(own, 'trusted.cfs.source.0.path', Buffer.from('/etc/shadow'));
    const image = scratch.at('own.cfs');
    const { status, stderr } = await scratch.tool('cfs-mkimage', ['--no-fsync', '--store', scratch.store, own, image]);
    expect(status).toBe(0);
    for (const name of ['user.cfs.object', 'trusted.cfs.source.0.path']) expect(stderr).toContain(name);
    const mounted = await scratch.mount(image);
    expect(xattrText(mounted.at('object'), 'user.cfs.object')).toMatch(/^blake3:[0-9a-f]{64}$/);
    expect((await run(['getfattr', '-d', '-m', '-', mounted.at('object')])).stdout).toBe('');
  });

  test('of a hand-made image are neither listed nor returned', async () => {
    const names = ['user.cfs.object', 'user.cfs.made-up', 'trusted.cfs.source.0.path', 'trusted.cfs.path', 'user.own'];
    const xattrs = names.map((name) => xattr(name, 'pretended'));
    const tree = treeOf({ '/file': inline('text') }, { '/': { mode: 0o755, xattrs }, '/file': { xattrs } });
    const image = scratch.at('by-hand.cfs');
    writeFileSync(image, encodeManifest(buildTables(tree)));
    const mounted = await scratch.mount(image);
    for (const path of [mounted.path, mounted.at('file')]) {
      expect((listXattrs(path) as Uint8Array[]).map((name) => Buffer.from(name).toString())).toEqual(['user.own']);
      expect(names.map((name) => xattrText(path, name)).filter((value) => value === 'pretended')).toHaveLength(1);
      expect(xattrText(path, 'user.cfs.made-up')).toBe('ENODATA');
    }
    expect(xattrText(mounted.path, 'trusted.cfs.source.0.path')).toBe(image);
    expect(xattrText(mounted.at('file'), 'trusted.cfs.path')).toBe('/file');
  });

  test('with trusted. names are for root alone, the others for users that may read the file', async () => {
    const [mounted] = mounts as [Mounted];
    const nobody = scratch.nobody();
    const get = async (place: Place, name: string, path: string): Promise<string> => {
      const { status, stdout } = await run(place.command('getfattr', '--only-values', '-n', name, path));
      return status === 0 ? stdout : `status ${status}`;
    };
    expect(await get(nobody, 'trusted.cfs.source.0.path', mounted.path)).toBe('status 1');
    expect(await get(nobody, 'user.cfs.source.0.path', mounted.path)).toBe('status 1');
    expect(await get(nobody, 'user.cfs.image', mounted.path)).toBe(mounted.report.id);
    expect(await get(nobody, 'user.cfs.verified', mounted.at('object'))).toMatch(/^(?:yes|no)$/);
    const secret = scratch.directory('secret');
    writeFileSync(join(secret, 'secret'), Buffer.alloc(3000, 'secret'));
    chmodSync(join(secret, 'secret'), 0o600);
    const closed = await scratch.mount((await scratch.pack(secret)).image);
    expect(await get(nobody, 'user.cfs.object', closed.at('secret'))).toBe('status 1');
  });

  test('cannot be set or removed', async () => {
    const [mounted] = mounts as [Mounted];
    expect((await run(['setfattr', '-n', 'user.cfs.object', '-v', 'x', mounted.at('object')])).stderr).toContain(
      'Read-only',
    );
    expect((await run(['setfattr', '-x', 'user.cfs.object', mounted.at('object')])).stderr).toContain('Read-only');
  });
});

describe('a mount in a user namespace', () => {
  test('is reported by ioctl and by cfs-info, sources included', async () => {
    const packed = await packIn(scratch.at('namespace'));
    const place = await scratch.namespace('user namespace');
    const mounted = await scratch.mount(packed.image, { place, repos: [packed.store] });
    const { status, stdout, stderr } = await scratch.tool('cfs-info', ['sources', '--json', mounted.path], place);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const list = JSON.parse(stdout) as { mountpoint: string; sources: { path: string; fsType: string; ino: number }[] };
    expect(list.mountpoint).toBe(mounted.path);
    expect(list.sources).toMatchObject([
      { path: packed.image, fsType: 'ext4', ino: statSync(packed.image).ino },
      { path: packed.store, fsType: 'ext4', ino: statSync(packed.store).ino },
    ]);
  });
});

test('an image is mounted even if its directory cannot be found by its path', async () => {
  const directory = scratch.directory('unlinked');
  const { image } = await scratch.pack(source);
  const path = join(directory, 'image.cfs');
  cpSync(image, path);
  const fd = openSync(path, 'r');
  try {
    rmSync(path);
    rmdirSync(directory);
    const mounted = await scratch.mount(`/proc/${process.pid}/fd/${fd}`);
    expect(pathsOf(mounted.path)[0]).toBe('gone');
    expect(readFileSync(mounted.at('directory/inline'), 'utf8')).toBe('inline');
  } finally {
    closeSync(fd);
  }
});
