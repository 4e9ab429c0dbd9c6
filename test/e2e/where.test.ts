/** cfs-info where: the place of the content of each file of a mount. */
import { spawn } from 'node:child_process';
import { chmodSync, cpSync, linkSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from '../../src/base/stat-bits.ts';
import { openRepository } from '../../src/store/open-repository.ts';
import { EXIT } from '../../tools/cli.ts';
import { makeDevice, mknod } from '../support/libc.ts';
import { info, infoJson, linesOf, xattrText } from './asking.ts';
import { messageOf } from './cli.ts';
import { type Mounted, useScratch } from './harness.ts';
import { IN_OPEN, Inotify } from './notify.ts';
import { run, succeed } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
const source = scratch.at('source');
const [first, second, third] = ['first', 'second', 'third'].map((name) => scratch.at(name)) as [string, string, string];
const OBJECTS = ['large', 'small', 'missing', 'damaged', 'only-second'];
let image: string;
let id: string;
const digests = new Map<string, string>();

interface Place {
  readonly path: string;
  readonly imageId: string;
  readonly imagePath: string;
  readonly content?: string;
  readonly object?: string;
  readonly verified?: string;
  readonly source?: { readonly number: number; readonly path: string };
  readonly holders?: readonly { readonly number: number; readonly path: string }[];
}

beforeAll(async () => {
  mkdirSync(join(source, 'types'), { recursive: true });
  for (const name of OBJECTS) writeFileSync(join(source, name), Buffer.alloc(name === 'large' ? 300_000 : 5000, name));
  writeFileSync(join(source, 'inline'), 'inline');
  writeFileSync(join(source, 'empty'), '');
  linkSync(join(source, 'large'), join(source, 'a-link'));
  linkSync(join(source, 'large'), join(source, 'types/regular'));
  writeFileSync(Buffer.from(`${source}/latin1-\xe9`, 'latin1'), Buffer.alloc(3000, 'odd'));
  writeFileSync(Buffer.from(`${source}/new\nline\\x41`, 'latin1'), 'odd');
  symlinkSync('../large', join(source, 'types/symlink'));
  mknod(join(source, 'types/fifo'), S_IFIFO | 0o644);
  mknod(join(source, 'types/socket'), S_IFSOCK | 0o644);
  mknod(join(source, 'types/null'), S_IFCHR | 0o666, makeDevice(1, 3));
  mknod(join(source, 'types/disk'), S_IFBLK | 0o600, makeDevice(8, 17));
  const packed = await scratch.pack(source, { store: first });
  image = packed.image;
  for (const store of [second, third]) cpSync(first, store, { recursive: true });
  for (const { path, object } of await infoJson<{ path: string; object?: string }[]>(scratch, ['ls', '-R', image])) {
    if (object !== undefined) digests.set(path.slice(1), object);
  }
  id = (await info(scratch, ['id', image])).trim();
  const change = (store: string, name: string, how: (path: string) => void): void => {
    const path = openRepository(store).objectPath(Buffer.from(digests.get(name) as string, 'hex'));
    how(path);
  };
  for (const store of [first, second, third]) change(store, 'missing', (path) => rmSync(path));
  change(first, 'only-second', (path) => rmSync(path));
  change(third, 'only-second', (path) => {
    chmodSync(path, 0o644);
    writeFileSync(path, 'of another size');
  });
  change(first, 'damaged', (path) => {
    chmodSync(path, 0o644);
    writeFileSync(path, Buffer.alloc(5000, 'wrong'));
  });
  rmSync(join(third, 'objects', (digests.get('small') as string).slice(0, 2)), { recursive: true });
});

const where = (...paths: readonly string[]): Promise<Place[]> => infoJson<Place[]>(scratch, ['where', ...paths]);
const numbers = (holders: Place['holders']): number[] | undefined => holders?.map(({ number }) => number);

/** Whether it is verified, which repository serves it, and which have it. */
async function placesOf(mounted: Mounted, ...names: readonly string[]): Promise<(readonly unknown[])[]> {
  const places = await where(...names.map((name) => mounted.at(name)));
  return places.map(({ verified, source: from, holders }) => [verified, from?.number, numbers(holders)]);
}

const placeOf = async (mounted: Mounted, name: string): Promise<readonly unknown[] | undefined> =>
  (await placesOf(mounted, name))[0];

describe('cfs-info where, with three repositories', () => {
  let mounted: Mounted;

  beforeAll(async () => {
    mounted = await scratch.mount(image, { repos: [first, second, third] });
  });

  test('reports before and after the first open which repository serves an object, and which others have it', async () => {
    expect(await placeOf(mounted, 'large')).toEqual(['no', 1, [1, 2, 3]]);
    expect(await placeOf(mounted, 'large')).toEqual(['no', 1, [1, 2, 3]]); // asking opens nothing
    readFileSync(mounted.at('large'));
    expect(await placeOf(mounted, 'large')).toEqual(['yes', 1, [1, 2, 3]]);
    expect(await placeOf(mounted, 'a-link')).toEqual(['yes', 1, [1, 2, 3]]);
  });

  test('reports a bad copy in an earlier repository only after the open that found it', async () => {
    // the size is right: without reading, the damage cannot be noticed
    expect(await placeOf(mounted, 'damaged')).toEqual(['no', 1, [1, 2, 3]]);
    expect(readFileSync(mounted.at('damaged'), 'latin1')).toBe(readFileSync(join(source, 'damaged'), 'latin1'));
    expect(await placeOf(mounted, 'damaged')).toEqual(['yes', 2, [1, 2, 3]]);
  });

  test('does not count a missing file or one of another size as a copy', async () => {
    expect(await placeOf(mounted, 'only-second')).toEqual(['no', 2, [2]]);
    readFileSync(mounted.at('only-second'));
    expect(await placeOf(mounted, 'only-second')).toEqual(['yes', 2, [2]]);
    expect(await placeOf(mounted, 'small')).toEqual(['no', 1, expect.not.arrayContaining([3])]);
  });

  test('reports that no repository has an object that is missing everywhere', async () => {
    expect(await placeOf(mounted, 'missing')).toEqual(['no', undefined, []]);
    expect(linesOf(await info(scratch, ['where', mounted.at('missing')]))['served by']).toBe(
      'none: no repository has it',
    );
    expect((await run(['cat', mounted.at('missing')])).status).toBe(1);
    expect(await placeOf(mounted, 'missing')).toEqual(['no', undefined, []]);
  });

  test('does not call a copy verified that has changed since', async () => {
    const { object = '' } = (await where(mounted.at('latin1-\\xe9')))[0] as Place;
    await succeed(['sh', '-c', `cat ${mounted.path}/latin1-* > /dev/null`]);
    expect((await where(mounted.at('latin1-\\xe9')))[0]?.verified).toBe('yes');
    const path = openRepository(first).objectPath(Buffer.from(object, 'hex'));
    const content = readFileSync(path);
    chmodSync(path, 0o644);
    writeFileSync(path, content);
    expect((await where(mounted.at('latin1-\\xe9')))[0]?.verified).toBe('no');
  });

  test('prints the same data as --json and the xattrs', async () => {
    const path = mounted.at('a-link');
    const lines = linesOf(await info(scratch, ['where', path]));
    expect(lines).toMatchObject({
      path,
      image: `${id} ${image}`,
      'in the image': '/a-link',
      size: '300000 bytes',
      object: `blake3:${digests.get('large')}`,
      'served by': `repository 1, ${first}`,
      'also in': `repository 2, ${second}, not verified\nrepository 3, ${third}, not verified`,
    });
    expect((await where(path))[0]).toMatchObject({
      path,
      imageId: id,
      imagePath: '/a-link',
      content: 'object',
      hash: 'blake3',
      object: digests.get('large'),
      size: 300_000,
      source: { number: 1, path: first },
      holders: [{ path: first }, { path: second }, { path: third }],
    });
    expect(xattrText(path, 'user.cfs.object')).toBe(`blake3:${digests.get('large')}`);
    expect(xattrText(path, 'trusted.cfs.served')).toBe('1');
    expect(xattrText(path, 'user.cfs.holders')).toBe('1 2 3');
  });

  test('reports contents in the image, and each type of file', async () => {
    const [inline, empty] = await where(mounted.at('inline'), mounted.at('empty'));
    expect(inline).toMatchObject({ content: 'image', verified: 'yes', source: { number: 0, path: image } });
    expect(empty).toMatchObject({ content: 'empty', verified: 'yes' });
    const names = ['.', 'types', 'types/symlink', 'types/fifo', 'types/socket', 'types/null', 'types/disk'];
    const paths = names.map((name) => mounted.at(name));
    for (const [i, place] of (await where(...paths)).entries()) {
      expect(place).toMatchObject({ imageId: id, path: paths[i], imagePath: join('/', names[i] as string) });
      expect(place).not.toHaveProperty('content');
      expect(place).not.toHaveProperty('verified');
    }
    const text = await info(scratch, ['where', ...paths]);
    expect(text.split('\n\n').map((lines) => linesOf(lines)['content'])).toEqual(
      names.map(() => 'none: it is not a regular file'),
    );
  });

  test('accepts names that are not UTF-8 as it prints them, and prints them safely', async () => {
    const [odd, lines] = await where(mounted.at('latin1-\\xe9'), mounted.at('new\nline\\x41'));
    expect(odd).toMatchObject({ path: `${mounted.path}/latin1-\\xe9`, imagePath: '/latin1-\\xe9' });
    expect(odd).toMatchObject({ imagePathBase64: Buffer.from('/latin1-\xe9', 'latin1').toString('base64') });
    expect(lines?.imagePath).toBe('/new\nline\\x41');
    const text = await info(scratch, ['where', mounted.at('new\nline\\x41')]);
    expect(text).toContain('in the image: /new\\x0aline\\\\x41\n');
  });

  test('accepts a relative path, and one below a bind mount, also of one file', async () => {
    const bound = scratch.directory('bound');
    await succeed(['mount', '--bind', mounted.at('types'), bound]);
    const file = scratch.at('bound-file');
    writeFileSync(file, '');
    await succeed(['mount', '--bind', mounted.at('large'), file]);
    try {
      const [below, alone] = await where(join(bound, 'null'), file);
      expect(below).toMatchObject({ imagePath: '/types/null' });
      expect(alone).toMatchObject({ imagePath: '/a-link', source: { number: 1, path: first } });
    } finally {
      await succeed(['umount', bound]);
      await succeed(['umount', file]);
    }
  });

  test('queries the mount that the file is in, not the one that hides it', async () => {
    const other = (await scratch.pack(scratch.directory('other-source'))).image;
    // a process whose working directory is in the lower mount
    const inside = spawn('sleep', ['600'], { cwd: mounted.at('types'), stdio: 'ignore' });
    try {
      const upper = await scratch.mount(other, { at: mounted.path, words: ['nonempty'] });
      const [place] = await where(`/proc/${inside.pid}/cwd/regular`);
      expect(place).toMatchObject({ imageId: id, object: digests.get('large') });
      expect(place?.source?.path).not.toBe(other);
      expect((await where(mounted.path))[0]?.imageId).not.toBe(id);
      await upper.unmount();
    } finally {
      inside.kill('SIGKILL');
    }
  });

  test('reports paths that it cannot find, and paths in no mount', async () => {
    const none = mounted.at('none');
    const missing = await scratch.tool('cfs-info', ['where', none]);
    expect(messageOf(missing, EXIT.usage, 'cfs-info')).toBe(`Cannot find ${none}: no such file or directory`);
    const outside = await scratch.tool('cfs-info', ['where', source]);
    expect(messageOf(outside, EXIT.usage, 'cfs-info')).toContain(`${source} is not in a mount of cfs`);
  });

  test('shows an ordinary user only facts that the user may know', async () => {
    const nobody = scratch.nobody();
    const ask = (name: string) => scratch.tool('cfs-info', ['where', '--json', mounted.at(name)], nobody);
    const { status, stdout } = await ask('large');
    expect(status).toBe(0);
    expect((JSON.parse(stdout) as Place[])[0]).toMatchObject({ object: digests.get('large'), source: { path: first } });
    const link = await ask('types/symlink');
    expect(link.status).toBe(EXIT.usage);
    expect(link.stderr).toContain('only root may query');
  });

  test('reports that the daemon is dead if it is', async () => {
    const dying = await scratch.mount(image, { repos: [first], words: ['restart=off'] });
    process.kill(dying.pid, 'SIGKILL');
    await until('the mount is dead', async () => (await run(['stat', '-f', dying.path])).status !== 0);
    const { status, stderr } = await scratch.tool('cfs-info', ['where', dying.path]);
    expect([status, stderr]).toEqual([EXIT.system, expect.stringMatching(/daemon is dead/)]);
  });
});

describe('cfs-info where with another verification', () => {
  test.each([
    ['verify=read', 'reading', 'each block when it is read'],
    ['verify=off', 'off', 'no: the mount has verify=off'],
  ])('reports %s', async (word, verified, text) => {
    const mounted = await scratch.mount(image, { repos: [first, second], words: [word] });
    for (let pass = 0; pass < 2; pass++) {
      expect(await placesOf(mounted, 'large', 'only-second', 'missing', 'inline')).toEqual([
        [verified, 1, [1, 2]],
        [verified, 2, [2]],
        [verified, undefined, []],
        ['yes', 0, [0]],
      ]);
      readFileSync(mounted.at('large'));
    }
    expect(linesOf(await info(scratch, ['where', mounted.at('large')]))['verified']).toBe(text);
  });

  test('works through fuse-native', async () => {
    const mounted = await scratch.mount(image, { repos: [first, second], words: ['driver=fuse-native'] });
    expect(await placeOf(mounted, 'large')).toEqual(['no', 1, [1, 2]]);
    readFileSync(mounted.at('large'));
    expect(await placeOf(mounted, 'large')).toEqual(['yes', 1, [1, 2]]);
  });
});

test('cfs-info where opens no object', async () => {
  const store = scratch.at('watched');
  cpSync(third, store, { recursive: true });
  const mounted = await scratch.mount(image, { repos: [store] });
  const [large, damaged] = ['large', 'damaged'].map((name) =>
    openRepository(store).objectPath(Buffer.from(digests.get(name) as string, 'hex')),
  ) as [string, string];
  rmSync(damaged);
  mknod(damaged, S_IFIFO | 0o444);
  const opens = new Inotify();
  for (const path of [large, damaged]) opens.watch(path, IN_OPEN);
  try {
    await where(mounted.at('large'), mounted.at('a-link'), mounted.at('damaged'));
    expect(opens.events()).toEqual([]);
    expect(await placeOf(mounted, 'damaged')).toEqual(['no', undefined, []]);
    readFileSync(mounted.at('large'));
    expect(opens.events().length).toBeGreaterThan(0); // it would have been noticed
  } finally {
    opens.close();
  }
});
