/**
 * Containers: crun with its root on a writable mount; upper layers that podman has made, real ones, through the overlay
 * of the kernel and through fuse-overlayfs. Docker makes the same directories (`diff`, `work`, `link`, `lower`) in the
 * same way. All of it needs root and no network. Only in `make test-posix`, which installs the programs.
 */
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { debianTree } from '../e2e/debian.ts';
import { useScratch } from '../e2e/harness.ts';
import { useOverlays } from '../e2e/overlay.ts';
import { HERE, NOBODY, type Place, succeed } from '../e2e/run.ts';
import { SECONDS } from './duration.ts';
import { lookWithoutIds } from './layer-views.ts';
import { differences, type View } from './look.ts';
import { allowedOn } from './model/known-differences.ts';
import { MAKE_SITE, type Site } from './sites.ts';

const scratch = useScratch();
const overlayOn = useOverlays(scratch);

const HERE_SCRIPTS = join(import.meta.dirname, 'process');
const script = (name: string, ...args: readonly string[]): Promise<string> =>
  succeed(['bash', join(HERE_SCRIPTS, 'container.sh'), join(HERE_SCRIPTS, name), name, ...args], {
    timeoutMs: 540_000,
  });

const sites: Site[] = [];
afterEach(async () => {
  for (const site of sites.splice(0)) await site.end();
});

/** Changes of packages without a network: one is built, installed, upgraded and removed. */
const PACKAGES = `
  mkdir -p /root/build/made/DEBIAN /root/build/made/usr/share/made /root/build/made/usr/bin
  cd /root/build
  printf '#!/bin/sh\\necho made\\n' > made/usr/bin/made
  chmod 4755 made/usr/bin/made
  for i in 1 2 3 4 5 6 7 8 9; do echo $i > made/usr/share/made/$i; done
  for version in 1 2; do
    printf 'Package: made\\nVersion: %s\\nArchitecture: all\\nMaintainer: nobody\\nDescription: made\\n' $version \\
      > made/DEBIAN/control
    dpkg-deb --root-owner-group -b made made-$version.deb > /dev/null
    rm made/usr/share/made/1 || true
  done
  dpkg -i made-1.deb > /dev/null
  test "$(made)" = made
  test -e /usr/share/made/1
  dpkg -i made-2.deb > /dev/null
  test ! -e /usr/share/made/1
  dpkg -V made
  dpkg --purge made > /dev/null
  test ! -e /usr/share/made
  dpkg -i made-1.deb > /dev/null
  rm -r /usr/share/doc
  mkdir /usr/share/doc
  mv /usr/share/perl /usr/share/moved
  mv /usr/share/moved /usr/share/perl
  perl -MFile::Find -e 1
  chown -R 1000:1000 /root/build
  echo 'it is done'`;

describe.runIf(SECONDS > 0)('a container of crun with a writable mount as its root', () => {
  test('changes packages and trees, and everything is the same after a remount', async () => {
    const site = await MAKE_SITE.cfs(scratch, await debianTree());
    sites.push(site);
    const out = await script('crun.sh', site.root, scratch.directory('bundle'), PACKAGES);
    expect(out).toMatch(/it is done\n$/);
    const changed = ['usr/share/made', 'usr/bin', 'usr/share/perl', 'usr/share/doc', 'root', 'var/lib/dpkg', 'etc'];
    const views = (): Map<string, View>[] => changed.map((name) => lookWithoutIds(join(site.root, name)));
    const before = views();
    await site.remount();
    for (const [i, after] of views().entries()) expect(differences(before[i] as Map<string, View>, after)).toEqual([]);
    const again = await script('crun.sh', site.root, scratch.directory('bundle'), 'dpkg -V made; made');
    expect(again).toBe('made\n');
  });
});

/** A root file system with busybox, and files to change. */
function makeTree(root: string): void {
  for (const name of ['bin', 'etc', 'usr/share/doc/below', 'proc', 'sys', 'dev', 'tmp', 'run']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const name of ['sh', 'cat', 'chmod', 'chown', 'ln', 'mkdir', 'mv', 'rm', 'test', 'touch']) {
    symlinkSync('busybox', join(root, 'bin', name));
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  for (const name of ['one', 'two', 'three', 'four', 'below/five']) {
    writeFileSync(join(root, 'usr/share/doc', name), `${name} of the image\n`);
  }
  linkSync(join(root, 'usr/share/doc/four'), join(root, 'etc/linked'));
}

/** Changes of each kind, in a container. */
const CHANGES = `
  echo new > /new; echo more >> /etc/passwd; rm /usr/share/doc/one; chmod 600 /usr/share/doc/two
  mv /usr/share/doc/three /three; chown 5:6 /three; ln /three /linked; ln -s /three /symlink
  rm -r /usr/share/doc/below; mkdir /usr/share/doc/below; echo below > /usr/share/doc/below/new
  mkdir /usr/fresh; touch /usr/fresh/file; echo more >> /etc/linked; mv /tmp /moved; mkdir /tmp`;

/** Changes through cfs, and what must be there afterwards. */
function changeThroughCfs(root: string): void {
  const at = (name: string): string => join(root, name);
  writeFileSync(at('from-cfs'), 'from cfs\n');
  appendFileSync(at('usr/share/doc/two'), 'and of cfs\n');
  unlinkSync(at('new'));
  renameSync(at('three'), at('usr/share/doc/one'));
  rmSync(at('usr/share/doc/below'), { recursive: true });
  mkdirSync(at('usr/share/doc/below'));
  writeFileSync(at('usr/share/doc/below/newer'), 'newer\n');
  chmodSync(at('etc/passwd'), 0o640);
  linkSync(at('usr/fresh/file'), at('usr/fresh/link'));
}

/** The directories of a container. */
interface Container {
  readonly upper: string;
  readonly work: string;
  readonly lowers: readonly string[];
}

/** As podman mounts it: without an index and redirects. */
const PODMAN = ['index=off', 'redirect_dir=off', 'metacopy=off'];

describe.runIf(SECONDS > 0)('an upper layer of podman', () => {
  let directory: string;

  beforeAll(async () => {
    directory = scratch.directory('podman');
    const tree = scratch.directory('tree');
    makeTree(tree);
    await succeed(['tar', '-C', tree, '-cf', join(directory, 'tree.tar'), '.']);
    const lines = `
      cd "${directory}"
      pod import -q tree.tar base
      pod run --name first base /bin/sh -ec 'echo layer > /layer; rm /usr/share/doc/four; mv /etc/linked /etc/linked2'
      pod commit -q first second
      pod rm first`;
    await script('podman.sh', directory, lines);
  });

  /** Runs a container. @param options of podman run. Returns its directories. */
  async function container(name: string, image: string, options: string, command: string): Promise<Container> {
    const data = (key: string): string => `{{.GraphDriver.Data.${key}}}`;
    const lines = `
      pod run --name ${name} ${options} ${image} /bin/sh -ec "$(cat "${directory}/command")" >&2
      pod inspect --format '${['UpperDir', 'WorkDir', 'LowerDir'].map(data).join('\n')}' ${name}`;
    writeFileSync(join(directory, 'command'), command);
    const [upper = '', work = '', lowers = ''] = (await script('podman.sh', directory, lines)).trim().split('\n');
    expect(readFileSync(join(upper, '../lower'), 'utf8')).toMatch(/^l\//);
    return { upper, work, lowers: lowers.split(':') };
  }

  /** What overlayfs shows of it. */
  async function throughOverlay({ upper, lowers }: Container): Promise<Map<string, View>> {
    const layers = scratch.directory('layers');
    symlinkSync(upper, join(layers, 'upper'));
    symlinkSync(join(upper, '../work'), join(layers, 'work'));
    const overlay = await overlayOn(lowers, layers, PODMAN);
    const views = lookWithoutIds(overlay.at);
    await overlay.unmount();
    return views;
  }

  /** An image of the lower layers together. */
  async function imageOf({ lowers }: Container): Promise<string> {
    const at = scratch.directory('lower');
    if (lowers.length === 1) return (await scratch.pack(lowers[0] as string)).image;
    await succeed(['mount', '-t', 'overlay', 'overlay', '-o', `lowerdir=${lowers.join(':')}`, at]);
    try {
      return (await scratch.pack(at)).image;
    } finally {
      await succeed(['umount', at]);
    }
  }

  const wordsOf = ({ upper, work }: Container): string[] => [
    `upperdir=${upper}`,
    `workdir=${work}`,
    'suid',
    'dev',
    ...PODMAN,
  ];

  /** `left` with what `right` has, but for known differences. */
  const differ = (left: Map<string, View>, right: Map<string, View>): string[] =>
    differences(left, right, (field, a, b) => allowedOn('overlayfs')(field, a, b) || allowedOn('cfs')(field, a, b));

  test.each([
    ['one lower layer', 'base', ''],
    ['two lower layers', 'second', ''],
    ['shifted users', 'base', '--uidmap 0:100000:65536'],
  ])('over %s is the same through cfs, and podman goes on with what cfs changed', async (name, image, options) => {
    const id = name.replaceAll(' ', '-');
    const missing = image === 'second' ? 'echo more > /etc/linked' : 'true';
    const command = `${missing}; if test -e /from-cfs; then cat /from-cfs > /seen; else ${CHANGES}; fi`;
    const made = await container(id, image, options, command);
    const expected = await throughOverlay(made);
    expect(expected.has('usr/share/doc/below/new')).toBe(true);
    const packed = await imageOf(made);
    const mounted = await scratch.mount(packed, { words: wordsOf(made) });
    expect(differ(expected, lookWithoutIds(mounted.path))).toEqual([]);
    changeThroughCfs(mounted.path);
    const changed = lookWithoutIds(mounted.path);
    await mounted.unmount();
    expect(differ(changed, await throughOverlay(made))).toEqual([]);
    await script('podman.sh', directory, `pod start -a ${id}`);
    const again = await scratch.mount(packed, { words: wordsOf(made) });
    expect(readFileSync(again.at('seen'), 'utf8')).toBe('from cfs\n');
    const last = lookWithoutIds(again.path);
    await again.unmount();
    expect(differ(last, await throughOverlay(made))).toEqual([]);
  });
});

describe.runIf(SECONDS > 0)('an upper layer of fuse-overlayfs', () => {
  /** Names, attributes and contents, without the files with which it marks opaque directories. */
  const listing = (place: Place, root: string): Promise<string> =>
    succeed(
      place.command(
        'sh',
        '-ec',
        `cd "$1"; find . ! -name '.wh.*' ! -type d -printf '%P %y %m %U %G %n %s %l\\n' | sort
         find . -type d -printf '%P %m %U %G\\n' | sort
         find . -type f ! -name '.wh.*' -print0 | sort -z | xargs -0 sha1sum`,
        'sh',
        root,
      ),
    );

  test.each(['root', 'an ordinary user'])('of %s is the same through cfs', async (user) => {
    const isRoot = user === 'root';
    const [tree, layers, at] = [scratch.directory('tree'), scratch.directory('layers'), scratch.directory('merged')];
    makeTree(tree);
    const { image } = await scratch.pack(tree);
    await succeed(['chmod', '644', image]);
    const place = isRoot ? HERE : await scratch.namespaceOfNobody();
    // in the namespace this is root, to whom the files of the image belong
    if (!isRoot) await succeed(['chown', '-R', `${NOBODY}:${NOBODY}`, tree, layers, at]);
    await succeed(place.command('mkdir', join(layers, 'upper'), join(layers, 'work')));
    const options = `lowerdir=${tree},upperdir=${layers}/upper,workdir=${layers}/work`;
    await succeed(place.command('fuse-overlayfs', '-o', options, at));
    // it keeps hard links of the lower layer together in memory only; and here is no chown to other users
    const changes = CHANGES.replaceAll(/(^|[ ;>])\/(?=[a-z])/gm, '$1')
      .replace('chown 5:6 three;', '')
      .replace('echo more >> etc/linked;', '');
    let expected: string;
    try {
      await succeed(place.command('sh', '-ec', `cd "$1"; ${changes}`, 'sh', at));
      expected = await listing(place, at);
    } finally {
      await succeed(place.command('umount', at));
    }
    expect(expected).toMatch(/^usr\/share\/doc\/below\/new /m);
    const words = [`upperdir=${layers}/upper`, `workdir=${layers}/work`, ...(isRoot ? [] : ['userxattr'])];
    const mounted = await scratch.mount(image, { place, words });
    expect(await listing(place, mounted.path)).toBe(expected);
    await succeed(place.command('rm', '-r', mounted.at('usr/share/doc/below')));
    await succeed(place.command('mkdir', mounted.at('usr/share/doc/below')));
    expect(await succeed(place.command('ls', '-A', mounted.at('usr/share/doc/below')))).toBe('');
  });
});
