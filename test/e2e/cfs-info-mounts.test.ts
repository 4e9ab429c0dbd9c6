/** cfs-info mounts and sources: the mounts of this machine, in any state. */
import { spawn } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseSavedSources } from '../../src/mount-info/saved-sources.ts';
import { EXIT } from '../../tools/cli.ts';
import { info, infoJson, linesOf } from './asking.ts';
import { messageOf } from './cli.ts';
import { type Mounted, type Packed, useScratch } from './harness.ts';
import { HERE, type Place, run, succeed } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
let packed: Packed;

interface MountJson {
  readonly mountpoint: string;
  readonly mountpointBase64?: string;
  readonly mountId: number;
  readonly dev: string;
  readonly state: string;
  readonly reason?: string;
  readonly pid?: number;
  readonly imageId?: string;
  readonly options?: string;
  readonly sources?: readonly { readonly path?: string; readonly kind: string; readonly given: string }[];
}

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'object'), Buffer.alloc(5000, 'object'));
  packed = await scratch.pack(source);
});

/** Other tests and users may have mounts here, too. */
const listed = async (place: Place = HERE): Promise<MountJson[]> =>
  (await infoJson<MountJson[]>(scratch, ['mounts'], place)).filter(({ mountpoint }) =>
    mountpoint.startsWith(scratch.path),
  );

/** The output for people: the paragraphs of mounts below the scratch directory. */
const shown = async (): Promise<Record<string, string>[]> =>
  (await info(scratch, ['mounts']))
    .split('\n\n')
    .map(linesOf)
    .filter(({ mount = '' }) => mount.startsWith(scratch.path));

const entryOf = async (mounted: Mounted): Promise<MountJson | undefined> =>
  (await listed(mounted.place)).find(({ mountpoint }) => mountpoint === mounted.path);

describe('cfs-info mounts', () => {
  test('lists each mount with image, repositories, options and daemon', async () => {
    const [one, two] = [
      await scratch.mount(packed.image),
      await scratch.mount(packed.image, { words: ['verify=read', 'suid'] }),
    ];
    const mounts = await listed();
    expect(mounts.map(({ mountpoint, pid, imageId, state }) => [mountpoint, pid, imageId, state])).toEqual([
      [one.path, one.pid, one.report.id, 'mounted'],
      [two.path, two.pid, two.report.id, 'mounted'],
    ]);
    const sources = [
      { kind: 'image', path: packed.image },
      { kind: 'repository', path: scratch.store },
    ];
    for (const mount of mounts) expect(mount.sources).toMatchObject(sources);
    expect(mounts[1]?.options?.split(',')).toEqual(expect.arrayContaining(['verify=read', 'suid', 'nodev']));
    const [text] = await shown();
    expect(text).toMatchObject({
      mount: one.path,
      image: packed.image,
      id: one.report.id,
      repository: scratch.store,
      options: mounts[0]?.options,
      daemon: expect.stringMatching(new RegExp(`^pid ${one.pid}, version \\d+\\.\\d+\\.\\d+$`)),
      'mount id': String(mounts[0]?.mountId),
    });
  });

  test('lists nothing if nothing is mounted, and no mount of another type', async () => {
    expect(await listed()).toEqual([]);
    expect(await shown()).toEqual([]);
  });

  test('lists a mount of fuse-native, and one that was moved, bound elsewhere, or has an odd name', async () => {
    const native = await scratch.mount(packed.image, { words: ['driver=fuse-native'] });
    const odd = scratch.at('odd\n name\\');
    mkdirSync(odd);
    const mounted = await scratch.mount(packed.image, { at: odd });
    const bound = scratch.directory('bound');
    await succeed(['mount', '--bind', odd, bound]);
    try {
      const mounts = await listed();
      expect(mounts.map(({ mountpoint, pid }) => [mountpoint, pid])).toEqual([
        [native.path, native.pid],
        [odd, mounted.pid],
        [bound, mounted.pid],
      ]);
      expect(mounts[0]?.sources).toHaveLength(2);
      expect(new Set(mounts.map(({ dev }) => dev)).size).toBe(2);
      expect((await shown()).map(({ mount }) => mount)).toContain(`${scratch.path}/odd\\x0a name\\\\`);
    } finally {
      await succeed(['umount', bound]);
    }
  });

  test('shows the sources that are gone', async () => {
    const directory = scratch.directory('going');
    const image = join(directory, 'image.cfs');
    await succeed(['cp', packed.image, image]);
    await scratch.mount(image);
    rmSync(image);
    expect((await listed())[0]?.sources?.[0]).not.toHaveProperty('path');
    expect((await shown())[0]?.['image']).toBe(`gone; it was given as ${image}`);
  });

  test('does not list dead mounts', async () => {
    const dying = await scratch.mount(packed.image, { words: ['restart=off'] });
    const other = await scratch.mount(packed.image);
    process.kill(dying.pid, 'SIGKILL');
    await until('the mount is dead', async () => (await run(['ls', dying.path])).status !== 0);
    expect(dying.isMounted).toBe(true);
    expect((await listed()).map(({ mountpoint }) => mountpoint)).toEqual([other.path]);
    const sources = await scratch.tool('cfs-info', ['sources', dying.path]);
    expect(messageOf(sources, EXIT.system, 'cfs-info')).toBe(
      `Cannot ask the mount at ${dying.path}: its daemon is dead. 'umount ${dying.path}' removes it.`,
    );
  });

  test('shows why a stopped daemon is not queried, and the other mounts', async () => {
    const mounts: Mounted[] = [];
    for (let i = 0; i < 3; i++) mounts.push(await scratch.mount(packed.image));
    const [, stopped] = mounts as [Mounted, Mounted];
    process.kill(stopped.pid, 'SIGSTOP');
    try {
      const found = await listed();
      expect(found.map(({ mountpoint, state }) => [mountpoint, state])).toEqual(
        mounts.map((mounted) => [mounted.path, mounted === stopped ? 'unknown' : 'mounted']),
      );
      expect(found[1]?.reason).toMatch(/has not answered/);
    } finally {
      process.kill(stopped.pid, 'SIGCONT');
    }
    // the mounts still answer
    expect((await listed()).map(({ state }) => state)).toEqual(['mounted', 'mounted', 'mounted']);
  });

  test('distinguishes a mount that is hidden by another one', async () => {
    const lower = await scratch.mount(packed.image);
    const empty = (await scratch.pack(scratch.directory('empty'))).image;
    const upper = await scratch.mount(empty, { at: lower.path, words: ['nonempty'] });
    const found = await listed();
    expect(found.map(({ state, imageId }) => [state, imageId])).toEqual([
      ['hidden', undefined],
      ['mounted', upper.report.id],
    ]);
    expect((await shown())[0]?.['state']).toMatch(/^hidden/);
    await upper.unmount();
    expect((await entryOf(lower))?.imageId).toBe(lower.report.id);
  });

  test('lists in a user namespace the mounts of that namespace', async () => {
    const place = await scratch.namespace('user namespace');
    const mounted = await scratch.mount(packed.image, { place });
    expect((await listed()).map(({ mountpoint }) => mountpoint)).not.toContain(mounted.path);
    expect(await entryOf(mounted)).toMatchObject({ state: 'mounted', imageId: mounted.report.id });
  });

  test("shows an ordinary user his mounts, and root's mounts that are open to him", async () => {
    const nobody = scratch.nobody();
    const open = await scratch.mount(packed.image);
    const closed = await scratch.mount(packed.image, { words: ['noallow_other'] });
    const found = await listed(nobody);
    expect(found.map(({ mountpoint, state }) => [mountpoint, state])).toEqual([
      [open.path, 'mounted'],
      [closed.path, 'unknown'],
    ]);
    expect(found[1]?.reason).toBe('permission denied');
  });

  test('ends even if the reader of its output is gone', async () => {
    await scratch.mount(packed.image);
    const [program = '', ...args] = HERE.tool('cfs-info', ['mounts'], scratch.environment);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.destroy();
    const status = await new Promise((resolve) => child.on('exit', resolve));
    expect(status).toBe(0);
  });
});

describe('cfs-info sources', () => {
  test('shows the same for every path of a mount, and the current place of the mount', async () => {
    const directory = scratch.directory('parent');
    const at = join(directory, 'mnt');
    mkdirSync(at);
    const mounted = await scratch.mount(packed.image, { at });
    const list = await info(scratch, ['sources', '--json', mounted.path]);
    const parsed = parseSavedSources(list, 'list');
    expect(parsed.mountpoint.toString()).toBe(at);
    expect(parsed.image.path?.toString()).toBe(packed.image);
    renameSync(directory, `${directory} renamed`);
    const now = await info(scratch, ['sources', '--json', `${directory} renamed/mnt`]);
    expect(parseSavedSources(now, 'list').mountpoint.toString()).toBe(`${directory} renamed/mnt`);
    renameSync(`${directory} renamed`, directory);
  });

  test('prints one paragraph for each', async () => {
    const mounted = await scratch.mount(packed.image);
    const [image, repository] = (await info(scratch, ['sources', mounted.path])).split('\n\n').map(linesOf);
    expect(image).toMatchObject({ image: packed.image, id: mounted.report.id, 'given as': packed.image });
    expect(image?.['file system']).toMatch(/^ext4 \d+:\d+, (?:no uuid|uuid [0-9a-f-]{36})$/);
    expect(image?.['handle']).toMatch(/^0x1:[0-9a-f]+$/);
    expect(image?.['in directory']).toMatch(/^0x1:[0-9a-f]+ image-\d+\.cfs$/);
    expect(repository).toMatchObject({ 'repository 1': scratch.store, 'given as': scratch.store });
  });

  test.each([
    ['a directory of no mount', () => scratch.path, EXIT.usage, /is not in a mount of cfs/],
    ['a missing path', () => scratch.at('none'), EXIT.system, /Cannot open .*none: no such file/],
    ['a file', () => packed.image, EXIT.system, /Cannot open .*: not a directory/],
  ])('refuses %s', async (_, path, status, message) => {
    expect(messageOf(await scratch.tool('cfs-info', ['sources', path()]), status, 'cfs-info')).toMatch(message);
  });
});
