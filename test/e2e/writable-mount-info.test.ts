/** What cfs-info and cfs-mount say of a mount with an upper layer, and how it is found again. */
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import type { SavedSourcesJson } from '../../src/mount-info/saved-sources.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import { type Mounted, type MountReport, useScratch } from './harness.ts';
import { type Place, succeed } from './run.ts';

const scratch = useScratch();

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  mkdirSync(join(source, 'directory'));
  for (const name of ['kept', 'changed', 'mode', 'directory/moved'])
    writeFileSync(join(source, name), `${name} `.repeat(100));
  image = (await scratch.pack(source)).image;
});

interface Layered {
  readonly mounted: Mounted;
  readonly upper: string;
  readonly work: string;
}

async function layered(place?: Place): Promise<Layered> {
  const [upper, work] = [scratch.directory('upper'), scratch.directory('work')];
  const words = [`upperdir=${upper}`, `workdir=${work}`];
  return { mounted: await scratch.mount(image, { words, ...(place && { place }) }), upper, work };
}

const info = async (...args: readonly string[]): Promise<string> => {
  const { status, stdout, stderr } = await scratch.tool('cfs-info', args);
  expect([status, stderr]).toEqual([0, '']);
  return stdout;
};

test('cfs-info sources and mounts name the directories of the upper layer', async () => {
  const { mounted, upper, work } = await layered();
  const { sources } = JSON.parse(await info('sources', '--json', mounted.path)) as SavedSourcesJson;
  expect(sources.map(({ kind, path }) => [kind, path])).toEqual([
    ['image', image],
    ['repository', scratch.store],
    ['upperdir', upper],
    ['workdir', work],
  ]);
  expect(sources[2]).toMatchObject({ ino: statSync(upper).ino, given: upper });
  expect(await info('sources', mounted.path)).toContain(`upperdir:     ${upper}\n`);
  expect(await info('mounts')).toContain(`upperdir:     ${upper}\nworkdir:      ${work}\n`);
  expect(await info('stats', mounted.path)).toContain('requests');
});

test('cfs-info where says what was written in the mount', async () => {
  const { mounted, upper } = await layered();
  appendFileSync(mounted.at('changed'), 'more');
  chmodSync(mounted.at('mode'), 0o600);
  renameSync(mounted.at('directory'), mounted.at('elsewhere'));
  writeFileSync(mounted.at('new'), 'written');
  const names = ['kept', 'changed', 'mode', 'elsewhere/moved', 'new', 'elsewhere'];
  const paths = names.map((name) => mounted.at(name));
  interface Where {
    readonly content?: string;
    readonly ino: number;
    readonly size: number;
    readonly imagePath?: string;
    readonly source?: { readonly path: string };
  }
  const found = JSON.parse(await info('where', '--json', ...paths)) as Where[];
  expect(found.map(({ content, imagePath }) => [content, imagePath])).toEqual([
    ['object', '/kept'],
    ['upper', '/changed'],
    ['object', '/mode'],
    ['object', '/directory/moved'],
    ['upper', undefined],
    [undefined, '/directory'],
  ]);
  const stats = paths.map((path) => statSync(path));
  expect(found.map(({ ino }) => ino)).toEqual(stats.map(({ ino }) => ino));
  expect(found.slice(0, 5).map(({ size }) => size)).toEqual(stats.slice(0, 5).map(({ size }) => size));
  expect(found[1]?.source?.path).toBe(upper);
  expect(await info('where', mounted.at('new'))).toContain(`content:      in the upper layer, ${upper}\n`);
});

test('private xattrs of a changed file do not describe the content of the image', async () => {
  const { mounted } = await layered();
  const text = (name: string, key: string): string | undefined => {
    const value = getXattr(mounted.at(name), `user.cfs.${key}`);
    return isErrno(value) ? undefined : Buffer.from(value).toString();
  };
  const before = text('changed', 'object');
  expect(before).toMatch(/^blake3:/);
  appendFileSync(mounted.at('changed'), 'more');
  expect([text('changed', 'object'), text('changed', 'served'), text('changed', 'verified')]).toEqual([
    undefined,
    '2',
    'off',
  ]);
  expect(text('kept', 'verified')).toBe('reading');
  expect(text('changed', 'image')).toBe(mounted.report.id);
});

test('--from finds the directories of the upper layer after they were moved', async () => {
  const { mounted, upper, work } = await layered();
  writeFileSync(mounted.at('new'), 'written');
  const list = scratch.at('layered.json');
  writeFileSync(list, await info('sources', '--json', mounted.path));
  await mounted.unmount();
  const [movedUpper, movedWork] = [`${upper}-moved`, `${work}-moved`];
  renameSync(upper, movedUpper);
  renameSync(work, movedWork);
  // others in their place
  for (const path of [upper, work]) mkdirSync(path);
  const { status, stdout, stderr } = await scratch.tool('cfs-mount', ['--json', '--from', list]);
  expect([status, stderr]).toEqual([0, '']);
  const again = scratch.adopt(JSON.parse(stdout) as MountReport);
  expect(readFileSync(again.at('new'), 'utf8')).toBe('written');
  writeFileSync(again.at('later'), '');
  expect(readdirSync(movedUpper)).toContain('later');
});

test('an ordinary user mounts with an upper layer by fusermount3', async () => {
  const place = scratch.nobody();
  const own = scratch.at('tmp/of-nobody');
  const run = (...command: readonly string[]): Promise<string> => succeed(place.command(...command));
  const [store, ownImage] = [join(own, 'store'), join(own, 'image.cfs')];
  await run('mkdir', own, ...['upper', 'work', 'mnt', 'source'].map((name) => join(own, name)));
  await run('sh', '-c', `cd ${own}/source && echo kept > kept && echo changed > changed`);
  const packing = ['--quiet', '--store', store, join(own, 'source'), ownImage];
  expect(await scratch.tool('cfs-mkimage', packing, place)).toMatchObject({ status: 0, stderr: '' });

  const settings = { place, repos: [store], at: join(own, 'mnt'), helper: true };
  const directories = [`upperdir=${own}/upper`, `workdir=${own}/work`];
  const refused = await scratch.tryMount(ownImage, { ...settings, words: directories });
  expect(refused.stdout).toMatch(/may not set trusted\.\* extended attributes/);
  const mounted = await scratch.mount(ownImage, { ...settings, words: ['userxattr', ...directories] });
  await run('sh', '-c', `cd ${mounted.path} && echo more >> changed && echo written > new && rm kept`);
  expect(await run('sh', '-c', `cd ${mounted.path} && ls && cat changed`)).toBe('changed\nnew\nchanged\nmore\n');
  await mounted.unmount();
  expect(await run('cat', join(own, 'upper/new'))).toBe('written\n');
  await run('rm', '-rf', own);
});

test('an ordinary user mounts with an upper layer in a user namespace', async () => {
  const place = await scratch.namespaceOfNobody();
  const own = scratch.at('tmp/of-nobody');
  const run = (...command: readonly string[]): Promise<string> => succeed(place.command(...command));
  await run('mkdir', own, join(own, 'upper'), join(own, 'work'), join(own, 'mnt'));
  const words = ['userxattr', `upperdir=${own}/upper`, `workdir=${own}/work`];
  const mounted = await scratch.mount(image, { place, words, at: join(own, 'mnt') });
  expect(mounted.report).toMatchObject({ passthrough: false });
  await run(
    'sh',
    '-c',
    `cd ${mounted.path} && echo more >> changed && mkdir new && echo written > new/file && rm kept`,
  );
  const { ino } = JSON.parse(await run('stat', '--format', '{"ino":%i}', mounted.at('new/file'))) as { ino: number };
  await mounted.unmount();
  const again = await scratch.mount(image, { place, words, at: join(own, 'mnt') });
  expect(await run('cat', again.at('new/file'))).toBe('written\n');
  expect(await run('stat', '--format', '%i', again.at('new/file'))).toBe(`${ino}\n`);
  expect(await run('ls', again.path)).toBe('changed\ndirectory\nmode\nnew\n');
  expect(await run('sh', '-c', `tail -c 5 ${again.at('changed')}`)).toBe('more\n');
  await again.unmount();
  await run('rm', '-rf', own);
});
