/** The Debian package: lintian, and its installation, upgrade and removal under a live mount, in a root of its own. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { makeCleanRoot, runInRoot } from './clean-root.ts';
import { useScratch } from './harness.ts';
import { run, succeed } from './run.ts';

const scratch = useScratch();
const ROOT = join(import.meta.dirname, '../..');
const root = scratch.at('root');
let deb: string;
/** The contents of the package. */
const unpacked = scratch.at('unpacked');

beforeAll(async () => {
  mkdirSync(scratch.at('debs'));
  deb = (await succeed([join(ROOT, 'scripts/deb'), scratch.at('debs')])).trim();
  await succeed(['dpkg-deb', '-R', deb, unpacked]);
});

test('lintian reports no errors', async () => {
  const { stdout, stderr } = await run(['lintian', '--allow-root', '--fail-on', 'none', deb]);
  const lines = `${stdout}${stderr}`.split('\n');
  expect(lines.filter((line) => line.startsWith('E:'))).toEqual([]);
  expect(lines.filter((line) => !/^[WIPN]:|^$|root privileges/.test(line))).toEqual([]);
});

test('a second build has the same bytes', async () => {
  mkdirSync(scratch.at('again'));
  const again = (await succeed([join(ROOT, 'scripts/deb'), scratch.at('again')])).trim();
  await succeed(['cmp', deb, again]);
});

test('debian/copyright has a licence of each package that comes along', () => {
  const text = readFileSync(join(unpacked, 'usr/share/doc/cfs/copyright'), 'utf8');
  const modules = join(unpacked, 'usr/lib/cfs/node_modules');
  const names = readdirSync(modules).flatMap((name) =>
    name.startsWith('@') ? readdirSync(join(modules, name)).map((below) => `${name}/${below}`) : [name],
  );
  expect(names).toContain('koffi');
  const stanzas = text.split(/\n(?=(?:Comment|Files): )/);
  for (const file of [...names.map((name) => `node_modules/${name}/*`), 'libfuse.so', 'usr/lib/cfs/dist/*']) {
    const [stanza = ''] = stanzas.filter((part) => /^Files: (.*)$/m.exec(part)?.[1]?.endsWith(file));
    expect(stanza, file).toMatch(/^Copyright: \S.*\n/m);
    expect(stanza, file).toMatch(/^License: .*\n \S/m);
  }
});

/** The packages that cfs depends on, as installed: their files are in the root without packages. */
const status = (node: string): string =>
  [
    ['nodejs', node],
    ['libc6', '2.36'],
    ['libgcc-s1', '12'],
    ['libstdc++6', '12'],
  ]
    .map(
      ([name, version]) =>
        `Package: ${name}\nStatus: install ok installed\nArchitecture: all\nMulti-Arch: foreign\nMaintainer: a <a@b>\nVersion: ${version}\nDescription: a\n`,
    )
    .join('\n');

async function makeDpkgRoot(): Promise<void> {
  const programs = ['dpkg', 'dpkg-deb', 'dpkg-split', 'dpkg-query', 'tar', 'rmdir', 'xargs', 'tail', 'find', 'sort'];
  await makeCleanRoot(root, [...programs, 'ldconfig', 'start-stop-daemon', 'touch', 'diff']);
  for (const name of ['info', 'updates', 'triggers', 'parts']) {
    mkdirSync(join(root, 'var/lib/dpkg', name), { recursive: true });
  }
  writeFileSync(join(root, 'var/lib/dpkg/available'), '');
  writeFileSync(join(root, 'var/lib/dpkg/status'), status(process.versions.node));
}

/** The same package with another version. */
async function newerPackage(): Promise<void> {
  const changed = scratch.at('newer');
  cpSync(unpacked, changed, { recursive: true, verbatimSymlinks: true });
  for (const file of ['DEBIAN/control', 'usr/lib/cfs/package.json']) {
    const text = readFileSync(join(changed, file), 'utf8');
    writeFileSync(join(changed, file), text.replace(/0\.1\.0/, '0.1.1'));
  }
  await succeed(['dpkg-deb', '--root-owner-group', '-Zgzip', '-z1', '-b', changed, join(root, 'srv/newer.deb')]);
}

test('installs without compiler; upgrade and removal leave mounts as they are', async () => {
  await makeDpkgRoot();
  mkdirSync(join(root, 'srv/tree'), { recursive: true });
  for (const name of ['first', 'second', 'third']) writeFileSync(join(root, 'srv/tree', name), `${name} `.repeat(9000));
  cpSync(deb, join(root, 'srv/cfs.deb'));
  await newerPackage();
  const steps = `export PATH=/usr/sbin:/usr/bin
    files() { find / -xdev -path /proc -prune -o -path /dev -prune -o -path /var/lib/dpkg -prune -o \\
      ! -path '/var/log*' ! -path '/srv/*' ! -path '/tmp/*' ! -path '/mnt*' -print | sort; }
    files >/tmp/before
    dpkg -i /srv/cfs.deb >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
    cfs-mkimage --quiet /srv/tree /srv/x.cfs
    cfs-mount --log /tmp/log /srv/x.cfs /mnt
    exec 9</mnt/third
    cmp /mnt/first /srv/tree/first
    echo "served by $(cfs-info mounts --json | grep -o '"release":"[^"]*"')"
    dpkg -i /srv/newer.deb >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
    grep '^/mnt: version' /tmp/said | sed 's/ (pid [0-9]*)//g'
    echo "served by $(cfs-info mounts --json | grep -o '"release":"[^"]*"')"
    cmp /mnt/second /srv/tree/second
    dpkg -r cfs >/tmp/said 2>&1
    grep '^cfs: ' /tmp/said
    [ ! -e /usr/bin/cfs-mount ]
    cmp /dev/fd/9 /srv/tree/third
    exec 9<&-
    cat /mnt/first | cmp - /srv/tree/first
    umount /mnt
    rm -rf /var/lib/cfs/*
    dpkg -P cfs >/tmp/said 2>&1
    files >/tmp/after
    diff /tmp/before /tmp/after
    ! grep -v 'the server died; this one continues' /tmp/log`;
  const { status: code, stdout, stderr } = await runInRoot(root, steps);
  expect({ code, stdout, stderr }).toEqual({
    code: 0,
    stdout: [
      'served by "release":"0.1.0"',
      '/mnt: version 0.1.0 -> 0.1.1',
      'served by "release":"0.1.1"',
      'cfs: mounts go on until they are unmounted, but no server takes over if theirs is killed',
      '',
    ].join('\n'),
    stderr: '',
  });
  expect(existsSync(join(root, 'var/lib/dpkg/info/cfs.list'))).toBe(false);
});
