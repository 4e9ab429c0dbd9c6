/** `make install` and `make uninstall`, and what is installed in a root without compiler and npm. */
import { cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { makeCleanRoot, runInRoot } from './clean-root.ts';
import { useScratch } from './harness.ts';
import { run, succeed } from './run.ts';

const scratch = useScratch();
const ROOT = join(import.meta.dirname, '../..');
const destdir = scratch.at('destdir');

const make = (target: string, destination: string, ...words: readonly string[]): Promise<string> =>
  succeed(['make', '--no-print-directory', '-C', ROOT, target, `DESTDIR=${destination}`, ...words]);

const below = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort((a, b) => (a < b ? -1 : 1));

beforeAll(async () => {
  await make('install', destdir, 'PREFIX=/usr', 'MOUNTDIR=/usr/sbin');
});

test('installs tools, helpers, units, manual pages, completions, header and tmpfiles.d', () => {
  const files = below(join(destdir, 'usr'));
  expect(files).toEqual(
    expect.arrayContaining([
      'bin/cfs-checkpoint',
      'bin/cfs-info',
      'bin/cfs-mkimage',
      'bin/cfs-mount',
      'bin/cfs-repo',
      'include/cfs.h',
      'lib/systemd/system/cfs@.service',
      'lib/tmpfiles.d/cfs.conf',
      'sbin/mount.cfs',
      'sbin/mount.fuse.cfs',
      'share/bash-completion/completions/cfs-info',
      'share/cfs/schemas/cfs-info-stat.json',
      'share/doc/cfs/docs/manifest.md',
      'share/doc/cfs/examples/grafana/cfs-mounts.json',
      'share/doc/cfs/examples/prometheus/cfs-metrics.service',
      'share/doc/cfs/examples/prometheus/cfs-metrics.timer',
      'share/fish/vendor_completions.d/cfs-info.fish',
      'share/man/man1/cfs-info.1',
      'share/man/man5/cfs-manifest.5',
      'share/man/man8/mount.fuse.cfs.8',
      'share/zsh/site-functions/_cfs-info',
    ]),
  );
  expect(files.filter((file) => /\.(?:map|ts|c|cc|h|gyp)$|darwin|bench|compare-trees/.test(file))).toEqual([
    'include/cfs.h',
    'share/doc/cfs/docs/benchmark.md',
  ]);
});

test('nothing refers to the checkout or to DESTDIR, and everybody can read all of it', async () => {
  const { stdout } = await run(['grep', '-rlF', '-e', ROOT, '-e', destdir, destdir]);
  // .node files have paths of the machine that built them
  expect(stdout.split('\n').filter((file) => file !== '' && !file.endsWith('.node'))).toEqual([]);
  for (const name of below(destdir)) {
    const stat = lstatSync(join(destdir, name));
    if (stat.isSymbolicLink()) expect(readlinkSync(join(destdir, name))).not.toContain(ROOT);
    else expect(`${name} ${(stat.mode & 0o7777).toString(8)}`).toMatch(/ (?:644|755)$/);
  }
});

test('the unit names the tool where it is installed', () => {
  const unit = readFileSync(join(destdir, 'usr/lib/systemd/system/cfs@.service'), 'utf8');
  expect(unit).toContain('ExecStart=/usr/bin/cfs-mount ');
});

test('systemd-tmpfiles makes the default repository, and leaves the mode of an existing one', async () => {
  const root = scratch.directory('tmpfiles');
  cpSync(join(destdir, 'usr'), join(root, 'usr'), { recursive: true, verbatimSymlinks: true });
  const create = (): Promise<string> => succeed(['systemd-tmpfiles', `--root=${root}`, '--create', 'cfs.conf']);
  const mode = (): string => (lstatSync(join(root, 'var/lib/cfs')).mode & 0o7777).toString(8);
  await create();
  expect(mode()).toBe('755');
  await succeed(['chmod', '700', join(root, 'var/lib/cfs')]);
  await create();
  expect(mode()).toBe('700');
});

test('in a root without compiler and npm the tools pack, mount by either driver, by mount(8) too, and unmount', async () => {
  const root = scratch.at('clean');
  await makeCleanRoot(root);
  await make('install', root, 'PREFIX=/usr', 'MOUNTDIR=/usr/sbin');
  mkdirSync(join(root, 'srv/tree'), { recursive: true });
  writeFileSync(join(root, 'srv/tree/file'), 'content '.repeat(1000));
  const steps = `export PATH=/usr/sbin:/usr/bin
    cfs-mkimage --quiet /srv/tree /srv/x.cfs
    CFS_BLAKE3=portable cfs-mkimage --quiet --rehash /srv/tree /srv/same.cfs && cmp /srv/x.cfs /srv/same.cfs
    cfs-mount --log /tmp/log /srv/x.cfs /mnt && cmp /mnt/file /srv/tree/file && umount /mnt
    cfs-mount --log /tmp/log -o driver=fuse-native /srv/x.cfs /mnt && cmp /mnt/file /srv/tree/file && umount /mnt
    mount -t cfs -o verify=read /srv/x.cfs /mnt 2>/tmp/said && cmp /mnt/file /srv/tree/file
    mount -o remount,noexec /mnt && grep ' /mnt ' /proc/mounts | grep noexec
    cfs-mount --upgrade /mnt
    umount /mnt
    cfs-info stat /srv/x.cfs /file | grep size
    cat /tmp/log`;
  const { status, stdout, stderr } = await runInRoot(root, steps);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/noexec.*\n\/mnt: version .* -> .*\nsize: +8000\n$/);
});

test('make uninstall leaves what was there before, and nothing else', async () => {
  const root = scratch.at('used');
  const others = ['usr/local/bin/other', 'usr/local/share/man/man1/other.1', 'usr/local/lib/systemd/system/a.service'];
  for (const file of others) {
    mkdirSync(join(root, file, '..'), { recursive: true });
    writeFileSync(join(root, file), '');
  }
  mkdirSync(join(root, 'usr/local/include'));
  const before = below(root);
  await make('install', root);
  const installed = below(root);
  expect(installed).toContain('sbin/mount.cfs');
  // a file of an earlier version
  const list = join(root, 'usr/local/lib/cfs/installed-files');
  writeFileSync(list, `${readFileSync(list, 'utf8')}/usr/local/bin/cfs-former\n`);
  writeFileSync(join(root, 'usr/local/bin/cfs-former'), '');
  await make('install', root);
  expect(below(root)).toEqual(installed);
  await make('uninstall', root);
  expect(below(root)).toEqual(before);
  await expect(make('uninstall', root)).rejects.toThrow(`cfs is not installed in ${root}/usr/local`);
});
