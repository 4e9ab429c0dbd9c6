/** The process behind a mount: what it holds, and what it survives. */
import {
  closeSync,
  constants,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { expectEqual, useScratch } from './harness.ts';
import { HERE, type Place, run, succeed } from './run.ts';
import { descriptors, dropCaches, isAlive, mountedAt, openObjects, sessionMembers, until } from './system.ts';

const scratch = useScratch();
const FILES = 3000;
const LARGE = 3_000_000;

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, `file-${i}`), `${i}`.padStart(100, 'x'));
  writeFileSync(join(source, 'large'), Buffer.alloc(LARGE, 'large file '));
  image = (await scratch.pack(source)).image;
});

describe.each(['kernel', 'fuse-native'])('the daemon, driver=%s', (driver) => {
  const words = [`driver=${driver}`];

  test('answers as soon as cfs-mount returns', async () => {
    for (let i = 0; i < 3; i++) {
      const { path } = await scratch.mount(image, { words });
      expect(readFileSync(join(path, 'file-7'), 'utf8')).toBe('7'.padStart(100, 'x'));
    }
  });

  test('leads its own session, and keeps nothing of its starter: no directory, no pipe, no terminal', async () => {
    const directory = scratch.directory('starter');
    const at = scratch.directory('mnt');
    const command = HERE.tool(
      'cfs-mount',
      ['--json', ...words.flatMap((word) => ['-o', word]), image, at],
      scratch.environment,
    );
    // `run` waits for the end of the output: a daemon that held the pipe would keep it open
    const { stdout } = await run(command, { cwd: directory });
    const { pid } = scratch.adopt(JSON.parse(stdout));
    expect(sessionMembers(pid)).toContain(pid);
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe('/');
    for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toBe('/dev/null');
    rmSync(directory, { recursive: true });
    const piped = await succeed([
      'sh',
      '-c',
      '"$@" 2>&1 | cat',
      'sh',
      ...HERE.tool('cfs-mount', ['--json', image, scratch.directory('mnt')], scratch.environment),
    ]);
    scratch.adopt(JSON.parse(piped));
  });

  test('continues when the image and the log are removed or replaced', async () => {
    const copy = scratch.at(`copy-${driver}.cfs`);
    copyFileSync(image, copy);
    const log = scratch.at(`log-${driver}`);
    const removed = await scratch.mount(copy, { words, args: ['--log', log] });
    rmSync(copy);
    rmSync(log, { force: true });
    dropCaches();
    await expectEqual(source, removed.path, { ignore: ['mtimeNsec'] });
    writeFileSync(copy, 'no image at all');
    dropCaches();
    await expectEqual(source, removed.path, { ignore: ['mtimeNsec'] });
    await removed.unmount();
  });

  test('holds no descriptor after thousands of files were opened and closed', async () => {
    const mounted = await scratch.mount(image, { words });
    const readAll = (): Promise<string> =>
      succeed(['sh', '-c', 'cd "$1" && cat file-* large | sha256sum', 'sh', mounted.path]);
    await readAll();
    dropCaches();
    await readAll();
    // the RELEASE may arrive after the reader has ended
    await until('the descriptors are closed', () => openObjects(mounted.pid) === 0);
    expect(descriptors(mounted.pid).length).toBeLessThan(100);
  });

  test('keeps many files open at once, and closes them all', async () => {
    const mounted = await scratch.mount(image, { words });
    const fds = Array.from({ length: 800 }, (_, i) => openSync(mounted.at(`file-${i}`), 'r'));
    try {
      fds.forEach((fd, i) => {
        const buffer = Buffer.alloc(200);
        expect(buffer.toString('utf8', 0, readSync(fd, buffer))).toBe(`${i}`.padStart(100, 'x'));
      });
    } finally {
      for (const fd of fds) closeSync(fd);
    }
    await until('the descriptors are closed', () => openObjects(mounted.pid) === 0);
  });

  test('serves processes that still have it open after umount -l, then ends', async () => {
    const mounted = await scratch.mount(image, { words });
    const file = await open(mounted.at('large'), 'r');
    const directory = openSync(mounted.path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await succeed(['umount', '-l', mounted.path]);
      expect(mounted.isMounted).toBe(false);
      expect(readdirSync(mounted.path)).toEqual([]);
      dropCaches();
      expect((await file.readFile()).equals(readFileSync(join(source, 'large')))).toBe(true);
      // a name that was never looked up: only the daemon knows it
      expect(readFileSync(`/proc/self/fd/${directory}/file-2999`, 'utf8')).toBe('2999'.padStart(100, 'x'));
      expect(readdirSync(`/proc/self/fd/${directory}`)).toHaveLength(FILES + 1);
      expect(isAlive(mounted.pid)).toBe(true);
    } finally {
      await file.close();
      closeSync(directory);
    }
    await mounted.expectGone();
  });

  test('continues when umount reports it busy', async () => {
    const mounted = await scratch.mount(image, { words });
    const fd = openSync(mounted.at('file-1'), 'r');
    try {
      expect((await run(['umount', mounted.path])).stderr).toContain('busy');
      expect(readFileSync(mounted.at('file-2'), 'utf8')).toBe('2'.padStart(100, 'x'));
    } finally {
      closeSync(fd);
    }
    await mounted.unmount();
  });
});

test('the daemon of a user namespace holds no descriptor of closed files, either', async () => {
  const place: Place = await scratch.namespace('user namespace');
  const mounted = await scratch.mount(image, { place });
  const readAll = (): Promise<string> =>
    succeed(place.command('sh', '-c', 'cd "$1" && cat file-* large | sha256sum', 'sh', mounted.path));
  const first = await readAll();
  dropCaches();
  expect(await readAll()).toBe(first);
  await until('the descriptors are closed', () => openObjects(mounted.pid) === 0);
  expect(descriptors(mounted.pid).length).toBeLessThan(100);
  expect(mountedAt(mounted.path)).toBeUndefined();
});
