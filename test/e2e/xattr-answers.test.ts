/** The answers to tools and ordinary users that ask for xattrs: as on other file systems. */
import { chmodSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { asUser, NOBODY, run, succeed } from './run.ts';

const scratch = useScratch();
let plain: string;
let attributed: string;

beforeAll(async () => {
  const source = scratch.directory('plain');
  writeFileSync(join(source, 'file'), Buffer.alloc(5000, 'x'));
  plain = (await scratch.pack(source)).image;
  const other = scratch.directory('attributed');
  chmodSync(other, 0o755);
  for (const name of ['aaa-private', 'public']) mkdirSync(join(other, name));
  chmodSync(join(other, 'public'), 0o755);
  writeFileSync(join(other, 'aaa-private/secret'), Buffer.alloc(5000, 's'));
  linkSync(join(other, 'aaa-private/secret'), join(other, 'public/shown'));
  chmodSync(join(other, 'aaa-private'), 0o700);
  writeFileSync(join(other, 'file'), 'x');
  for (const name of ['trusted.a', 'trusted.overlay.redirect', 'user.a', 'user.overlay.opaque']) {
    await succeed(['setfattr', '-n', name, '-v', '1', join(other, 'file')]);
  }
  attributed = (await scratch.pack(other)).image;
});

const namesFor = async (path: string, prefix: readonly string[] = []): Promise<string[]> => {
  const { status, stdout, stderr } = await run([...prefix, 'getfattr', '--absolute-names', '-d', '-m', '-', path]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return [...stdout.matchAll(/^([^#=\n]+)=/gm)].map((match) => match[1] as string).sort();
};

describe.each(['driver=kernel', 'verify=read', 'driver=fuse-native'])('with %s', (word) => {
  test('tools find no attribute if there is none, and print nothing', async () => {
    const mounted = await scratch.mount(plain, { words: [word] });
    const file = mounted.at('file');
    const out = scratch.directory('out');
    for (const command of [
      ['getfattr', '-d', '-m', '-', file],
      ['tar', '--xattrs', '--acls', '-C', mounted.path, '-cf', join(out, 't.tar'), '.'],
      ['cp', '-a', file, join(out, 'copy')],
      ['cp', '--preserve=xattr', file, join(out, 'second')],
      ['getfacl', '-R', '-s', '-p', mounted.path],
      ['ls', '-lR', mounted.path],
    ]) {
      const { status, stderr } = await run(command);
      expect({ command, status, stderr }).toEqual({ command, status: 0, stderr: '' });
    }
    expect(await namesFor(file)).toEqual([]);
  });

  test('nooverlayxattr hides attributes that an overlayfs would obey', async () => {
    const open = await scratch.mount(attributed, { words: [word] });
    expect(await namesFor(open.at('file'))).toContain('trusted.overlay.redirect');
    const mounted = await scratch.mount(attributed, { words: [word, 'nooverlayxattr'] });
    expect(await namesFor(mounted.at('file'))).toEqual(['trusted.a', 'user.a']);
    const asked = await run(['getfattr', '-n', 'trusted.overlay.redirect', mounted.at('file')]);
    expect(asked.stderr).toContain('No such attribute');
  });

  test('an ordinary user does not learn the name of a file in a directory that is closed to him', async () => {
    const mounted = await scratch.mount(attributed, { words: [word] });
    const ask = ['getfattr', '--only-values', '-n', 'user.cfs.file', mounted.at('public/shown')];
    expect(await succeed([...asUser(NOBODY), ...ask])).not.toContain('secret');
    const { status, stdout } = await scratch.tool('cfs-info', ['where', mounted.at('public/shown')], scratch.nobody());
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringContaining('in a directory that you may not'),
    });
    expect(stdout).not.toContain('secret');
  });
});

test('trusted names are listed only for users that may read them', async () => {
  const mounted = await scratch.mount(attributed);
  expect(await namesFor(mounted.at('file'))).toEqual([
    'trusted.a',
    'trusted.overlay.redirect',
    'user.a',
    'user.overlay.opaque',
  ]);
  const own = ['user.a', 'user.overlay.opaque'];
  expect(await namesFor(mounted.at('file'), asUser(NOBODY))).toEqual(own);
  expect(await namesFor(mounted.at('file'), ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-all'])).toEqual(
    own,
  );
  expect(await namesFor(mounted.at('file'), ['unshare', '--user', '--map-root-user'])).toEqual(own);
});
