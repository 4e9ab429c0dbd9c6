/**
 * Paths of images, stores, sources, mount points, keys, logs and lists that are not UTF-8: exact bytes, or an error.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { pathBytes } from '../../src/base/path-text.ts';
import '../../src/system/exact-paths.ts';
import { exactCommand } from '../../src/system/exact-words.ts';
import { MNT_DETACH, umount2 } from '../../src/system/mount-calls.ts';
import { EXIT } from '../../tools/cli.ts';
import { messageOf } from './cli.ts';
import { useScratch } from './harness.ts';
import { HERE, type Outcome, type Place, run } from './run.ts';
import { isAlive, sessionMembers, until } from './system.ts';

const scratch = useScratch();
/** "é" in Latin-1. */
const CAFE = 'caf\udce9';
const CONTENT = Buffer.alloc(5000, 'odd');

const tool = (name: string, args: readonly string[], place: Place = HERE): Promise<Outcome> => {
  const [program, ...words] = place.tool(name, args, scratch.environment) as [string, ...string[]];
  const [exactProgram, exactArgs] = exactCommand(program, words);
  return run([exactProgram, ...exactArgs]);
};

async function json<T>(name: string, args: readonly string[], place: Place = HERE): Promise<T> {
  const { status, stdout, stderr } = await tool(name, args, place);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return JSON.parse(stdout) as T;
}

/** A directory with a source whose name, and whose file's name, are not UTF-8. */
function work(): { at: (name: string) => string; names: () => string[] } {
  const directory = join(scratch.directory('work'), CAFE);
  const at = (name: string): string => join(directory, `${name}-${CAFE}`);
  mkdirSync(at('source'), { recursive: true });
  writeFileSync(join(at('source'), `file-${CAFE}`), CONTENT);
  const names = (): string[] => readdirSync(pathBytes(directory), 'latin1' as BufferEncoding).sort();
  return { at, names };
}

interface Report {
  readonly pid: number;
  readonly mountpoint: string;
  readonly mountpointBase64: string;
}

async function unmounted(mountpoint: string, pid: number): Promise<void> {
  expect(umount2(mountpoint, MNT_DETACH)).toBe(0);
  await until(`the daemon ${pid} ends`, () => !isAlive(pid) && sessionMembers(pid).length === 0);
}

test('packing, registering, signing and checking', async () => {
  const { at, names } = work();
  execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', scratch.at('key.pem')]);
  writeFileSync(at('key'), readFileSync(scratch.at('key.pem')));
  const packed = await json<{ image: string; imageBase64: string }>('cfs-mkimage', [
    ...['--json', '--store', at('store'), '--sign', at('key')],
    ...[at('source'), at('image')],
  ]);
  expect(names()).toEqual(['image-caf\xe9', 'image-caf\xe9.sig', 'key-caf\xe9', 'source-caf\xe9', 'store-caf\xe9']);
  expect(Buffer.from(packed.imageBase64, 'base64')).toEqual(pathBytes(at('image')));
  expect(packed.image.endsWith('/image-caf\\xe9')).toBe(true);
  const [image] = await json<{ pathBase64: string; state: string }[]>('cfs-repo', ['images', '--json', at('store')]);
  expect(image?.state).toBe('there');
  expect(Buffer.from(image?.pathBase64 ?? '', 'base64')).toEqual(pathBytes(at('image')));
  expect(await tool('cfs-repo', ['fsck', at('store')])).toMatchObject({ status: EXIT.ok });
  const { stdout } = await tool('cfs-repo', ['images', at('store')]);
  expect(stdout).toContain('/image-caf\\xe9');
  // a name in the image, in its exact and in its printed form
  for (const name of [`/file-${CAFE}`, '/file-caf\\xe9']) {
    expect(await tool('cfs-info', ['stat', at('image'), name])).toMatchObject({ status: EXIT.ok });
  }
  // two names that node would not distinguish
  await json('cfs-mkimage', ['--json', '--store', at('store'), at('source'), `${at('image')}\udce8`]);
  await json('cfs-mkimage', ['--json', '--store', at('store'), at('source'), `${at('image')}\ufffd`]);
  expect(names().filter((name) => name.startsWith('image'))).toHaveLength(4);
});

test('an IMAGE that is a link to such a path is replaced there', async () => {
  const { at, names } = work();
  writeFileSync(at('image'), '');
  symlinkSync(at('image'), scratch.at('link.cfs'));
  await json('cfs-mkimage', ['--json', '--store', at('store'), at('source'), scratch.at('link.cfs')]);
  expect(names()).toEqual(['image-caf\xe9', 'source-caf\xe9', 'store-caf\xe9']);
  expect(readFileSync(at('image')).length).toBeGreaterThan(0);
});

test('mounting, listing, continuing after a death, upgrading, mounting again from the list', async () => {
  const { at, names } = work();
  execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', scratch.at('key-2.pem')]);
  writeFileSync(at('private'), readFileSync(scratch.at('key-2.pem')));
  writeFileSync(at('key'), execFileSync('openssl', ['pkey', '-in', scratch.at('key-2.pem'), '-pubout']));
  await json('cfs-mkimage', ['--json', '--store', at('store'), '--sign', at('private'), at('source'), at('image')]);
  const mountpoint = at('mnt');
  mkdirSync(mountpoint);
  const read = (): Buffer => readFileSync(join(mountpoint, `file-${CAFE}`));
  let { pid, ...report } = await json<Report>('cfs-mount', [
    ...['--json', '--log', at('log'), '-o', `repo=${at('store')},key=${at('key')}`],
    ...[at('image'), mountpoint],
  ]);
  try {
    expect(Buffer.from(report.mountpointBase64, 'base64')).toEqual(pathBytes(mountpoint));
    expect(read()).toEqual(CONTENT);
    const list = await tool('cfs-info', ['sources', '--json', mountpoint]);
    writeFileSync(at('list'), list.stdout);
    const mounts = await json<{ mountpointBase64?: string; pid: number }[]>('cfs-info', ['mounts', '--json']);
    const own = mounts.find(({ mountpointBase64 }) => mountpointBase64 === report.mountpointBase64);
    expect(own?.pid).toBe(pid);
    process.kill(pid, 'SIGKILL');
    expect(read()).toEqual(CONTENT);
    ({ pid } = (await json<{ to: Report }>('cfs-mount', ['--json', '--upgrade', mountpoint])).to);
    expect(read()).toEqual(CONTENT);
    await unmounted(mountpoint, pid);
    ({ pid } = await json<Report>('cfs-mount', ['--json', '--from', at('list')]));
    expect(read()).toEqual(CONTENT);
    expect(readFileSync(at('log'), 'utf8')).toContain('mnt-caf\\xe9: the server died');
    expect(names().filter((name) => !name.endsWith('-caf\xe9') && !name.endsWith('-caf\xe9.sig'))).toEqual([]);
  } finally {
    await unmounted(mountpoint, pid);
  }
});

test('through fusermount3', async () => {
  const { at } = work();
  await json('cfs-mkimage', ['--json', '--store', at('store'), at('source'), at('image')]);
  const place = scratch.nobody();
  const mountpoint = at('mnt');
  execFileSync(...exactCommandOf('install', ['-d', '-o', '65534', mountpoint]));
  const { pid } = await json<Report>('cfs-mount', ['--json', '--repo', at('store'), at('image'), mountpoint], place);
  const { stdout } = await run(place.command(...exactCommandOf('ls', [mountpoint]).flat()));
  expect(stdout).toContain('file-caf');
  // the helper ends the mount
  process.kill(pid, 'SIGTERM');
  await until(`the daemon ${pid} ends`, () => !isAlive(pid));
  expect(readdirSync(mountpoint)).toEqual([]);
});

const exactCommandOf = (program: string, args: readonly string[]): [string, string[]] => {
  const [exactProgram, exactArgs] = exactCommand(program, args);
  return [exactProgram, [...exactArgs]];
};

test('arguments that a driver does not support are refused', async () => {
  const { at } = work();
  await json('cfs-mkimage', ['--json', '--store', at('store'), at('source'), at('image')]);
  mkdirSync(at('mnt'));
  const outcome = await tool('cfs-mount', [
    ...['-o', 'driver=fuse-native', '--repo', at('store')],
    ...[at('image'), at('mnt')],
  ]);
  expect(messageOf(outcome, EXIT.mount, 'cfs-mount')).toMatch(/mnt-caf\\xe9 with fuse-native: .* UTF-8/);
});

test('without /proc such an argument is refused', async () => {
  const { at } = work();
  const command = HERE.tool('cfs-mkimage', ['--store', at('store'), at('source'), at('image')], scratch.environment);
  const inside = ['--mount', 'sh', '-c', 'mount -t tmpfs none /proc && exec "$@"', 'sh', ...command];
  const [program, args] = exactCommandOf('unshare', inside);
  const outcome = await run([program, ...args]);
  expect(messageOf(outcome, EXIT.usage)).toMatch(/^argument 2 is not UTF-8.*\/proc\/self\/cmdline/);
  expect(existsSync(at('store'))).toBe(false);
});

test('the store of the environment', async () => {
  const { at, names } = work();
  const [program, ...words] = HERE.tool('cfs-mkimage', [at('source'), at('image')], { CFS_STORE: at('store') });
  const [exactProgram, exactArgs] = exactCommandOf(program as string, words);
  expect(await run([exactProgram, ...exactArgs])).toMatchObject({ status: EXIT.ok });
  expect(names()).toEqual(['image-caf\xe9', 'source-caf\xe9', 'store-caf\xe9']);
});

test('a working directory that was removed: absolute paths work, relative ones are refused', async () => {
  const { at } = work();
  const store = at('store');
  await json('cfs-mkimage', ['--json', '--store', store, at('source'), at('image')]);
  const mountpoint = scratch.directory('mnt');
  const gone = scratch.directory('gone');
  const inGone = (name: string, args: readonly string[]): Promise<Outcome> => {
    const script = 'cd "$1" && rmdir "$1"; mkdir "$1.x"; rmdir "$1.x"; shift; exec "$@"';
    if (!existsSync(gone)) mkdirSync(gone);
    const command = ['-c', script, 'sh', gone, ...HERE.tool(name, args, scratch.environment)];
    const [program, words] = exactCommandOf('sh', command);
    return run([program, ...words]);
  };
  expect(await inGone('cfs-mkimage', ['--store', store, at('source'), at('again')])).toMatchObject({ status: EXIT.ok });
  const { status, stdout } = await inGone('cfs-mount', ['--json', '--repo', store, at('image'), mountpoint]);
  expect(status).toBe(EXIT.ok);
  const { pid } = JSON.parse(stdout) as Report;
  try {
    expect(await inGone('cfs-info', ['where', `${mountpoint}/file-${CAFE}`])).toMatchObject({ status: EXIT.ok });
    expect(await inGone('cfs-repo', ['fsck', store])).toMatchObject({ status: EXIT.ok });
  } finally {
    await unmounted(mountpoint, pid);
  }
  expect(messageOf(await inGone('cfs-mkimage', ['--store', 'st', at('source'), at('again')]), EXIT.usage)).toBe(
    'Cannot determine the working directory: it was removed. Use absolute paths, or change to another directory.',
  );
  expect((await inGone('cfs-mkimage', ['--store', store, 'src', at('again')])).status).toBe(EXIT.source);
});
