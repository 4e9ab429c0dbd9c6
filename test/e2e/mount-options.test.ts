/** The words of -o, and the appearance of a mount to other programs. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { makeDevice, mknod } from '../support/libc.ts';
import { codeOf } from '../support/suites/filesystem-subject.ts';
import { expectEqual, type Packed, useScratch } from './harness.ts';
import { asUser, HERE, NOBODY, run } from './run.ts';
import { mountedAt } from './system.ts';

const scratch = useScratch();
const OWNER = 1000;
const S_IFCHR = 0o020000;

let source: string;
let packed: Packed;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  for (let i = 0; i < 20; i++) writeFileSync(join(source, `file-${i}`), `${i}`.repeat(1000 + i));
  mknod(join(source, 'zero'), S_IFCHR | 0o666, makeDevice(1, 5));
  chmodSync(join(source, 'zero'), 0o666);
  copyFileSync('/usr/bin/id', join(source, 'setuid-id'));
  chownSync(join(source, 'setuid-id'), OWNER, OWNER);
  chmodSync(join(source, 'setuid-id'), 0o4755);
  packed = await scratch.pack(source);
  image = packed.image;
});

/** Runs a command as the user nobody. Returns "status output". */
function asNobody(...command: readonly string[]): { status: number | null; stdout: string } {
  const [program, ...args] = [...asUser(NOBODY), ...command] as [string, ...string[]];
  return spawnSync(program, args, { encoding: 'utf8' });
}

/** One byte of a device's stream. */
function firstByte(path: string): number | undefined {
  const fd = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(1, 0xff);
    readSync(fd, buffer, 0, 1, null);
    return buffer[0];
  } finally {
    closeSync(fd);
  }
}

describe('cfs-mount', () => {
  test('prints with --json what it mounted', async () => {
    const at = scratch.directory('mnt');
    const { report } = await scratch.mount(image, { at });
    expect(report).toMatchObject({
      id: packed.id,
      image,
      mountpoint: at,
      driver: 'kernel',
      verify: 'auto',
      passthrough: true,
    });
    expect([report.inodes, report.objects]).toEqual([packed.inodes, packed.objects]);
    const { stdout } = await scratch.tool('cfs-info', ['id', image]);
    expect(stdout.trim()).toBe(report.id);
  });

  test('is silent without --json, and mounts from the default store if no other is given', async () => {
    const at = scratch.directory('mnt');
    const { status, stdout, stderr } = await scratch.tool('cfs-mount', [image, at]);
    const hint = existsSync('/dev/log') ? /^$/ : /^cfs-mount: neither a journal nor syslog is here: .*--log FILE.*\n$/;
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: expect.stringMatching(hint) });
    await expectEqual(source, at);
    execFileSync('umount', [at]);
  });

  test('shows as fuse.cfs with the image as its source, read-only, nosuid and nodev', async () => {
    const mounted = await scratch.mount(image);
    const line = mountedAt(mounted.path);
    expect(line).toMatchObject({ type: 'fuse.cfs', source: image });
    expect(line?.options.split(',')).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev', 'relatime']));
    expect(codeOf(() => openSync(mounted.at('zero'), 'r'))).toBe('EACCES');
    expect(asNobody(mounted.at('setuid-id'), '-u').stdout).toBe(`${NOBODY}\n`);
  });

  test('honours devices and setuid files with dev and suid', async () => {
    const mounted = await scratch.mount(image, { words: ['suid', 'dev'] });
    expect(firstByte(mounted.at('zero'))).toBe(0);
    expect(asNobody(mounted.at('setuid-id'), '-u').stdout).toBe(`${OWNER}\n`);
  });

  test('uses the last of two words that contradict each other', async () => {
    const mounted = await scratch.mount(image, { words: ['suid', 'dev', 'noexec', 'nosuid', 'nodev', 'exec'] });
    expect(mountedAt(mounted.path)?.options.split(',')).toEqual(expect.arrayContaining(['nosuid', 'nodev']));
    expect(asNobody(mounted.at('setuid-id'), '-u').status).toBe(0);
  });

  test('runs no program with noexec, and keeps no access times with noatime', async () => {
    const mounted = await scratch.mount(image, { words: ['noexec', 'noatime'] });
    expect(mountedAt(mounted.path)?.options.split(',')).toEqual(expect.arrayContaining(['noexec', 'noatime']));
    expect(codeOf(() => execFileSync(mounted.at('setuid-id')))).toBe('EACCES');
  });

  test('is for all users if root mounts, and for root alone with noallow_other', async () => {
    const everybody = await scratch.mount(image);
    expect(asNobody('cat', everybody.at('file-1')).stdout).toBe('1'.repeat(1001));
    const own = await scratch.mount(image, { words: ['noallow_other'] });
    expect(asNobody('cat', own.at('file-1'))).toMatchObject({ status: 1, stdout: '' });
    expect(readFileSync(own.at('file-1'), 'utf8')).toBe('1'.repeat(1001));
  });

  test('ignores the words that fstab, mount(8) and systemd add', async () => {
    const words =
      'rw,defaults,noauto,nofail,_netdev,user,relatime,x-systemd.automount,x-systemd.requires=/srv,X-mount.mkdir,comment=a b,default_permissions';
    const mounted = await scratch.mount(image, { words: words.split(',') });
    expect(mountedAt(mounted.path)?.options.split(',')).toContain('ro');
  });

  test('shows the source that fsname names', async () => {
    const mounted = await scratch.mount(image, { words: ['fsname=registry/app\\, version 2'] });
    expect(mountedAt(mounted.path)?.source).toBe('registry/app, version 2');
  });

  test.each([1, 8])('serves with %d threads', async (threads) => {
    const mounted = await scratch.mount(image, { words: [`threads=${threads}`] });
    const readers = Array.from({ length: 8 }, () =>
      run(['sh', '-c', 'cat "$1"/file-* | sha256sum', 'sh', mounted.path]),
    );
    const { stdout } = await run(['sh', '-c', 'cat "$1"/file-* | sha256sum', 'sh', source]);
    for (const outcome of await Promise.all(readers)) expect(outcome.stdout).toBe(stdout);
  });

  test('uses repositories from basedir=A:B, --repo first', async () => {
    const stores = [scratch.directory('half'), scratch.directory('other-half')] as const;
    for (const store of stores) cpSync(scratch.store, store, { recursive: true });
    stores.forEach((store, half) => {
      readdirSync(join(store, 'objects')).forEach((prefix, i) => {
        if (i % 2 === half) rmSync(join(store, 'objects', prefix), { recursive: true });
      });
    });
    const incomplete = await scratch.mount(image, { repos: [stores[0]] });
    expect(codeOf(() => execFileSync('sh', ['-c', `cat ${incomplete.path}/file-*`], { stdio: 'ignore' }))).not.toBe(
      'no error',
    );
    for (const settings of [
      { repos: [], words: [`basedir=${stores.join(':')}`] },
      { repos: [stores[1]], words: [`basedir=${stores[0]}`] },
      { repos: [], words: [`basedir=${stores[0]}/objects:${stores[1]}/objects`] },
    ]) {
      await expectEqual(source, (await scratch.mount(image, settings)).path);
    }
  });

  test('mounts one image twice, independently', async () => {
    const one = await scratch.mount(image);
    const two = await scratch.mount(image);
    expect(one.pid).not.toBe(two.pid);
    await expectEqual(source, one.path);
    await one.unmount();
    await expectEqual(source, two.path);
  });

  test('mounts an image on a directory of another one', async () => {
    mkdirSync(join(scratch.at('nest'), 'inner'), { recursive: true });
    const outer = await scratch.mount((await scratch.pack(scratch.at('nest'))).image);
    const inner = await scratch.mount(image, { at: outer.at('inner') });
    await expectEqual(source, inner.path);
    const busy = await run(['umount', outer.path]);
    expect(busy.status).not.toBe(0);
    await inner.unmount();
    await outer.unmount();
  });

  test('accepts relative paths, links, and names with every odd character', async () => {
    const odd = ['a space', 'comma,here', 'back\\slash', 'new\nline', 'ünïcödé', '-o', 'tab\t', '\\040', '#'];
    const directory = scratch.directory('odd');
    for (const name of odd) {
      const at = join(directory, `mnt ${name}`);
      mkdirSync(at);
      copyFileSync(image, join(directory, `${name}.cfs`));
      const mounted = await scratch.mount(join(directory, `${name}.cfs`), { at });
      expect(mounted.report.mountpoint).toBe(at);
      expect(mountedAt(at)?.source).toBe(join(directory, `${name}.cfs`));
      expect(readFileSync(mounted.at('file-3'), 'utf8')).toBe('3'.repeat(1003));
      await mounted.unmount();
    }
    const real = scratch.directory('real');
    symlinkSync(real, join(directory, 'link'));
    const { report } = await scratch.mount(image, { at: join(directory, 'link') });
    expect(report.mountpoint).toBe(real);
  });

  test('resolves paths against its working directory', async () => {
    const directory = scratch.directory('relative');
    mkdirSync(join(directory, 'mnt'));
    copyFileSync(image, join(directory, 'i.cfs'));
    symlinkSync(scratch.store, join(directory, 'st'));
    const command = HERE.tool(
      'cfs-mount',
      ['--json', '--repo', 'st', '--log', 'log', 'i.cfs', 'mnt'],
      scratch.environment,
    );
    const { status, stdout } = await run(command, { cwd: directory });
    expect(status).toBe(0);
    const mounted = scratch.adopt(JSON.parse(stdout));
    expect(mounted.report).toMatchObject({ image: join(directory, 'i.cfs'), mountpoint: join(directory, 'mnt') });
    await expectEqual(source, mounted.path);
  });

  test('checks ACLs as the kernel does', async () => {
    const tree = scratch.directory('acls');
    writeFileSync(join(tree, 'file'), 'for some\n');
    chmodSync(join(tree, 'file'), 0o600);
    execFileSync('setfacl', ['-m', `u:${OWNER}:r,g:2000:r`, join(tree, 'file')]);
    const mounted = await scratch.mount((await scratch.pack(tree)).image);
    const status = (user: readonly string[]): number | null =>
      spawnSync(user[0] as string, [...user.slice(1), 'cat', mounted.at('file')]).status;
    expect(status(asUser(OWNER))).toBe(0);
    expect(status(asUser(NOBODY, NOBODY, [2000]))).toBe(0);
    expect(status(asUser(NOBODY))).toBe(1);
    expect(status(asUser(OWNER + 1))).toBe(1);
  });
});
