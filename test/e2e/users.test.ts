/** Mounting without privileges: in a user namespace, and through fusermount3. */
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ComparedField } from '../../tools/compare/compare.ts';
import { generateTree } from '../support/tree-generator.ts';
import { expectEqual, type Mounted, useScratch } from './harness.ts';
import { asUser, HERE, NOBODY, type Place, run, succeed } from './run.ts';
import { isAlive, mountedAt, until } from './system.ts';

const scratch = useScratch();

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.at('source');
  generateTree(source, { seed: 11, files: 100, directories: 10, hugeDirectory: 300 });
  // files that the user nobody may not read
  writeFileSync(join(source, 'closed'), 'for root only\n', { mode: 0o600 });
  writeFileSync(join(source, 'of-another'), 'for another\n', { mode: 0o600 });
  chownSync(join(source, 'of-another'), 1000, 1000);
  image = (await scratch.pack(source)).image;
  chmodSync(image, 0o644);
});

/**
 * Expects that the part of the mount that everybody may read equals the source. In a namespace of the user nobody, the
 * image's root is the namespace's root, and the source's root is nobody: owners are not compared.
 */
async function expectReadable(mounted: Mounted, ignore: readonly ComparedField[]): Promise<void> {
  const { entries } = await expectEqual(join(source, 'huge'), mounted.at('huge'), { place: mounted.place, ignore });
  expect(entries).toBe(301);
}

describe.each([
  { title: 'root in a user namespace', namespace: () => scratch.namespace('namespace of root') },
  { title: 'nobody in a user namespace', namespace: () => scratch.namespaceOfNobody() },
])('cfs-mount as $title', ({ namespace }) => {
  let place: Place;
  let mounted: Mounted;

  beforeAll(async () => {
    place = await namespace();
    mounted = await scratch.mount(image, { place });
  });

  test('mounts without passthrough, only in that namespace', () => {
    expect(mounted.report).toMatchObject({ driver: 'kernel', passthrough: false });
    expect(mountedAt(mounted.path, place.witness)).toMatchObject({ type: 'fuse.cfs', source: image });
    expect(mountedAt(mounted.path)).toBeUndefined();
  });

  test('serves the tree', async () => {
    await expectReadable(mounted, ['uid', 'gid']);
  });

  test('lets umount end it', async () => {
    const other = await scratch.mount(image, { place });
    await other.unmount();
  });

  test('ends on SIGTERM', async () => {
    const other = await scratch.mount(image, { place });
    process.kill(other.pid, 'SIGTERM');
    await other.expectGone();
  });
});

test('a mount of root in a user namespace equals its source, field by field', async () => {
  const place = await scratch.namespace('another namespace of root');
  const mounted = await scratch.mount(image, { place });
  for (const part of ['huge', 'tree']) await expectEqual(join(source, part), mounted.at(part), { place });
});

test('a mount of nobody in a user namespace has the owners of that namespace', async () => {
  const place = await scratch.namespaceOfNobody();
  const mounted = await scratch.mount(image, { place });
  const stat = ['stat', '--format=%u %a', mounted.at('closed'), mounted.at('of-another')];
  // 0 is root of the namespace; a user without an id in the namespace shows as nobody
  expect(await succeed(place.command(...stat))).toBe(`0 600\n${NOBODY} 600\n`);
  expect(await succeed(place.command('cat', mounted.at('closed')))).toBe('for root only\n');
  const { status, stderr } = await run(place.command('cat', mounted.at('of-another')));
  expect([status, stderr]).toEqual([1, expect.stringContaining('Permission denied')]);
});

test('a daemon in a user namespace ends with the last process that sees its mount', async () => {
  const at = scratch.directory('mnt');
  const mount = scratch.nobody().tool('cfs-mount', ['--json', '--repo', scratch.store, image, at], scratch.environment);
  // after the prefix of nobody comes unshare, which runs the tool and then a reader
  const user = asUser(NOBODY);
  const inside = ['sh', '-c', '"$@" && cat "$0/huge/"* | sha256sum', at, ...mount.slice(user.length)];
  const stdout = await succeed([...user, 'unshare', '-Urm', ...inside]);
  const [json = '', digest] = stdout.split('\n');
  expect(digest).toBe((await succeed(['sh', '-c', 'cat "$0/huge/"* | sha256sum', join(source)])).trim());
  const { pid } = JSON.parse(json) as { pid: number };
  // only its root directory and working directory hold the namespace
  if (isAlive(pid)) process.kill(pid, 'SIGTERM');
  await until('the daemon ends', () => !isAlive(pid));
});

describe.each(['kernel', 'fuse-native'])('cfs-mount as an ordinary user through fusermount3, driver=%s', (driver) => {
  const words = [`driver=${driver}`];

  /** A directory on which the user nobody may mount. */
  function ownMountpoint(): string {
    const at = scratch.directory('mnt');
    chownSync(at, NOBODY, NOBODY);
    return at;
  }

  test('mounts for that user alone', async () => {
    const place = scratch.nobody();
    const mounted = await scratch.mount(image, { place, words, at: ownMountpoint(), helper: true });
    expect(mounted.report.passthrough).toBe(false);
    expect(mountedAt(mounted.path)).toMatchObject({ type: 'fuse.cfs', source: image });
    const options = mountedAt(mounted.path)?.options.split(',');
    expect(options).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev']));
    await expectReadable(mounted, driver === 'kernel' ? [] : ['mtimeNsec']);
    const closed = await run(place.command('cat', mounted.at('closed')));
    expect(closed.stderr).toContain('Permission denied');
    // FUSE denies even root access to the mount of a user (fs/fuse/dir.c, fuse_allow_current_process)
    expect((await run(['ls', mounted.path])).stderr).toContain('Permission denied');
    await mounted.unmount();
  });

  test('unmounts through fusermount3 on SIGTERM', async () => {
    const place = scratch.nobody();
    const mounted = await scratch.mount(image, { place, words, at: ownMountpoint(), helper: true });
    process.kill(mounted.pid, 'SIGTERM');
    await mounted.expectGone();
  });

  test('reports the reason if fusermount3 refuses', async () => {
    const place = scratch.nobody();
    const at = scratch.directory('mnt of root');
    const refused = await scratch.tryMount(image, { place, words, at });
    expect(refused.status).toBe(32);
    expect(refused.stderr).toContain(at);
    expect(mountedAt(at)).toBeUndefined();
    if (readFileSync('/etc/fuse.conf', 'utf8').match(/^user_allow_other$/m)) return;
    const other = ownMountpoint();
    const forAll = await scratch.tryMount(image, { place, words: [...words, 'allow_other'], at: other });
    expect(forAll.status).toBe(32);
    expect(forAll.stderr).toContain('allow_other');
    expect(mountedAt(other)).toBeUndefined();
  });

  test('silently refuses suid and dev: fusermount3 never allows them to a user', async () => {
    const place = scratch.nobody();
    const outcome = await scratch.tryMount(image, { place, words: [...words, 'suid', 'dev'], at: ownMountpoint() });
    if (outcome.status === 0) {
      const mounted = scratch.adopt(JSON.parse(outcome.stdout), { place, helper: true });
      const options = mountedAt(mounted.path)?.options.split(',');
      expect(options).toEqual(expect.arrayContaining(['nosuid', 'nodev']));
    } else expect(outcome.status).toBe(32);
  });
});

test('an ordinary user’s default store is in $XDG_DATA_HOME', async () => {
  const place = scratch.nobody();
  const home = scratch.directory('home');
  chownSync(home, NOBODY, NOBODY);
  const tree = join(home, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'file'), 'of nobody\n'.repeat(100));
  const env = { TMPDIR: scratch.temporary, XDG_DATA_HOME: home };
  await succeed(place.tool('cfs-mkimage', ['--quiet', '--no-fsync', tree, join(home, 'i.cfs')], env));
  const at = join(home, 'mnt');
  mkdirSync(at);
  chownSync(at, NOBODY, NOBODY);
  const stdout = await succeed(place.tool('cfs-mount', ['--json', join(home, 'i.cfs'), at], env));
  const mounted = scratch.adopt(JSON.parse(stdout), { place, helper: true });
  expect(await succeed(place.command('cat', mounted.at('file')))).toBe('of nobody\n'.repeat(100));
});

test('a user that is root in a namespace has the same store as outside it', async () => {
  const place = scratch.nobody();
  const home = scratch.directory('home');
  chownSync(home, NOBODY, NOBODY);
  const env = { TMPDIR: scratch.temporary, HOME: home };
  const tree = scratch.directory('tree');
  writeFileSync(join(tree, 'file'), 'of nobody\n'.repeat(100));
  const packed = join(home, 'i.cfs');
  await succeed(place.tool('cfs-mkimage', ['--quiet', '--no-fsync', tree, packed], env));
  await succeed(place.tool('cfs-repo', ['stat', join(home, '.local/share/cfs')], env));
  const mnt = scratch.directory('mnt');
  // as in the examples of cfs-mount --help
  const [cfsMount, info] = [
    place.tool('cfs-mount', [packed, mnt], env),
    place.tool('cfs-info', ['missing', packed], env),
  ];
  const user = asUser(NOBODY).length;
  const script = '"$@" && cat "$0/file" && umount "$0"';
  const mounting = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, mnt];
  expect(await succeed(place.command(...mounting, ...cfsMount.slice(user)))).toBe('of nobody\n'.repeat(100));
  expect(await succeed(place.command('unshare', '--user', '--map-root-user', ...info.slice(user)))).toBe('');
  // also a namespace in a namespace
  const twice = ['unshare', '--user', '--map-root-user', 'unshare', '--user', '--map-root-user'];
  expect(await succeed(place.command(...twice, ...info.slice(user)))).toBe('');
});

test('root in a namespace of root, too, has the store of root', async () => {
  const outside = await run(HERE.tool('cfs-info', ['missing', image]));
  const inside = await run(['unshare', '--user', '--map-root-user', ...HERE.tool('cfs-info', ['missing', image])]);
  expect(inside).toEqual(outside);
  expect(outside.stderr).toContain('/var/lib/cfs');
});
