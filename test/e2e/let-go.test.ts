/** When a mount has ended, no process keeps the file systems of its store, image and log busy. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type MountReport, useScratch } from './harness.ts';
import { HERE, run, succeed } from './run.ts';
import { unmountBy, until } from './system.ts';

const scratch = useScratch();

let source: string;

beforeAll(() => {
  source = scratch.directory('source');
  for (let i = 0; i < 6; i++) writeFileSync(join(source, `file-${i}`), `${i}`.repeat(100_000));
});

/**
 * How long the file system is busy: a few milliseconds on an idle machine, and far more if its release has to wait for
 * threads or processes to end.
 */
async function busyFor(path: string): Promise<number> {
  const begin = Date.now();
  await until(`${path} can be unmounted`, async () => (await run(['umount', path])).status === 0);
  return Date.now() - begin;
}

const words = ['verify=auto', 'verify=read', 'verify=off', 'driver=fuse-native'];

describe.each(words)('a mount with %s', (word) => {
  test('closes store, image and log as soon as it is unmounted', async () => {
    const disk = scratch.directory('disk');
    const times: number[] = [];
    for (let round = 0; round < 3; round++) {
      await succeed(['mount', '-t', 'tmpfs', '-o', 'size=32m', 'cfs-test', disk]);
      const store = join(disk, 'store');
      const { image } = await scratch.pack(source, { store, image: join(disk, 'image.cfs') });
      const log = join(disk, 'log');
      const mounted = await scratch.mount(image, { repos: [store], words: [word], args: ['--log', log] });
      for (const name of readdirSync(mounted.path)) readFileSync(mounted.at(name));
      await unmountBy(['umount', mounted.path]);
      await until('no lease is left', () => readdirSync(join(store, 'leases')).length === 0);
      expect(readFileSync(log, 'utf8')).toBe('');
      times.push(await busyFor(disk));
      await mounted.expectGone();
    }
    console.log(`busy for ${times.join(', ')} ms`);
  });
});

test('the outer one of two nested mounts can be unmounted after the inner one', async () => {
  const store = scratch.at('inner store');
  const inner = await scratch.pack(source, { store, image: scratch.at('inner.cfs') });
  const tree = scratch.directory('tree');
  await succeed(['cp', '-a', store, inner.image, tree]);
  const outer = await scratch.mount((await scratch.pack(tree)).image);
  const within = await scratch.mount(outer.at('inner.cfs'), { repos: [outer.at('inner store')] });
  expect(readFileSync(within.at('file-1'), 'latin1')).toHaveLength(100_000);
  await unmountBy(['umount', within.path]);
  await busyFor(outer.path);
  await within.expectGone();
  await outer.expectGone();
});

test('a mount that is unmounted at once no longer uses its store, either', async () => {
  const disk = scratch.directory('disk');
  await succeed(['mount', '-t', 'tmpfs', '-o', 'size=32m', 'cfs-test', disk]);
  const store = join(disk, 'store');
  const { image } = await scratch.pack(source, { store, image: join(disk, 'image.cfs') });
  const at = scratch.directory('mnt');
  for (let i = 0; i < 4; i++) {
    const mount = HERE.tool('cfs-mount', ['--json', '--repo', store, image, at], scratch.environment);
    // the lists of the leases may not be written yet
    const stdout = await succeed(['sh', '-c', '"$@" && umount "$0"', at, ...mount]);
    const { pid } = JSON.parse(stdout) as MountReport;
    expect(pid).toBeGreaterThan(0);
  }
  await busyFor(disk);
});

test('descriptors become /dev/null, except those of procfs: another thread may be listing descriptors, too', async () => {
  const file = join(source, 'file-0');
  const program = `
    import { fstatSync, opendirSync, openSync } from 'node:fs';
    import { letGoOfFiles } from ${JSON.stringify(new URL('../../dist/src/system/let-go.js', import.meta.url).href)};
    const list = opendirSync('/proc/self/fd', { bufferSize: 1 });
    const fd = openSync(${JSON.stringify(file)});
    letGoOfFiles([]);
    let entries = 0;
    while (list.readSync() !== null) entries++;
    console.log(JSON.stringify({ listed: entries > 3, isFile: fstatSync(fd).isFile() }));`;
  const stdout = await succeed([process.execPath, '--input-type=module', '--eval', program]);
  expect(JSON.parse(stdout)).toEqual({ listed: true, isFile: false });
});
