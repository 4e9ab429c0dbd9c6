/** cfs-mount --from: mounts again from the saved sources, wherever they are now, and never from others. */
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { initRepository } from '../../src/store/open-repository.ts';
import { EXIT } from '../../tools/cli.ts';
import { ask, info, pathsOf } from './asking.ts';
import { messageOf, mountLoop, mountTmpfs, objectsIn } from './cli.ts';
import { type Mounted, type MountReport, type Packed, useScratch } from './harness.ts';
import { HERE, type Outcome, type Place, succeed } from './run.ts';
import { dropCaches, unmountBy } from './system.ts';

const scratch = useScratch();
const source = scratch.at('source');
const LIST = scratch.at('sources.json');
let serial = 0;
/** New for each test. */
let directory: string;
let store: string;
let packed: Packed;

beforeAll(() => {
  mkdirSync(source);
  writeFileSync(join(source, 'object'), Buffer.alloc(5000, 'object'));
});

const pack = (): Promise<Packed> => scratch.pack(source, { store, image: join(directory, 'image.cfs') });

beforeEach(() => {
  rmSync(LIST, { force: true });
  directory = scratch.at(`place-${++serial}`);
  store = join(directory, 'store');
});

/** Mounts, saves the list of the sources, and unmounts. Returns the mount point. */
async function saved(
  image: string,
  repos: readonly string[],
  words: readonly string[] = [],
  place = HERE,
): Promise<string> {
  const mounted = await scratch.mount(image, { repos, words, place });
  writeFileSync(LIST, await info(scratch, ['sources', '--json', mounted.path], place));
  await mounted.unmount();
  return mounted.path;
}

/** A repository and an image in a new directory, and the saved list of their mount. */
async function savedHere(words: readonly string[] = []): Promise<string> {
  mkdirSync(directory, { recursive: true });
  packed = await pack();
  return saved(packed.image, [store], words);
}

const tryFrom = (args: readonly string[] = [], place: Place = HERE): Promise<Outcome> =>
  scratch.tool('cfs-mount', ['--json', '--from', LIST, ...args], place);

/** Mounts from the list, which must work. */
async function from(args: readonly string[] = [], place: Place = HERE): Promise<Mounted> {
  const { status, stdout, stderr } = await tryFrom(args, place);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const mounted = scratch.adopt(JSON.parse(stdout) as MountReport, { place });
  expect(await succeed(place.command('cat', mounted.at('object')))).toBe(
    readFileSync(join(source, 'object'), 'latin1'),
  );
  return mounted;
}

/** The message of a run that must fail. */
async function refused(args: readonly string[] = [], status: number = EXIT.mount): Promise<string> {
  const { stdout, ...outcome } = await tryFrom(args);
  expect(JSON.parse(stdout)).toMatchObject({ error: { status } });
  return messageOf({ ...outcome, stdout: '' }, status, 'cfs-mount');
}

const uuidOf = (repository: string): string =>
  (JSON.parse(readFileSync(join(repository, 'meta.json'), 'utf8')) as { uuid: string }).uuid;

describe('cfs-mount --from', () => {
  test('makes the same mount again, at the same place with the same options', async () => {
    const at = await savedHere(['verify=read', 'suid', 'noexec', 'threads=3', 'fsname=a\\,name']);
    const before = JSON.parse(readFileSync(LIST, 'utf8')) as { options: string };
    const mounted = await from();
    expect(mounted.path).toBe(at);
    expect(mounted.report).toMatchObject({ id: packed.id, verify: 'read', image: packed.image });
    expect(pathsOf(at)).toEqual([packed.image, store]);
    expect(Buffer.from(ask(at).mount.options).toString()).toBe(before.options);
    expect(await succeed(['findmnt', '-no', 'SOURCE', at])).toBe('a,name\n');
  });

  test('accepts a directory with the list in it, and further options', async () => {
    const at = await savedHere();
    const dump = scratch.directory('dump');
    renameSync(LIST, join(dump, 'cfs-sources.json'));
    const away = scratch.directory('away');
    const { status, stdout, stderr } = await scratch.tool('cfs-mount', [
      '--json',
      '--from',
      dump,
      '-o',
      'verify=off,noexec',
      away,
    ]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const mounted = scratch.adopt(JSON.parse(stdout) as MountReport);
    expect(mounted.path).toBe(away);
    expect(mounted.report).toMatchObject({ id: packed.id, verify: 'off' });
    expect(at).not.toBe(away);
  });

  test('accepts a newer image, which need not have the saved id', async () => {
    const at = await savedHere();
    const newer = scratch.directory('newer');
    cpSync(source, newer, { recursive: true });
    writeFileSync(join(newer, 'new'), Buffer.alloc(4000, 'new'));
    const next = await scratch.pack(newer, { store });
    const mounted = await from([next.image, at]);
    expect(mounted.report.id).toBe(next.id);
    expect(existsSync(mounted.at('new'))).toBe(true);
  });

  test('refuses another image at the old path, unless it is named', async () => {
    const at = await savedHere();
    const other = scratch.directory('other');
    writeFileSync(join(other, 'object'), readFileSync(join(source, 'object')));
    writeFileSync(join(other, 'b'), 'another');
    const next = await scratch.pack(other, { store, image: packed.image });
    expect(await refused()).toBe(
      `Cannot read image ${packed.image}: its id is ${next.id}, not ${packed.id} as required`,
    );
    expect((await from([packed.image, at])).report.id).toBe(next.id);
  });

  test('refuses repositories beside the list, and more than two arguments', async () => {
    const at = await savedHere();
    const message = '--from names the repositories: do not name others, or mount without it';
    expect(await refused(['--repo', store], EXIT.usage)).toBe(message);
    expect(await refused(['-o', `basedir=${store}`], EXIT.usage)).toBe(message);
    const { status, stderr } = await tryFrom([packed.image, at, at]);
    expect([status, stderr]).toEqual([EXIT.usage, expect.stringContaining('too many arguments')]);
  });

  test('works in a user namespace, which cannot open handles', async () => {
    const place = await scratch.namespace('user namespace');
    mkdirSync(directory);
    packed = await pack();
    await saved(packed.image, [store], [], place);
    await from([], place);
  });
});

describe('cfs-mount --from, after the sources were moved,', () => {
  const moves: readonly (readonly [string, () => readonly string[]])[] = [
    [
      'the repository',
      () => {
        renameSync(store, `${store}.moved`);
        return [packed.image, `${store}.moved`];
      },
    ],
    [
      'the repository into another directory, with another one at its old path',
      () => {
        mkdirSync(join(directory, 'below'));
        renameSync(store, join(directory, 'below/a store'));
        initRepository(store, 'blake3');
        return [packed.image, join(directory, 'below/a store')];
      },
    ],
    [
      'the directory of both',
      () => {
        renameSync(directory, `${directory} moved`);
        return [`${directory} moved/image.cfs`, `${directory} moved/store`];
      },
    ],
    [
      'the directory of both, with another image and repository at the old paths',
      () => {
        renameSync(directory, `${directory} moved`);
        initRepository(store, 'blake3');
        writeFileSync(packed.image, 'not an image');
        return [`${directory} moved/image.cfs`, `${directory} moved/store`];
      },
    ],
  ];

  test.each(moves)('finds them by their handles: %s', async (_, move) => {
    await savedHere();
    const paths = move();
    dropCaches();
    expect(pathsOf((await from()).path)).toEqual(paths);
  });

  test('finds the image by its own handle while the kernel knows its name', async () => {
    await savedHere();
    const moved = join(scratch.directory('elsewhere'), 'renamed.cfs');
    renameSync(packed.image, moved);
    // an open file keeps its name in the kernel's cache, which other tests drop
    const fd = openSync(moved, 'r');
    try {
      expect(pathsOf((await from()).path)).toEqual([moved, store]);
    } finally {
      closeSync(fd);
    }
  });

  test('names the source that it cannot find', async () => {
    await savedHere();
    renameSync(packed.image, `${packed.image}.gone`);
    const copy = readFileSync(`${packed.image}.gone`);
    rmSync(`${packed.image}.gone`);
    const message = await refused();
    expect(message).toContain(`Cannot find the image ${packed.image}: it no longer exists`);
    expect(message).toContain('Give IMAGE and MOUNTPOINT beside --from.');
    writeFileSync(packed.image, copy);
    await (await from()).unmount(); // a copy of it is as good
    rmSync(store, { recursive: true });
    expect(await refused()).toContain(`Cannot find repository ${store} of ${LIST}: it no longer exists`);
    writeFileSync(store, 'a file');
    expect(await refused()).toContain(`Cannot use repository ${store} of ${LIST}`);
    rmSync(store);
    symlinkSync(store, store);
    expect(await refused()).toContain(`repository ${store} of ${LIST}: too many symbolic links`);
  });
});

describe('uuids', () => {
  test('of another repository are refused, both named; uuid=off accepts it', async () => {
    await savedHere();
    const old = uuidOf(store);
    const objects = objectsIn(store).map((name) => [name, readFileSync(join(store, 'objects', name))] as const);
    rmSync(store, { recursive: true });
    initRepository(store, 'blake3');
    for (const [name, content] of objects) writeFileSync(join(store, 'objects', name), content);
    const message = await refused();
    expect(message).toContain(
      `Cannot use repository ${store} of ${LIST}: its uuid is ${uuidOf(store)}, and was ${old}`,
    );
    expect(message).toContain('-o uuid=off accepts that');
    expect(await refused(['-o', 'uuid=on'])).toBe(message);
    await from(['-o', 'uuid=off']);
  });

  interface Disk {
    readonly type: 'ext4' | 'xfs';
    readonly mib: number;
    readonly renew: readonly (readonly string[])[];
  }
  const disks: readonly Disk[] = [
    // tune2fs requires a check after the last mount if that was in another second than mkfs
    {
      type: 'ext4',
      mib: 64,
      renew: [
        ['e2fsck', '-fp'],
        ['tune2fs', '-U', 'random'],
      ],
    },
    { type: 'xfs', mib: 320, renew: [['xfs_admin', '-U', 'generate']] },
  ];

  test.each(disks)(
    'of a copied disk of $type are refused, both named; uuid=off accepts it',
    async ({ type, mib, renew }) => {
      await mountLoop(directory, type, mib);
      await savedHere();
      const [disk, copy] = [`${directory}.img`, `${directory}.copy`];
      const fsUuid = async (): Promise<string> => (await succeed(['findmnt', '-no', 'UUID', '-T', directory])).trim();
      const old = await fsUuid();
      await succeed(['umount', directory]);
      await succeed(['cp', '--sparse=always', disk, copy]);
      for (const command of renew) await succeed([...command, copy]);
      await succeed(['mount', '-o', 'loop', copy, directory]);
      const renewed = await fsUuid();
      expect(renewed).not.toBe(old);

      const message = await refused();
      expect(message).toContain(`the uuid of its file system is ${renewed}, and was ${old}`);
      await (await from(['-o', 'uuid=off'])).unmount();

      // handles of the disk are valid on its copy
      renameSync(store, `${store}.moved`);
      expect(await refused()).toContain(`Cannot find repository ${store}`);
      const moved = await from(['-o', 'uuid=off']);
      expect(pathsOf(moved.path)).toEqual([packed.image, `${store}.moved`]);
      await moved.unmount();
      renameSync(`${store}.moved`, store);

      // if the disk itself is mounted, too, its files are used
      const elsewhere = scratch.directory('elsewhere');
      await succeed(['mount', '-o', 'loop', disk, elsewhere]);
      expect(pathsOf((await from()).path)).toEqual([packed.image, join(elsewhere, 'store')]);
    },
  );

  test('off is refused if repositories are on different file systems, saved or named', async () => {
    const other = await mountTmpfs(scratch.at('another'));
    mkdirSync(directory);
    packed = await pack();
    const second = join(other, 'store');
    cpSync(store, second, { recursive: true });
    await saved(packed.image, [store, second]);
    await (await from()).unmount();
    const message = `Cannot mount with uuid=off: repositories ${store} and ${second} are on different file systems. Without uuids they must all be on one.`;
    expect(await refused(['-o', 'uuid=off'])).toBe(message);
    const named = await scratch.tryMount(packed.image, { repos: [store, second], words: ['uuid=off'] });
    expect(named.status).toBe(EXIT.mount);
    expect(named.stderr).toBe(`cfs-mount: ${message}\n`);
    // repositories on one file system are accepted, also through a bind mount
    const bound = scratch.directory('bound');
    await succeed(['mount', '--bind', directory, bound]);
    await (await scratch.mount(packed.image, { repos: [store, join(bound, 'store')], words: ['uuid=off'] })).end();
    await unmountBy(['umount', bound]);
  });

  test('off accepts no directory that is not a repository', async () => {
    await savedHere();
    rmSync(join(store, 'meta.json'));
    expect(await refused(['-o', 'uuid=off'])).toMatch(/it has no meta\.json/);
  });
});

describe('a list', () => {
  let good: string;

  beforeEach(async () => {
    await savedHere();
    good = readFileSync(LIST, 'utf8');
  });

  const change = (how: (list: Record<string, unknown> & { sources: Record<string, unknown>[] }) => void): string => {
    const list = JSON.parse(good) as Record<string, unknown> & { sources: Record<string, unknown>[] };
    how(list);
    return JSON.stringify(list);
  };

  test('that is missing, cut off, of another kind or version, or malformed is refused with a reason', async () => {
    const lists: readonly (readonly [string, string])[] = [
      [good.slice(0, -10), 'it is not JSON'],
      [change((list) => Object.assign(list, { version: 99 })), 'it has version 99; this program knows version 1'],
      [change(({ sources }) => Object.assign(sources[1] ?? {}, { path: '/a\0b' })), 'source 1 is malformed'],
    ];
    for (const [text, reason] of lists) {
      writeFileSync(LIST, text);
      expect(await refused([], EXIT.usage)).toBe(`Cannot use the source list ${LIST}: ${reason}`);
    }
    rmSync(LIST);
    expect(await refused([], EXIT.usage)).toBe(`Cannot read the source list ${LIST}: no such file or directory`);
    mkdirSync(LIST);
    expect(await refused([], EXIT.usage)).toContain(`Cannot read the source list ${LIST}: no such file`);
    rmSync(LIST, { recursive: true });
  });

  test('with bad options, ids, handles, or many repositories is refused with a reason', async () => {
    const lists: readonly (readonly [string, number, RegExp])[] = [
      [change((list) => Object.assign(list, { options: 'verify=never' })), EXIT.usage, /verify= takes/],
      [
        change((list) => Object.assign(list, { options: `repo=${store}` })),
        EXIT.usage,
        /--from names the repositories/,
      ],
      [
        change(({ sources }) => Object.assign(sources[0] ?? {}, { id: '0'.repeat(64) })),
        EXIT.mount,
        /its id is .*, not 0{64}/,
      ],
      [
        change(({ sources }) => Object.assign(sources[1] ?? {}, { id: '\u001b[2Jx', path: '/none', handle: '0x1:00' })),
        EXIT.mount,
        /Cannot find repository \/none of/,
      ],
      [
        change(({ sources }) => Object.assign(sources[1] ?? {}, { id: '\u001b[2Jx' })),
        EXIT.mount,
        /and was \\x1b\[2Jx: it is another repository/,
      ],
      [
        change(({ sources }) =>
          Object.assign(sources[1] ?? {}, { path: undefined, handle: `0x1:${'ff'.repeat(128)}` }),
        ),
        EXIT.mount,
        /it was gone when the list was made, and its handle leads to none/,
      ],
      [
        change(({ sources }) =>
          sources.push(...Array.from({ length: 20_000 }, () => ({ ...sources[1], path: '/none', handle: undefined }))),
        ),
        EXIT.mount,
        /Cannot find repository \/none/,
      ],
      [
        change((list) => Object.assign(list, { mountpoint: '/none' })),
        EXIT.mount,
        /Cannot mount on \/none: no such file/,
      ],
    ];
    for (const [text, status, reason] of lists) {
      writeFileSync(LIST, text);
      expect(await refused([], status)).toMatch(reason);
    }
  });

  test('with long paths is refused because its sources are missing', async () => {
    writeFileSync(
      LIST,
      change(({ sources }) => Object.assign(sources[1] ?? {}, { path: `/${'x'.repeat(4000)}`, handle: undefined })),
    );
    expect(await refused()).toMatch(/x of .*: (?:file )?name too long, and its handle leads to none/);
  });

  test('that was copied with its sources to another place finds the copies by their paths', async () => {
    copyFileSync(packed.image, join(directory, 'copy.cfs'));
    writeFileSync(
      LIST,
      change(({ sources }) => Object.assign(sources[0] ?? {}, { path: join(directory, 'copy.cfs') })),
    );
    expect(pathsOf((await from()).path)[0]).toBe(join(directory, 'copy.cfs'));
  });
});
