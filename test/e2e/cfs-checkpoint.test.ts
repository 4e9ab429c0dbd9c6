/** cfs-checkpoint: watched files get their paths back; the files in use are listed, and compared before a restore. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { formatHandle } from '../../src/base/handle-format.ts';
import { parseSavedFiles, type SavedFile } from '../../src/checkpoint/saved-files.ts';
import { parseWatches, type Watch } from '../../src/checkpoint/watches.ts';
import { parseSavedSources } from '../../src/mount-info/saved-sources.ts';
import { openByHandle } from '../../src/system/file-handle.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { EXIT } from '../../tools/cli.ts';
import { messageOf } from './cli.ts';
import { type Mounted, type Packed, useScratch } from './harness.ts';
import { FAN_CLOSE_NOWRITE, FAN_MARK_INODE, FAN_REPORT_FID, Fanotify, IN_CLOSE_NOWRITE, Inotify } from './notify.ts';
import { type Outcome, succeed } from './run.ts';
import { dropCaches, isAlive, unmountBy, until } from './system.ts';

const scratch = useScratch();
const source = scratch.at('source');
const WATCHED = ['directory', 'directory/small', 'large', 'inline', 'empty', 'a\nname'];
let packed: Packed;

beforeAll(async () => {
  mkdirSync(join(source, 'directory'), { recursive: true });
  writeFileSync(join(source, 'large'), Buffer.alloc(300_000, 'large'));
  writeFileSync(join(source, 'directory/small'), Buffer.alloc(5000, 'small'));
  writeFileSync(join(source, 'inline'), 'inline');
  writeFileSync(join(source, 'empty'), '');
  writeFileSync(join(source, 'a\nname'), Buffer.alloc(3000, 'name'));
  copyFileSync('/bin/sleep', join(source, 'program'));
  chmodSync(join(source, 'program'), 0o755);
  packed = await scratch.pack(source);
});

const fds: number[] = [];
const children: ChildProcess[] = [];
const dumps: string[] = [];
afterEach(async () => {
  for (const dump of dumps.splice(0)) await checkpoint('release', '-D', dump);
  for (const fd of fds.splice(0)) closeSync(fd);
  for (const child of children.splice(0)) {
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    process.kill(-(child.pid as number), 'SIGKILL'); // with all processes that it started
    await ended;
  }
});

function kept(fd: number): number {
  fds.push(fd);
  return fd;
}

/** A descriptor that watches these paths until the end of the test. */
function watchByInotify(paths: readonly string[]): number {
  const inotify = new Inotify();
  for (const path of paths) inotify.watch(path, IN_CLOSE_NOWRITE);
  return kept(inotify.fd);
}

function watchByFanotify(paths: readonly string[]): number {
  const fanotify = new Fanotify(FAN_REPORT_FID);
  for (const path of paths) expect(fanotify.mark(path, FAN_MARK_INODE, FAN_CLOSE_NOWRITE)).toBe('ok');
  return kept(fanotify.fd);
}

/** A process that runs until the end of the test; its first line of output says that it is ready. */
async function started(command: readonly string[], cwd: string): Promise<number> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { cwd, stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  children.push(child);
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child.pid as number;
}

const checkpoint = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-checkpoint', args);

interface Prepared {
  readonly mountpoint: string;
  readonly processes: readonly number[];
  readonly files: number;
  readonly watched: number;
  readonly holder?: number;
  readonly sourceList: string;
  readonly fileList: string;
}

/** A run of prepare that must succeed. */
async function prepared(dump: string, mounted: Mounted, ...pids: readonly number[]): Promise<Prepared> {
  const { status, stdout, stderr } = await checkpoint(
    'prepare',
    '--json',
    '-D',
    dump,
    mounted.path,
    ...pids.map(String),
  );
  dumps.push(dump);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as Prepared;
}

const savedFiles = (dump: string): readonly SavedFile[] =>
  parseSavedFiles(readFileSync(join(dump, 'cfs-files.json'), 'utf8'), 'the list').files;

/** The path of each watched file in /proc/self/fd after it was opened by its handle, as a checkpoint tool does it. */
function shownPaths(mounted: Mounted, watches: readonly Watch[]): string[] {
  const root = openSync(mounted.path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return watches.map(({ handle }) => {
      const fd = openByHandle(root, handle, O_PATH);
      if (isErrno(fd)) throw new Error(`open_by_handle_at: ${fd}`);
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      closeSync(fd);
      return path;
    });
  } finally {
    closeSync(root);
  }
}

const watchesOf = (fd: number): Watch[] => parseWatches(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'));

describe('cfs-checkpoint prepare', () => {
  test('restores the paths of files watched by inotify and fanotify after they were evicted', async () => {
    const mounted = await scratch.mount(packed.image);
    const paths = WATCHED.map((name) => mounted.at(name));
    const inotify = watchByInotify(paths);
    const fanotify = watchByFanotify(paths);
    const [byInotify, byFanotify] = [watchesOf(inotify), watchesOf(fanotify)];
    for (const watches of [byInotify, byFanotify]) expect(watches).toHaveLength(WATCHED.length);
    dropCaches();
    // a directory always has its path; files have none, which is why prepare exists
    expect(shownPaths(mounted, byInotify).filter((path) => path === '/').length).toBeGreaterThan(0);

    const dump = scratch.directory('dump');
    const { watched } = await prepared(dump, mounted, process.pid);
    expect(watched).toBe(WATCHED.length);
    expect(shownPaths(mounted, byInotify).sort()).toEqual([...paths].sort());
    expect(shownPaths(mounted, byFanotify).sort()).toEqual([...paths].sort());
    const uses = new Map(savedFiles(dump).map((file) => [file.path, file.uses]));
    for (const name of WATCHED) {
      expect(uses.get(`/${name}`)).toEqual([
        `${process.pid} inotify watch of fd ${inotify}`,
        `${process.pid} fanotify watch of fd ${fanotify}`,
      ]);
    }
  });

  test('finds the files that a process and its descendants use: cwd, exe, mappings, descriptors', async () => {
    const mounted = await scratch.mount(packed.image);
    // the test process is above the shell, and the tool is beside it: both are left out. The shell has the directory as
    // its cwd and a file as fd 3; its child has them too, and the program.
    const script = 'exec 3< small; ../program 600 & echo ready; wait';
    const pid = await started(['sh', '-c', script], mounted.at('directory'));
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').map(Number);
    const dump = scratch.directory('dump');
    const { processes, files, watched } = await prepared(dump, mounted, pid);
    expect(processes).toEqual([pid, child]);
    expect([files, watched]).toEqual([3, 0]);
    const uses = new Map(savedFiles(dump).map((file) => [file.path, file.uses]));
    expect([...uses.keys()].sort()).toEqual(['/directory', '/directory/small', '/program']);
    expect(uses.get('/directory')).toEqual([`${pid} cwd`, `${child} cwd`]);
    expect(uses.get('/directory/small')).toEqual([`${pid} fd 3`, `${child} fd 3`]);
    expect([...(uses.get('/program') ?? [])].sort()).toEqual([`${child} exe`, `${child} mapping`]);
  });

  test('saves the sources for cfs-mount --from, and says what to do next', async () => {
    const mounted = await scratch.mount(packed.image, { words: ['verify=read'] });
    kept(openSync(mounted.at('large'), 'r'));
    const dump = scratch.directory('dump');
    const { status, stdout } = await checkpoint('prepare', '-D', dump, mounted.at('directory'), String(process.pid));
    expect(status).toBe(0);
    expect(stdout).toContain(`: 1 file of ${mounted.path} in use, 0 of them watched\n`);
    expect(stdout).toContain(`'umount ${mounted.path}'`);
    expect(stdout).toContain(`'cfs-mount --from ${dump}'`);
    const list = parseSavedSources(readFileSync(join(dump, 'cfs-sources.json'), 'utf8'), 'the list');
    expect(list).toMatchObject({ mountpoint: Buffer.from(mounted.path), image: { id: packed.id } });
    expect(list.options).toContain('verify=read');
    expect(readdirSync(dump).sort()).toEqual(['cfs-files.json', 'cfs-sources.json']);
  });

  test('ignores other mounts, and accepts processes that use nothing', async () => {
    const mounted = await scratch.mount(packed.image);
    const other = await scratch.mount(packed.image);
    kept(openSync(other.at('large'), 'r'));
    watchByInotify([other.at('inline')]);
    const dump = scratch.directory('dump');
    expect(await prepared(dump, mounted, process.pid)).toMatchObject({ files: 0, watched: 0 });
    const { status, stdout } = await checkpoint('check', '-D', dump, other.path);
    expect({ status, stdout }).toEqual({ status: 0, stdout: '0 files are as they were\n' });
  });

  test('reports errors of its arguments', async () => {
    const mounted = await scratch.mount(packed.image);
    const pid = String(process.pid);
    const dump = scratch.directory('dump');
    const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
      [
        ['-D', dump, mounted.path, '4194305'],
        EXIT.usage,
        /Cannot inspect process 4194305: no such file|no such process/,
      ],
      [['-D', dump, mounted.path, 'abc'], EXIT.usage, /"abc" is not a process id/],
      [['-D', dump, mounted.path, '0'], EXIT.usage, /"0" is not a process id/],
      [['-D', dump, scratch.path, pid], EXIT.usage, /is not in a mount of cfs/],
      [['-D', dump, scratch.at('none'), pid], EXIT.system, /Cannot open .*none: no such file/],
      [
        ['-D', join(dump, 'none'), mounted.path, pid],
        EXIT.system,
        /Cannot write .*none\/cfs-sources\.json: no such file/,
      ],
      [['-D', mounted.path, mounted.path, pid], EXIT.system, /Cannot write .*cfs-sources\.json: read-only file system/],
    ];
    for (const [args, status, message] of cases) {
      expect(messageOf(await checkpoint('prepare', ...args), status, 'cfs-checkpoint')).toMatch(message);
    }
    expect(readdirSync(dump)).toEqual([]);
  });

  test('refuses a mount whose handles end with it, as check does', async () => {
    const mounted = await scratch.mount(packed.image, { words: ['driver=fuse-native'] });
    const dump = scratch.directory('dump');
    const message = `Cannot use the mount at ${mounted.path} with checkpoints: handles of driver=fuse-native end with the mount. Mount it with driver=kernel.`;
    const pid = String(process.pid);
    expect(messageOf(await checkpoint('prepare', '-D', dump, mounted.path, pid), EXIT.usage, 'cfs-checkpoint')).toBe(
      message,
    );
    writeFileSync(
      join(dump, 'cfs-files.json'),
      JSON.stringify({ format: 'cfs-checkpoint-files', version: 1, files: [] }),
    );
    expect(messageOf(await checkpoint('check', '-D', dump, mounted.path), EXIT.usage, 'cfs-checkpoint')).toBe(message);
  });

  test('keeps the existing list if it cannot write another', async () => {
    const mounted = await scratch.mount(packed.image);
    const dump = scratch.directory('dump');
    await prepared(dump, mounted, process.pid);
    const before = readFileSync(join(dump, 'cfs-files.json'), 'utf8');
    rmSync(join(dump, 'cfs-sources.json'));
    mkdirSync(join(dump, 'cfs-sources.json'));
    kept(openSync(mounted.at('large'), 'r'));
    expect((await checkpoint('prepare', '-D', dump, mounted.path, String(process.pid))).status).toBe(EXIT.system);
    expect(readFileSync(join(dump, 'cfs-files.json'), 'utf8')).toBe(before);
    expect(readdirSync(dump).sort()).toEqual(['cfs-files.json', 'cfs-sources.json']);
  });
});

describe('the names of watched files', () => {
  /** A process that watches all files of a mount until it is ended. */
  async function watching(mounted: Mounted): Promise<number> {
    const script =
      'import ctypes,sys,time\nlibc=ctypes.CDLL(None)\nfd=libc.inotify_init()\n' +
      'for p in sys.argv[1:]: assert libc.inotify_add_watch(fd,p.encode(),16)>=0\nprint("ready",flush=True)\ntime.sleep(600)';
    return started(['python3', '-c', script, ...WATCHED.map((name) => mounted.at(name))], '/');
  }

  const watchesOfProcess = (pid: number): Watch[] =>
    readdirSync(`/proc/${pid}/fdinfo`).flatMap((fd) =>
      parseWatches(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1')),
    );

  test('are held until the process ends, even if memory is scarce, and do not keep the mount busy', async () => {
    const mounted = await scratch.mount(packed.image);
    const pid = await watching(mounted);
    const dump = scratch.directory('dump');
    const { holder } = await prepared(dump, mounted, pid);
    expect(holder).toBeGreaterThan(1);
    dropCaches();
    const paths = shownPaths(mounted, watchesOfProcess(pid));
    expect(paths.sort()).toEqual(WATCHED.map((name) => mounted.at(name)).sort());
    expect(await checkpoint('check', '-D', dump, mounted.path)).toMatchObject({ status: EXIT.ok, stderr: '' });
    const [child] = children.splice(0) as [ChildProcess];
    const ended = once(child, 'exit');
    process.kill(pid, 'SIGKILL');
    await ended;
    await until('nobody holds the names', () => !isAlive(holder as number));
    // it held the names until it was ended
    expect(await checkpoint('check', '-D', dump, mounted.path)).toMatchObject({ status: EXIT.ok, stderr: '' });
    expect((await checkpoint('release', '-D', dump)).stdout).toBe('no names were held\n');
  });

  test('do not keep the mount from being unmounted', async () => {
    const mounted = await scratch.mount(packed.image);
    watchByInotify([mounted.at('large')]);
    const dump = scratch.directory('dump');
    await prepared(dump, mounted, process.pid);
    for (const fd of fds.splice(0)) closeSync(fd);
    await unmountBy(['umount', mounted.path]);
    await checkpoint('release', '-D', dump);
    await mounted.expectGone();
  });

  test('are reported as lost if the process that held them was killed, or none was requested', async () => {
    const mounted = await scratch.mount(packed.image);
    watchByInotify([mounted.at('large')]);
    const dump = scratch.directory('dump');
    const { holder } = await prepared(dump, mounted, process.pid);
    process.kill(holder as number, 'SIGKILL');
    await until('the holder is gone', () => !isAlive(holder as number));
    const warning = /^cfs-checkpoint: the names of watched files were not held/;
    const check = (): Promise<Outcome> => checkpoint('check', '-D', dump, mounted.path);
    expect((await check()).stderr).toMatch(warning);
    expect((await prepared(dump, mounted, process.pid)).holder).toBeGreaterThan(1);
    expect((await check()).stderr).toBe('');
    const args = ['prepare', '--no-hold', '-D', dump, mounted.path, String(process.pid)];
    expect((await checkpoint(...args)).stdout).not.toContain('holds');
    expect((await check()).stderr).toMatch(warning);
  });

  test('of files deeper than PATH_MAX do not make it fail', async () => {
    const deep = scratch.directory('deep');
    await succeed([
      'python3',
      '-c',
      'import os,sys\nos.chdir(sys.argv[1])\nfor i in range(50): os.mkdir("d"*100); os.chdir("d"*100)\nopen("leaf","w").write("leaf"*50)',
      deep,
    ]);
    const mounted = await scratch.mount((await scratch.pack(deep)).image);
    // sh cannot change to that directory
    const script =
      'import os,time\nfor i in range(50): os.chdir("d"*100)\nos.dup2(os.open("leaf",0),3)\nprint("ready",flush=True)\ntime.sleep(600)';
    const pid = await started(['python3', '-c', script], mounted.path);
    const dump = scratch.directory('dump');
    const { status, stdout, stderr } = await checkpoint('prepare', '-D', dump, mounted.path, String(pid));
    expect(status).toBe(EXIT.ok);
    expect(stdout).toContain('in use');
    expect(stderr).toMatch(/fd 3 uses, has a path that is too long: .* CRIU cannot dump/);
    expect(savedFiles(dump).some(({ path }) => path.endsWith('/leaf'))).toBe(true);
    const { handle } = savedFiles(dump).find(({ path }) => path.endsWith('/leaf')) as SavedFile;
    const opened = await scratch.tool('cfs-info', ['open-handle', mounted.path, formatHandle(handle)]);
    expect(opened.status).toBe(EXIT.ok);
    expect(opened.stdout).toContain('path:         not known: a path that is too long');
  });
});

describe('cfs-checkpoint check', () => {
  test('finds the files that differ in another version of the image', async () => {
    const mounted = await scratch.mount(packed.image);
    watchByInotify(WATCHED.map((name) => mounted.at(name)));
    kept(openSync(mounted.at('program'), 'r'));
    const dump = scratch.directory('dump');
    await prepared(dump, mounted, process.pid);
    for (const fd of fds.splice(0)) closeSync(fd);
    const same = await checkpoint('check', '-D', dump, mounted.path);
    expect(same).toMatchObject({ status: 0, stdout: `${WATCHED.length + 1} files are as they were\n`, stderr: '' });
    expect((await checkpoint('release', '-D', dump)).stdout).toBe('released\n');
    await mounted.unmount();

    const second = scratch.at('second version');
    cpSync(source, second, { recursive: true });
    writeFileSync(join(second, 'large'), Buffer.alloc(300_000, 'LARGE')); // of the same size
    rmSync(join(second, 'inline'));
    rmSync(join(second, 'empty'));
    mkdirSync(join(second, 'empty'));
    chmodSync(join(second, 'directory/small'), 0o600); // the bytes are the same
    writeFileSync(join(second, 'directory/new'), 'new');
    const { image } = await scratch.pack(second);
    const changed = await scratch.mount(image, { at: mounted.path });
    for (let pass = 0; pass < 2; pass++) {
      const found = await checkpoint('check', '-D', dump, changed.path);
      expect([found.status, found.stderr]).toEqual([EXIT.found, '']);
      const lines = found.stdout.trimEnd().split('\n').sort();
      expect(lines.map((line) => line.split(': ')[0])).toEqual(['/empty', '/inline', '/large']);
      for (const line of lines)
        expect(line).toMatch(/: changed, replaced or removed \(used by \d+ inotify watch of fd \d+\)$/);
      readFileSync(changed.at('large')); // the kernel knows it now, but it is still not the file of the handle
    }
    const json = await checkpoint('check', '--json', '-D', dump, changed.path);
    expect(json.status).toBe(EXIT.found);
    const all = JSON.parse(json.stdout) as { path: string; uses: string[]; problem?: string }[];
    expect(all).toHaveLength(WATCHED.length + 1);
    expect(
      all
        .filter(({ problem }) => problem === undefined)
        .map(({ path }) => path)
        .sort(),
    ).toEqual(['/a\nname', '/directory', '/directory/small', '/program']);
  });

  test('reports errors of its arguments', async () => {
    const mounted = await scratch.mount(packed.image);
    const dump = scratch.directory('dump');
    const list = join(dump, 'cfs-files.json');
    const message = async (mount: string, status: number): Promise<string> =>
      messageOf(await checkpoint('check', '-D', dump, mount), status, 'cfs-checkpoint');
    expect(await message(mounted.path, EXIT.usage)).toBe(`Cannot read ${list}: no such file or directory`);
    writeFileSync(list, '{');
    expect(await message(mounted.path, EXIT.usage)).toBe(`Cannot use the list of files ${list}: it is not JSON`);
    writeFileSync(list, JSON.stringify({ format: 'cfs-checkpoint-files', version: 1, files: [] }));
    expect(await message(scratch.path, EXIT.usage)).toContain('is not in a mount of cfs');
    expect(existsSync(list)).toBe(true);
  });
});

test('cfs-checkpoint lists its commands if there is no such command', async () => {
  for (const args of [[], ['dump']]) {
    const { status, stderr } = await checkpoint(...args);
    expect(status).toBe(EXIT.usage);
    expect(stderr).toMatch(/prepare, restore-files, cleanup, release, check/);
  }
});
