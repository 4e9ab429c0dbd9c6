/** Files without a name get one for a checkpoint: the ioctls of a writable mount, and the claims that they record. */
import {
  chownSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { errnoName, isErrno } from '../../src/base/errno.ts';
import { fuseIdentity } from '../../src/base/handle-format.ts';
import {
  beginClaim,
  claimsOf,
  completeClaim,
  endClaim,
  makeLinkable,
  relinkOrphan,
} from '../../src/checkpoint/orphan-ioctls.ts';
import { openNameless } from '../../src/system/descriptors.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { linkFd } from '../../src/system/names.ts';
import { handleOfFd } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { type Layers, newLayers } from './layers.ts';
import { asUser, NOBODY, succeed } from './run.ts';
import { killServer, until } from './system.ts';

const scratch = useScratch();
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;
const LARGE = 1_000_000;
let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'large'), Buffer.alloc(LARGE, 'a large file '));
  mkdirSync(join(source, 'directory/empty'), { recursive: true });
  writeFileSync(join(source, 'directory/file'), 'in a directory');
  writeFileSync(join(source, 'mine'), 'of an ordinary user');
  chownSync(join(source, 'mine'), NOBODY, NOBODY);
  image = (await scratch.pack(source)).image;
});

const fds: number[] = [];
afterEach(() => {
  for (const fd of fds.splice(0)) closeSync(fd);
});

function kept(fd: number): number {
  if (isErrno(fd)) throw new Error(errnoName(fd));
  fds.push(fd);
  return fd;
}

const mount = ({ words }: Layers): Promise<Mounted> => scratch.mount(image, { words });

/** A file that was written and then unlinked. */
function unlinkedFile(mounted: Mounted, name: string, content = name): number {
  writeFileSync(mounted.at(name), content);
  const fd = kept(openSync(mounted.at(name), 'r+'));
  unlinkSync(mounted.at(name));
  return fd;
}

const rootOf = (mounted: Mounted): number => kept(openSync(mounted.path, DIRECTORY));
const named = (result: number): string => (isErrno(result) ? errnoName(result) : 'ok');
const identityOf = (fd: number): { ino: number; generation: number } => {
  const identity = fuseIdentity(handleOfFd(fd));
  return { ino: identity?.id as number, generation: identity?.generation as number };
};
const link = (fd: number, root: number, name: string): string => named(linkFd(fd, root, Buffer.from(name)));

describe('a file without a name', () => {
  test('can be linked as soon as it is linkable, and keeps its inode', async () => {
    const mounted = await mount(newLayers(scratch));
    const root = rootOf(mounted);
    const fd = unlinkedFile(mounted, 'a');
    const { ino } = fstatSync(fd);
    expect(link(fd, root, 'b')).toBe('ENOENT');
    expect(makeLinkable(fd, { isLinkable: true })).toBe(1);
    expect(fstatSync(fd).nlink).toBe(1);
    expect(link(fd, root, 'b')).toBe('ok');
    expect(fstatSync(fd)).toMatchObject({ ino, nlink: 1 });
    expect(lstatSync(mounted.at('b')).ino).toBe(ino);
    writeSync(fd, 'more', 0);
    expect(readFileSync(mounted.at('b'), 'utf8')).toBe('more');
    unlinkSync(mounted.at('b'));
    expect(fstatSync(fd).nlink).toBe(0);
  });

  test('is no longer linkable when that is taken back', async () => {
    const mounted = await mount(newLayers(scratch));
    const fd = unlinkedFile(mounted, 'a');
    expect(makeLinkable(fd, { isLinkable: true })).toBe(1);
    expect(makeLinkable(fd, { isLinkable: false })).toBe(0);
    expect(fstatSync(fd).nlink).toBe(0);
    expect(link(fd, rootOf(mounted), 'b')).toBe('ENOENT');
  });

  test('is found by its inode number and generation, with O_PATH and whatever its type is', async () => {
    const mounted = await mount(newLayers(scratch));
    const root = rootOf(mounted);
    await succeed(['mkfifo', mounted.at('fifo')]);
    const fd = kept(openSync(mounted.at('fifo'), O_PATH));
    unlinkSync(mounted.at('fifo'));
    const { ino, generation } = identityOf(fd);
    expect(named(makeLinkable(root, { ino, generation: (generation ^ 1) >>> 0, isLinkable: true }))).toBe('ESTALE');
    expect(makeLinkable(root, { ino, generation, isLinkable: true })).toBe(1);
    expect(fstatSync(fd).nlink).toBe(1);
    expect(link(fd, root, 'again')).toBe('ok');
    expect(lstatSync(mounted.at('again')).isFIFO()).toBe(true);
  });

  test('made with O_TMPFILE is one too', async () => {
    const mounted = await mount(newLayers(scratch));
    const root = rootOf(mounted);
    const fd = kept(openNameless(root, 0o600) as number);
    expect(makeLinkable(root, { ...identityOf(fd), isLinkable: true })).toBe(1);
    expect(link(fd, root, 'named')).toBe('ok');
  });

  test('of the image is linked without its content', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    const root = rootOf(mounted);
    const fd = kept(openSync(mounted.at('large'), 'r'));
    const { ino } = fstatSync(fd);
    unlinkSync(mounted.at('large'));
    expect(makeLinkable(fd, { isLinkable: true })).toBe(1);
    expect(link(fd, root, 'relinked')).toBe('ok');
    const { blocks, size } = statSync(join(layers.upper, 'relinked'));
    expect(size).toBe(LARGE);
    // one for xattrs
    expect(blocks).toBeLessThanOrEqual(8);
    closeSync(fds.splice(0).pop() as number);
    closeSync(root);
    await mounted.unmount();
    const next = await mount(layers);
    expect(lstatSync(next.at('relinked')).ino).toBe(ino);
    expect(readFileSync(next.at('relinked')).equals(Buffer.alloc(LARGE, 'a large file '))).toBe(true);
  });

  test('is linkable in the next server, too', async () => {
    const mounted = await mount(newLayers(scratch));
    const fd = unlinkedFile(mounted, 'a');
    makeLinkable(fd, { isLinkable: true });
    await killServer(mounted);
    expect(fstatSync(fd).nlink).toBe(1);
    expect(link(fd, rootOf(mounted), 'b')).toBe('ok');
  });

  test('is deleted with its last descriptor although it was linkable', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    makeLinkable(unlinkedFile(mounted, 'a'), { isLinkable: true });
    const orphans = join(layers.work, 'cfs/orphans');
    expect(readdirSync(orphans)).toHaveLength(1);
    closeSync(fds.pop() as number);
    await until('it is gone', () => readdirSync(orphans).length === 0);
  });
});

describe('a removed directory', () => {
  const removed = (mounted: Mounted, path: string): number => {
    const fd = kept(openSync(mounted.at(path), DIRECTORY));
    rmdirSync(mounted.at(path));
    return fd;
  };

  test.each(['new', 'directory/empty'])('gets a name, and keeps its inode: %s', async (path) => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    if (!existsSync(mounted.at(path))) mkdirSync(mounted.at(path), { mode: 0o751 });
    const root = rootOf(mounted);
    const fd = removed(mounted, path);
    const { ino, mode } = fstatSync(fd);
    expect(readdirSync(mounted.path)).not.toContain('again');
    expect(named(makeLinkable(fd, { isLinkable: true }))).toBe('EISDIR');
    expect(relinkOrphan(fd, { parent: 1, name: Buffer.from('again') })).toBeGreaterThan(0);
    // makes the kernel forget what it knows of the name, and of the names in its directory
    expect(() => mkdirSync(mounted.at('again'))).toThrow('EEXIST');
    mkdirSync(mounted.at('other'));
    expect(lstatSync(mounted.at('again'))).toMatchObject({ ino, mode });
    expect(readdirSync(mounted.path)).toContain('again');
    expect(readdirSync(mounted.at('again'))).toEqual([]);
    expect(fstatSync(fd).nlink).toBeGreaterThan(0);
    closeSync(fd);
    closeSync(root);
    fds.length = 0;
    await mounted.unmount();
    const next = await mount(layers);
    expect(lstatSync(next.at('again'))).toMatchObject({ ino, mode });
    writeFileSync(next.at('again/file'), 'it can be used');
    expect(readdirSync(next.at('again'))).toEqual(['file']);
  });

  test('with changes of the image in it shows nothing of the image under its name', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    unlinkSync(mounted.at('directory/file'));
    rmdirSync(mounted.at('directory/empty'));
    renameSync(mounted.at('directory'), mounted.at('moved'));
    const fd = removed(mounted, 'moved');
    expect(relinkOrphan(fd, { parent: 1, name: Buffer.from('directory') })).toBeGreaterThan(0);
    closeSync(fds.pop() as number);
    await mounted.unmount();
    const next = await mount(layers);
    expect(readdirSync(next.at('directory'))).toEqual([]);
    expect(existsSync(next.at('moved'))).toBe(false);
  });

  test('gets no name that is taken, and not two', async () => {
    const mounted = await mount(newLayers(scratch));
    mkdirSync(mounted.at('new'));
    const fd = removed(mounted, 'new');
    const relink = (name: string, parent = 1): string => named(relinkOrphan(fd, { parent, name: Buffer.from(name) }));
    expect(relink('large')).toBe('EEXIST');
    expect(relink('')).toBe('EINVAL');
    expect(relink('..')).toBe('EINVAL');
    expect(relink('a/b')).toBe('EINVAL');
    expect(relink('again', 12345)).toBe('ENOENT');
    expect(relink('again', fstatSync(fd).ino)).toBe('ENOENT');
    expect(relink('again', lstatSync(mounted.at('large')).ino)).toBe('ENOTDIR');
    expect(relink('again')).toBe('ok');
    // a request that comes twice
    expect(relink('again')).toBe('ok');
    expect(relink('third')).toBe('EEXIST');
  });
});

describe('the permission to name files of others', () => {
  /** Prints the result of CFS_IOC_LINKABLE on the file of the first argument, or on the inode of the second. */
  const PROGRAM = [
    'import errno, fcntl, os, struct, sys',
    'number = int(sys.argv[2])',
    'request = struct.pack("<IIQIIQQ256s", 1, 1, number, 0, 0, 0, 0, b"")',
    'try:',
    '  fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0xc128c620, bytearray(request))',
    '  print("ok")',
    'except OSError as error: print(errno.errorcode[error.errno])',
  ].join('\n');
  const ask = async (path: string, prefix: readonly string[], ino = 0): Promise<string> =>
    (await succeed([...prefix, 'python3', '-c', PROGRAM, path, String(ino)])).trim();
  const CAPABILITIES = '+dac_override,+dac_read_search';

  test('needs CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH', async () => {
    const mounted = await mount(newLayers(scratch));
    const path = mounted.at('mine');
    const { ino } = lstatSync(path);
    expect(await ask(path, [])).toBe('ok');
    // with another generation than 0
    expect(await ask(path, [], ino)).toBe('ESTALE');
    expect(await ask(path, asUser(NOBODY))).toBe('EPERM');
    for (const lost of ['dac_override', 'dac_read_search']) {
      expect(await ask(path, ['setpriv', `--bounding-set=-${lost}`]), lost).toBe('EPERM');
    }
    const given = ['setpriv', `--reuid=${NOBODY}`, `--inh-caps=${CAPABILITIES}`, `--ambient-caps=${CAPABILITIES}`];
    expect(await ask(path, given)).toBe('ok');
  });

  test('reaches in a user namespace only as far as its users and groups', async () => {
    const mounted = await mount(newLayers(scratch));
    const [path, other] = [mounted.at('mine'), mounted.at('large')];
    const inside = [...asUser(NOBODY), 'unshare', '--user', '--map-root-user'];
    expect(await ask(path, inside)).toBe('ok');
    expect(await ask(other, inside)).toBe('EPERM');
    expect(await ask(path, inside, lstatSync(path).ino)).toBe('EPERM');
  });

  test('belongs to root of the user namespace that made the mount', async () => {
    const place = await scratch.namespaceOfNobody();
    const layers = newLayers(scratch);
    chownSync(layers.upper, NOBODY, NOBODY);
    chownSync(layers.work, NOBODY, NOBODY);
    const mounted = await scratch.mount(image, { words: [...layers.words, 'userxattr'], place });
    const path = mounted.at('mine');
    expect(await ask(path, place.command())).toBe('ok');
    // the root, of generation 0
    expect(await ask(path, place.command(), 1)).toBe('ok');
    expect(await ask(path, [...place.command(), 'setpriv', '--bounding-set=-dac_override'])).toBe('EPERM');
  });
});

describe('the names of a checkpoint', () => {
  const ID = 0x1234567n;

  /** Names an unlinked file and a removed directory for the claim. */
  function nameBoth(mounted: Mounted): { readonly file: number; readonly directory: number } {
    const root = rootOf(mounted);
    const file = unlinkedFile(mounted, 'a', 'content');
    mkdirSync(mounted.at('new'));
    const directory = kept(openSync(mounted.at('new'), DIRECTORY));
    rmdirSync(mounted.at('new'));
    const of = (name: string): { parent: number; name: Uint8Array; claim: bigint } => ({
      parent: 1,
      name: Buffer.from(name),
      claim: ID,
    });
    expect(makeLinkable(root, { ...identityOf(file), ...of('file'), isLinkable: true })).toBe(1);
    expect(link(file, root, 'file')).toBe('ok');
    expect(relinkOrphan(root, { ...identityOf(directory), ...of('directory-1') })).toBeGreaterThan(0);
    return { file: fstatSync(file).ino, directory: fstatSync(directory).ino };
  }

  function closeAll(): void {
    for (const fd of fds.splice(0)) closeSync(fd);
  }

  test('are recorded before they are given, and the record can be read', async () => {
    const mounted = await mount(newLayers(scratch));
    const root = rootOf(mounted);
    expect(claimsOf(root)).toEqual([]);
    expect(named(makeLinkable(root, { claim: ID, name: Buffer.from('x') }))).toBe('ENOENT');
    expect(beginClaim(root, ID, '{"of":"a test"}')).toBe(0);
    expect(beginClaim(root, ID, '{"of":"a test"}')).toBe(0);
    expect(named(beginClaim(root, ID, 'another'))).toBe('EEXIST');
    expect(named(beginClaim(root, 2n, 'two\nlines'))).toBe('EINVAL');
    const inodes = nameBoth(mounted);
    expect(claimsOf(root)).toEqual([
      {
        id: ID,
        isComplete: false,
        text: '{"of":"a test"}',
        names: [
          expect.objectContaining({ ino: inodes.file, parent: 1, name: Buffer.from('file') }),
          expect.objectContaining({ ino: inodes.directory, parent: 1, name: Buffer.from('directory-1') }),
        ],
      },
    ]);
    expect(completeClaim(root, ID)).toBe(0);
    expect(completeClaim(root, ID)).toBe(0);
    expect(claimsOf(root)).toMatchObject([{ id: ID, isComplete: true }]);
    expect(named(makeLinkable(root, { claim: ID, name: Buffer.from('x') }))).toBe('ENOENT');
    expect(endClaim(root, ID)).toBe(0);
    expect(endClaim(root, ID)).toBe(0);
    expect(claimsOf(root)).toEqual([]);
    expect(named(completeClaim(root, ID))).toBe('ENOENT');
  });

  test('are removed by the next mount if the checkpoint was not completed', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    expect(beginClaim(rootOf(mounted), ID, 'unfinished')).toBe(0);
    nameBoth(mounted);
    linkSync(mounted.at('file'), mounted.at('other name'));
    writeFileSync(mounted.at('unrelated'), '');
    closeAll();
    await killServer(mounted);
    // the checkpoint may be in progress
    expect(readdirSync(mounted.path)).toEqual(expect.arrayContaining(['file', 'directory-1']));
    await mounted.unmount();
    const next = await mount(layers);
    const names = readdirSync(next.path);
    expect(names).toEqual(expect.arrayContaining(['other name', 'unrelated']));
    expect(names).not.toEqual(expect.arrayContaining(['file']));
    expect(names).not.toEqual(expect.arrayContaining(['directory-1']));
    expect(lstatSync(next.at('other name')).nlink).toBe(1);
    expect(claimsOf(rootOf(next))).toEqual([]);
    expect(readdirSync(join(layers.work, 'cfs/orphans'))).toEqual([]);
  });

  test('stay if it was completed, also in a copy of the layer', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    expect(beginClaim(rootOf(mounted), ID, 'complete')).toBe(0);
    const inodes = nameBoth(mounted);
    expect(completeClaim(rootOf(mounted), ID)).toBe(0);
    closeAll();
    await mounted.unmount();
    const copies = newLayers(scratch);
    for (const name of ['upper', 'work'] as const) {
      await succeed(['rsync', '-aHAX', `${layers[name]}/`, `${copies[name]}/`]);
    }
    const next = await mount(copies);
    expect(lstatSync(next.at('file')).ino).toBe(inodes.file);
    expect(lstatSync(next.at('directory-1')).ino).toBe(inodes.directory);
    expect(claimsOf(rootOf(next))).toMatchObject([{ id: ID, isComplete: true }]);
  });

  test('a record that is cut off does not stop the mount', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    expect(beginClaim(rootOf(mounted), ID, 'cut off')).toBe(0);
    nameBoth(mounted);
    closeAll();
    await mounted.unmount();
    const record = join(layers.work, 'cfs/claims', `${ID.toString(16).padStart(16, '0')}.open`);
    writeFileSync(record, readFileSync(record).subarray(0, -3));
    writeFileSync(join(layers.work, 'cfs/claims/0000000000000007.open'), '');
    writeFileSync(join(layers.work, 'cfs/claims/other'), 'no claim');
    const next = await mount(layers);
    expect(existsSync(next.at('file'))).toBe(false);
    // the line of this one was not complete
    expect(existsSync(next.at('directory-1'))).toBe(true);
    expect(claimsOf(rootOf(next))).toEqual([]);
  });
});
