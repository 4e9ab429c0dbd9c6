/** cfs-info handle and open-handle, on mounts of images and on other file systems. */
import { closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { printable, toHex } from '../../src/base/bytes.ts';
import { errnoName, isErrno } from '../../src/base/errno.ts';
import { type FileHandle, formatHandle, fuseIdentity, parseHandle } from '../../src/base/handle-format.ts';
import { openAt } from '../../src/system/descriptors.ts';
import { AT_HANDLE_CONNECTABLE } from '../../src/system/file-handle.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { EXIT } from '../../tools/cli.ts';
import { setXattr } from '../support/libc.ts';
import { generateTree } from '../support/tree-generator.ts';
import { messageOf, mountLoop, succeed } from './cli.ts';
import { closeAfterEach, closeLater, entriesBelow, handleOf, openedHandle } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { HERE, type Outcome, Place } from './run.ts';
import { dropCaches, unmountBy } from './system.ts';

const scratch = useScratch();
closeAfterEach();

/** The keys of --json that these tests read. */
interface Named {
  readonly path: string;
  readonly pathBase64?: string;
  readonly handle: string;
  readonly type: number;
  readonly bytes: string;
  readonly id?: number;
  readonly generation?: number;
  readonly parent?: { readonly handle: string; readonly name?: string; readonly nameBase64?: string };
  readonly mountId?: number;
}

interface Opened extends Named {
  readonly pathProblem?: string;
  readonly imagePath?: string;
  readonly mountpoint: string;
  readonly stat: Readonly<Record<string, unknown>>;
}

const info = (args: readonly string[], place: Place = HERE): Promise<Outcome> => scratch.tool('cfs-info', args, place);

async function output(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await info(args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

const handles = async (...args: readonly string[]): Promise<Named[]> =>
  JSON.parse(await output('handle', '--json', ...args)) as Named[];

const opened = async (mount: string, handle: string): Promise<Opened> =>
  JSON.parse(await output('open-handle', '--json', mount, handle)) as Opened;

/** The exact bytes of a key in --json. */
const exact = (text: string | undefined, base64: string | undefined): Buffer =>
  base64 === undefined ? Buffer.from(text ?? '') : Buffer.from(base64, 'base64');

describe('cfs-info', () => {
  const source = scratch.at('tree');
  let image: string;
  let mounted: Mounted;
  /** A mount in which no name is looked up before its handle is opened. */
  let other: Mounted;
  let another: Mounted;
  /** Every name of the image, "/" first. */
  let paths: Buffer[];

  const inMount = (path: Uint8Array): Buffer => Buffer.concat([Buffer.from(mounted.path), path]);

  beforeAll(async () => {
    generateTree(source, { seed: 5, oddities: true, deep: 5 });
    image = (await scratch.pack(source)).image;
    mounted = await scratch.mount(image);
    other = await scratch.mount(image);
    another = await scratch.mount(image);
    paths = [Buffer.from('/'), ...[...entriesBelow(mounted.path)].map(({ path }) => path)];
  });

  test.each([
    ['handle', 0],
    ['handle --connectable', AT_HANDLE_CONNECTABLE],
  ] as const)("%s --image computes the kernel's handle, for every name of the tree", async (words, flags) => {
    const [command = '', ...options] = words.split(' ');
    const known = JSON.parse(
      await output(command, ...options, '--json', '--image', image, ...paths.map(printable)),
    ) as Named[];
    expect(known).toHaveLength(paths.length);
    for (const [i, path] of paths.entries()) {
      const { handle, type, bytes, id, generation, parent, ...named } = known[i] as Named;
      expect(printable(exact(named.path, named.pathBase64))).toBe(printable(path));
      const kernel = handleOf(inMount(path), flags);
      expect([named.path, handle, type, bytes]).toEqual([
        named.path,
        formatHandle(kernel),
        kernel.type,
        toHex(kernel.bytes),
      ]);
      expect(fuseIdentity(kernel)).toMatchObject({ id, generation });
      if (i === 0) expect(parent).toBeUndefined();
      else expect(parent?.handle).toBe(formatHandle(handleOf(inMount(path.subarray(0, path.lastIndexOf(0x2f))))));
    }
  });

  test('handle reads the same from the mount, and the directory with the name', async () => {
    const known = await handles('--image', image, ...paths.map(printable));
    const taken = await handles(...paths.map((path) => printable(inMount(path))));
    for (const [i, { path: _, pathBase64: __, mountId, ...named }] of taken.entries()) {
      const { path, pathBase64, ...expected } = known[i] as Named;
      expect([path, named]).toEqual([path, expected]);
      expect(mountId).toBe(taken[0]?.mountId);
      if (named.parent === undefined) continue;
      // the directory opens, and the name in it is the file
      const directory = openedHandle(mounted.path, parseHandle(named.parent.handle) as FileHandle, 0);
      const fd = openAt(directory, exact(named.parent.name, named.parent.nameBase64), O_PATH | constants.O_NOFOLLOW);
      if (isErrno(fd)) throw new Error(errnoName(fd));
      expect(fstatSync(closeLater(fd)).ino).toBe(named.id);
    }
  });

  test('handle shows one handle, or several with their paths', async () => {
    const [file, link] = [mounted.at('odd/types/regular'), mounted.at('odd/types/symlink')];
    expect(await output('handle', file)).toBe(`${formatHandle(handleOf(file))}\n`);
    expect(await output('handle', file, link)).toBe(
      [file, link].map((path) => `${formatHandle(handleOf(path))}  ${path}\n`).join(''),
    );
    expect(await output('handle', '--connectable', file)).toMatch(/^0x10082:[0-9a-f]{48}\n$/);
  });

  test('handle accepts paths that do not end in a name', async () => {
    const link = scratch.at('link-into-mount');
    symlinkSync(mounted.at('odd/types/directory'), link);
    const [expected] = await handles(mounted.at('odd/types/directory'));
    for (const path of [
      `${mounted.at('odd/types/directory')}/.`,
      `${mounted.at('odd/types/directory')}//`,
      `${mounted.path}/odd/types/directory/../directory/`,
      `${link}/`,
    ]) {
      const [{ handle, parent }] = (await handles(path)) as [Named];
      expect({ path, handle, parent }).toEqual({ path, handle: expected?.handle, parent: expected?.parent });
    }
    const [linkItself] = await handles(link);
    expect(linkItself?.parent?.name).toBe('link-into-mount');
    for (const path of [mounted.path, `${mounted.path}/odd/..`]) {
      expect((await handles(path))[0]?.parent).toBeUndefined();
    }
  });

  const TYPES = [
    '.',
    'odd/types/directory',
    'odd/types/regular',
    'odd/types/symlink',
    'odd/types/fifo',
    'odd/types/socket',
    'odd/types/null',
    'odd/types/whiteout',
    'odd/types/disk',
    'odd/modes/file-0000',
    'odd/links/a/second',
    'odd/links/longest',
  ];

  test.each(TYPES)('open-handle opens %s in a mount where it was never looked up', async (name) => {
    const [{ handle, id, generation }] = (await handles('--image', image, name)) as [Named];
    const known = await opened(other.path, handle);
    const stat = lstatSync(other.at(name), { bigint: true });
    expect(known).toMatchObject({ handle, id, generation, mountpoint: other.path });
    expect(known.stat).toMatchObject({
      mode: Number(stat.mode),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      nlink: Number(stat.nlink),
      size: Number(stat.size),
      mtime: Number(stat.mtimeNs / 1_000_000_000n),
      mtimeNsec: Number(stat.mtimeNs % 1_000_000_000n),
      ino: id,
    });
    expect(known).toMatchObject({ path: other.at(name), imagePath: join('/', name) });
    const [named] = await handles(other.at(name));
    expect(known.parent).toEqual(named?.parent);
  });

  test.each(TYPES.slice(1))('open-handle shows the path of a connectable handle: %s', async (name) => {
    const [{ handle, parent }] = (await handles('--connectable', '--image', image, name)) as [Named];
    // any path in the mount is accepted, also one that is not above the file and cannot be read
    const known = await opened(another.at('odd/modes/fifo-0000'), handle);
    expect(known).toMatchObject({ path: another.at(name), parent });
    const text = await output('open-handle', another.path, handle);
    expect(text).toContain(`path:         ${known.path}\n`);
    expect(text).toContain(`parent:       ${known.parent?.handle} ${known.parent?.name}\n`);
  });

  test('open-handle also accepts a struct file_handle', async () => {
    const path = mounted.at('odd/types/fifo');
    const { type, bytes } = handleOf(path);
    const struct = Buffer.concat([Buffer.alloc(8), bytes]);
    struct.writeUInt32LE(bytes.length, 0);
    struct.writeInt32LE(type, 4);
    expect((await opened(mounted.path, toHex(struct))).stat['ino']).toBe(lstatSync(path).ino);
  });

  describe('cfs-info explains', () => {
    const open = async (handle: string, place: string = mounted.path): Promise<string> =>
      messageOf(await info(['open-handle', place, handle]), EXIT.system, 'cfs-info');

    test('a stale handle', async () => {
      expect(await open('0x81:000000000200000000000000')).toBe(
        'Cannot open handle 0x81:000000000200000000000000: stale file handle: the file was changed, replaced or removed since, or the handle is of another image',
      );
      const { status, stdout } = await info(['open-handle', '--json', mounted.path, '0x81:00']);
      const kind = { kind: 'system', message: expect.stringContaining('stale'), status };
      expect(JSON.parse(stdout)).toEqual({ error: kind });
    });

    test('a handle of an impossible form', async () => {
      expect(await open('0x1000081:000000000100000000000000')).toContain('invalid argument: a handle has');
    });

    test('text that is not a handle', async () => {
      for (const text of ['', '0x81', 'f8aa', '0x81:f8a', `0x81:${'00'.repeat(129)}`]) {
        const outcome = await info(['open-handle', mounted.path, text]);
        expect(messageOf(outcome, EXIT.usage, 'cfs-info')).toContain(`"${text}" is not a handle`);
      }
    });

    test('a missing path, and one without handles', async () => {
      expect(await open('0x81:00', mounted.at('none'))).toContain('no such file or directory');
      expect(await open('0x81:00', '/proc')).toContain('the file system of /proc has no handles');
      const outcome = await info(['handle', '/proc/self/status']);
      expect(messageOf(outcome, EXIT.system, 'cfs-info')).toContain('has no handles');
    });

    test('a missing file', async () => {
      for (const args of [[mounted.at('none')], ['--image', image, 'none']]) {
        const message = messageOf(await info(['handle', ...args]), EXIT.usage, 'cfs-info');
        expect(message).toMatch(/none/);
      }
    });

    test('a user without permission to open handles, who may compute them', async () => {
      const place = new Place('no CAP_DAC_READ_SEARCH', ['setpriv', '--bounding-set=-dac_read_search']);
      const path = mounted.at('odd/types/regular');
      const taken = await info(['handle', path], place);
      expect(taken).toMatchObject({ status: 0, stdout: `${formatHandle(handleOf(path))}\n` });
      const outcome = await info(['open-handle', mounted.path, taken.stdout.trim()], place);
      expect(messageOf(outcome, EXIT.system, 'cfs-info')).toContain('needs CAP_DAC_READ_SEARCH');
    });
  });
});

describe('the path that open-handle shows', () => {
  let disk: string;

  beforeAll(async () => {
    disk = await mountLoop(scratch.at('disk'), 'ext4', 16);
    mkdirSync(join(disk, 'a b/c'), { recursive: true });
    for (const name of ['a b/c/file', 'a b/beside', 'wrong', 'gone']) writeFileSync(join(disk, name), name);
    symlinkSync('nowhere', join(disk, 'a b/c/link'));
    // the path that a mount of an image reports for a file
    const tell = (name: string, path: string): void =>
      setXattr(join(disk, name), 'trusted.cfs.path', Buffer.from(path));
    for (const name of ['a b/c/file', 'a b/c/link', 'a b/beside']) tell(name, `/${name}`);
    tell('wrong', '/a b/c/file');
    tell('gone', '/nothing/here');
  });

  /** The handle of a file whose name the kernel forgets. */
  function forgotten(name: string): string {
    const handle = formatHandle(handleOf(join(disk, name)));
    dropCaches();
    return handle;
  }

  test.each(['a b/c/file', 'a b/c/link'])('comes from the file system: %s', async (name) => {
    const known = await opened(disk, forgotten(name));
    expect(known).toMatchObject({ path: join(disk, name), imagePath: `/${name}` });
    expect(known.parent).toEqual({ handle: formatHandle(handleOf(join(disk, 'a b/c'))), name: name.slice(6) });
  });

  test('is that of the mount in which the handle was opened', async () => {
    const bound = scratch.directory('bound directory');
    const file = join(scratch.directory('bound'), 'file');
    writeFileSync(file, '');
    await succeed(['mount', '--bind', join(disk, 'a b'), bound]);
    await succeed(['mount', '--bind', join(disk, 'a b/c/file'), file]);
    try {
      const handle = forgotten('a b/c/file');
      expect((await opened(bound, handle)).path).toBe(join(bound, 'c/file'));
      expect((await opened(file, handle)).path).toBe(file);
      expect((await opened(disk, handle)).path).toBe(join(disk, 'a b/c/file'));
      // the file is not below the bound directory: the path is in another mount that shows it
      expect((await opened(file, forgotten('a b/beside'))).path).toBe(join(disk, 'a b/beside'));
    } finally {
      await unmountBy(['umount', bound]);
      await unmountBy(['umount', file]);
    }
  });

  test('is missing if another file system is mounted over it', async () => {
    const handle = forgotten('a b/c/file');
    await succeed(['mount', '-t', 'tmpfs', 'cfs-test', join(disk, 'a b')]);
    try {
      const known = await opened(disk, handle);
      expect(known.path).toBeUndefined();
      expect(known).toMatchObject({ imagePath: '/a b/c/file', pathProblem: expect.stringContaining('/a b/c/file') });
    } finally {
      await succeed(['umount', join(disk, 'a b')]);
    }
  });

  test.each(['wrong', 'gone'])('never leads to another file: %s', async (name) => {
    const handle = forgotten(name);
    expect([undefined, join(disk, name)]).toContain((await opened(disk, handle)).path);
    // the kernel knows the name while it is open
    const fd = openSync(join(disk, name), 'r');
    expect((await opened(disk, handle)).path).toBe(join(disk, name));
    closeSync(fd);
  });
});
