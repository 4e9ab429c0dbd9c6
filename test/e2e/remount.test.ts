/** mount(8) with the helper as /sbin/mount.cfs and /sbin/mount.fuse.cfs: the effect and messages of `-o remount`. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { messageOf } from './cli.ts';
import { type Mounted, useScratch } from './harness.ts';
import { HERE, type Outcome, OWN_TOOLS, run } from './run.ts';

const scratch = useScratch();
let image: string;

beforeAll(async () => {
  const source = scratch.at('source');
  mkdirSync(source);
  writeFileSync(join(source, 'file'), Buffer.alloc(5000, 'x'));
  ({ image } = await scratch.pack(source));
});

const remount = ({ path }: Mounted, words: string): Promise<Outcome> =>
  run(HERE.tool('mount.cfs', [image, path, '-o', words], scratch.environment));

const flagsOf = ({ path }: Mounted): string[] => {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((entry) => entry.split(' ')[4] === path);
  return line?.split(' ')[5]?.split(',') ?? [];
};

test('flags are changed, one by one and back', async () => {
  const mounted = await scratch.mount(image);
  const steps: readonly (readonly [words: string, has: readonly string[], hasNot: readonly string[]])[] = [
    ['rw,remount,noexec', ['ro', 'nosuid', 'nodev', 'noexec'], []],
    ['rw,remount,exec,suid,noatime', ['ro', 'nodev', 'noatime'], ['noexec', 'nosuid']],
    ['ro,remount,nosuid,dev,relatime', ['ro', 'nosuid', 'relatime'], ['nodev', 'noatime']],
  ];
  for (const [words, has, hasNot] of steps) {
    expect(await remount(mounted, words)).toMatchObject({ status: EXIT.ok, stderr: '' });
    const flags = flagsOf(mounted);
    expect(flags).toEqual(expect.arrayContaining([...has]));
    for (const flag of hasNot) expect(flags).not.toContain(flag);
  }
  expect(readFileSync(mounted.at('file')).length).toBe(5000);
});

test('words that fstab and the kernel repeat are accepted; words for another mount are refused', async () => {
  const mounted = await scratch.mount(image);
  const same = `rw,remount,noexec,repo=${scratch.store},verify=auto,user_id=0,group_id=0,allow_other,x-systemd.automount,_netdev`;
  expect(await remount(mounted, same)).toMatchObject({ status: EXIT.ok, stderr: '' });
  expect(flagsOf(mounted)).toContain('noexec');
  for (const word of ['verify=read', 'threads=7', 'repo=/other', 'driver=fuse-native']) {
    const message = messageOf(await remount(mounted, `rw,remount,exec,${word}`), EXIT.usage, 'mount.cfs');
    expect(message).toContain(`Cannot change ${word} of the mount at ${mounted.path}: unmount it, and mount it again.`);
  }
  expect(flagsOf(mounted)).toContain('noexec');
  expect(messageOf(await remount(mounted, 'rw,remount'), EXIT.usage, 'mount.cfs')).toContain('an image is read-only');
  expect(messageOf(await remount(mounted, 'remount,nosuch'), EXIT.usage, 'mount.cfs')).toContain('"nosuch"');
});

test('a mount with an upper layer is made read-only, and writable again', async () => {
  const [upper, work] = [scratch.directory('upper'), scratch.directory('work')];
  const layer = [`upperdir=${upper}`, `workdir=${work}`];
  const mounted = await scratch.mount(image, { words: layer });
  expect(await remount(mounted, ['ro,remount,noexec', ...layer].join(','))).toMatchObject({ status: 0, stderr: '' });
  expect(flagsOf(mounted)).toEqual(expect.arrayContaining(['ro', 'noexec']));
  expect(() => writeFileSync(mounted.at('new'), '')).toThrow(/EROFS/);
  expect(await remount(mounted, 'rw,remount')).toMatchObject({ status: EXIT.ok, stderr: '' });
  writeFileSync(mounted.at('new'), '');
  expect(flagsOf(mounted)).toEqual(expect.arrayContaining(['rw', 'noexec']));
  const other = messageOf(
    await remount(mounted, `rw,remount,upperdir=/other,workdir=${work}`),
    EXIT.usage,
    'mount.cfs',
  );
  expect(other).toContain(`Cannot change upperdir=/other of the mount at ${mounted.path}`);
  await mounted.unmount();
  const readOnly = await scratch.mount(image, { words: [...layer, 'ro'] });
  expect(await remount(readOnly, 'ro,remount,noexec')).toMatchObject({ status: EXIT.ok, stderr: '' });
  expect(messageOf(await remount(readOnly, 'rw,remount'), EXIT.usage, 'mount.cfs')).toContain('mounted with ro');
});

test('mount(8) finds the helper by both names', async () => {
  const mounted = await scratch.mount(image);
  const bin = scratch.directory('bin');
  const upper = scratch.directory('tmpfs');
  for (const name of ['mount.cfs', 'mount.fuse.cfs'])
    symlinkSync(join(OWN_TOOLS.dist, 'tools/mount.cfs.js'), join(bin, name));
  // in the directory where mount(8) looks for helpers, in a separate namespace, which shares the superblock of the
  // mount
  const script =
    'mount -t tmpfs t "$1" && mkdir "$1/u" "$1/w" && cp -P "$2"/* "$1/u" && ' +
    'mount -t overlay o -o lowerdir=/usr/sbin,upperdir="$1/u",workdir="$1/w" /usr/sbin && ' +
    'mount -o remount,noexec "$3" && grep -F " $3 " /proc/self/mountinfo';
  const outcome = await run(['unshare', '--mount', 'sh', '-c', script, 'sh', upper, bin, mounted.path]);
  expect(outcome).toMatchObject({ status: 0, stderr: '' });
  expect(outcome.stdout).toMatch(/ ro,.*noexec/);
});

test('--help and --version', async () => {
  expect((await scratch.tool('mount.cfs', ['--help'])).stdout).toContain('Usage: mount.cfs IMAGE MOUNTPOINT');
  expect((await scratch.tool('mount.cfs', ['--version'])).stdout).toMatch(/^mount\.cfs \d+\.\d+\.\d+\n/);
});
