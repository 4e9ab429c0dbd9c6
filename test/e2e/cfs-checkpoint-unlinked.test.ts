/**
 * cfs-checkpoint with files that are open and unlinked: they get names, which a restore opens and unlinks again. Their
 * processes are Python programs that evaluate what a test sends.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseSavedFiles, type SavedFile } from '../../src/checkpoint/saved-files.ts';
import { EXIT } from '../../tools/cli.ts';
import { messageOf, mountTmpfs } from './cli.ts';
import { type Mounted, useScratch } from './harness.ts';
import { endOf, HERE, type Outcome, OWN_TOOLS, run, succeed } from './run.ts';
import { isAlive, killServer, unmountBy, until } from './system.ts';

const scratch = useScratch();
const GIB = 1 << 30;
const LARGE = 1_000_000;
const NAMES = 'lost+found/checkpoint';
/** Unlinked files at once. */
const MANY = Number(process.env['CFS_UNLINKED'] ?? 2000);
let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  mkdirSync(join(source, 'directory/below'), { recursive: true });
  writeFileSync(join(source, 'directory/large'), Buffer.alloc(LARGE, 'a large file '));
  writeFileSync(join(source, 'directory/below/file'), 'below');
  image = (await scratch.pack(source)).image;
});

/** A process that runs lines of Python. */
class Holder {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: Interface;

  constructor(cwd = '/') {
    const loop = [
      'import array, ctypes, mmap, os, socket, sys',
      'for line in sys.stdin:',
      '  try: print(eval(line), flush=True)',
      '  except Exception as error: print("failed:", error, flush=True)',
    ].join('\n');
    this.#child = spawn('python3', ['-c', loop], { cwd, stdio: ['pipe', 'pipe', 'inherit'] }) as never;
    this.#lines = createInterface({ input: this.#child.stdout });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** The value of a Python expression, as text. */
  async does(expression: string): Promise<string> {
    this.#child.stdin.write(`${expression}\n`);
    const [line] = (await once(this.#lines, 'line')) as [string];
    if (line.startsWith('failed:')) throw new Error(`${expression}: ${line}`);
    return line;
  }

  /** Makes files in a directory, keeps them open, and removes their names. */
  async holdsUnlinked(directory: string, count: number): Promise<void> {
    const path = `"${directory}/f%d" % i`;
    const open = `globals().setdefault("all", []).append(os.open(${path}, os.O_RDWR | os.O_CREAT))`;
    await this.does(`len([${open} for i in range(${count})])`);
    await this.does(`len([os.unlink(${path}) for i in range(${count})])`);
  }

  async opens(path: string, flags = 'os.O_RDWR'): Promise<number> {
    return Number(await this.does(`os.open(${JSON.stringify(path)}, ${flags})`));
  }

  async ends(): Promise<void> {
    await endOf(this.#child);
  }
}

const holders: Holder[] = [];
const dumps: string[] = [];
afterEach(async () => {
  for (const dump of dumps.splice(0)) await checkpoint('release', '-D', dump);
  for (const holder of holders.splice(0)) await holder.ends();
});

function holder(cwd?: string): Holder {
  const made = new Holder(cwd);
  holders.push(made);
  return made;
}

/** With very many files it takes long. */
const checkpoint = (...args: readonly string[]): Promise<Outcome> =>
  run(HERE.tool('cfs-checkpoint', args, scratch.environment), { timeoutMs: 500_000 });

interface Prepared {
  readonly unlinked: number;
  readonly linkable: number;
  readonly relinked: number;
  readonly holder?: number;
}

function newDump(): string {
  const dump = scratch.directory('dump');
  dumps.push(dump);
  return dump;
}

/** A run of `prepare`, by default with --relink, that must succeed. */
async function prepared(
  dump: string,
  mounted: Mounted,
  pids: readonly number[],
  words = ['--relink'],
): Promise<Prepared> {
  const outcome = await checkpoint('prepare', '--json', ...words, '-D', dump, mounted.path, ...pids.map(String));
  expect({ status: outcome.status, stderr: outcome.stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(outcome.stdout) as Prepared;
}

const unlinkedOf = (dump: string): SavedFile[] =>
  parseSavedFiles(readFileSync(join(dump, 'cfs-files.json'), 'utf8'), 'the list').files.filter(
    ({ unlinked }) => unlinked !== undefined,
  );

const newNames = (dump: string): string[] => unlinkedOf(dump).map(({ unlinked }) => unlinked?.relinked ?? '');

interface Layers {
  readonly upper: string;
  readonly work: string;
}

const layersIn = (directory: string): Layers => {
  const layers = { upper: join(directory, 'upper'), work: join(directory, 'work') };
  for (const path of Object.values(layers)) mkdirSync(path, { recursive: true });
  return layers;
};

const mount = ({ upper, work }: Layers): Promise<Mounted> =>
  scratch.mount(image, { words: [`upperdir=${upper}`, `workdir=${work}`] });

const newMount = (): Promise<Mounted> => mount(layersIn(scratch.directory('layers')));

/** Runs Python with the descriptors of a checkpoint: `files` are their descriptions by path. */
async function restored(dump: string, mounted: Mounted, program: string): Promise<string> {
  const text = [
    'import json, os, stat',
    'files = {f["path"]: f for f in json.loads(os.environ["CFS_RESTORED_FILES"])}',
    program,
  ].join('\n');
  const outcome = await checkpoint('restore-files', '-D', dump, mounted.path, '--', 'python3', '-c', text);
  expect({ status: outcome.status, stderr: outcome.stderr }).toEqual({ status: 0, stderr: '' });
  return outcome.stdout.trim();
}

const namesIn = (mounted: Mounted): string[] =>
  existsSync(mounted.at(NAMES)) ? readdirSync(mounted.at(NAMES)).sort() : [];

describe('the example of the specification', () => {
  const disk = scratch.at('disk');
  const copy = scratch.at('copy');

  async function mountDisk(path: string): Promise<string> {
    const directory = scratch.directory('fs');
    await succeed(['mount', '-o', 'loop', path, directory]);
    return directory;
  }

  test('a, b and the new a are the inodes that they were, on a copied disk with another uuid', async () => {
    // no room for a second GiB
    writeFileSync(disk, '');
    truncateSync(disk, GIB + (GIB >> 1));
    await succeed(['mkfs.ext4', '-q', '-F', disk]);
    const directory = await mountDisk(disk);
    const mounted = await mount(layersIn(directory));
    const process = holder();
    const a = await process.opens(mounted.at('a'), 'os.O_RDWR | os.O_CREAT');
    await process.does(`os.posix_fallocate(${a}, 0, ${GIB})`);
    await process.does(`os.pwrite(${a}, b"the end", ${GIB - 7})`);
    const { ino } = statSync(mounted.at('a'));
    await process.does(`os.link("${mounted.at('a')}", "${mounted.at('b')}")`);
    await process.does(`os.unlink("${mounted.at('a')}")`);
    const other = await process.opens(mounted.at('a'), 'os.O_WRONLY | os.O_CREAT | os.O_EXCL');
    await process.does(`os.lseek(${a}, 5, os.SEEK_SET)`);
    const usedBefore = statfsSync(directory).bfree;

    const dump = newDump();
    expect(await prepared(dump, mounted, [process.pid])).toMatchObject({ unlinked: 1, relinked: 1 });
    const [file] = unlinkedOf(dump);
    expect(file).toMatchObject({ path: '/a', uses: [`${process.pid} fd ${a}`] });
    expect(file?.unlinked).toMatchObject({ links: 1, descriptors: [{ fd: a, position: 5 }] });
    expect(file?.unlinked?.relinked).toMatch(/^lost\+found\/checkpoint\/unlink-at-restart-[0-9a-f]{16}-1$/);
    const [name] = newNames(dump) as [string];
    expect(lstatSync(mounted.at(name))).toMatchObject({ ino, nlink: 2 });
    // blocks of 4 KiB
    expect(usedBefore - statfsSync(directory).bfree).toBeLessThan(64);

    await process.does(`os.pwrite(${a}, b"bar", 0)`);
    expect(await process.does(`os.pread(os.open("${mounted.at('b')}", os.O_RDONLY), 3, 0)`)).toBe("b'bar'");
    expect(statSync(mounted.at('a')).size).toBe(0);
    expect(statSync(mounted.at('a')).ino).not.toBe(ino);
    const newIno = statSync(mounted.at('a')).ino;
    await process.ends();
    expect(other).toBeGreaterThan(a);
    await mounted.unmount();
    await unmountBy(['umount', directory]);

    await succeed(['dd', `if=${disk}`, `of=${copy}`, 'bs=1M', 'conv=sparse', 'status=none']);
    rmSync(disk);
    await succeed(['e2fsck', '-f', '-y', copy]);
    await succeed(['tune2fs', '-U', 'random', copy]);
    const elsewhere = await mountDisk(copy);
    const again = await mount(layersIn(elsewhere));
    expect(lstatSync(again.at('b'))).toMatchObject({ ino, nlink: 2, size: GIB });
    expect(lstatSync(again.at('a'))).toMatchObject({ ino: newIno, size: 0 });
    expect(lstatSync(again.at(name)).ino).toBe(ino);
    const told = await restored(
      dump,
      again,
      `f = files["/a"]["fd"]
print(os.fstat(f).st_ino, os.fstat(f).st_nlink, os.pread(f, 3, 0), os.pread(f, 7, ${GIB - 7}), os.pwrite(f, b"foo", 0))`,
    );
    expect(told).toBe(`${ino} 1 b'bar' b'the end' 3`);
    expect(namesIn(again)).toEqual([]);
    expect(lstatSync(again.at('b')).nlink).toBe(1);
    expect(readFileSync(again.at('a'), 'utf8')).toBe('');
    expect((await succeed(['head', '-c', '3', again.at('b')])).toString()).toBe('foo');
    await again.unmount();
    await unmountBy(['umount', elsewhere]);
    rmSync(copy);
  });
});

describe('prepare --relink', () => {
  test('finds what processes use, however they do', async () => {
    const mounted = await newMount();
    for (const name of ['cwd', 'root', 'removed']) mkdirSync(mounted.at(name));
    for (const name of ['fd', 'mapped', 'path', 'flying', 'thread', 'removed/inside']) {
      writeFileSync(mounted.at(name), name.padEnd(5000, '.'));
    }
    copyFileSync('/bin/sleep', mounted.at('program'));
    await succeed(['chmod', '755', mounted.at('program')]);
    const one = holder(mounted.at('cwd'));
    const fd = await one.opens(mounted.at('fd'));
    await one.does(
      `[mmap.mmap(f, 0) for f in [os.open("${mounted.at('mapped')}", os.O_RDWR)] if not globals().update(f=f)]`,
    );
    await one.does(`globals().update(kept=mmap.mmap(f, 0)) or os.close(f)`);
    const path = await one.opens(mounted.at('path'), 'os.O_PATH');
    await one.opens(mounted.at('removed'), 'os.O_RDONLY | os.O_DIRECTORY');
    await one.opens(mounted.at('removed/inside'));
    const tmp = await one.opens(mounted.path, 'os.O_RDWR | os.O_TMPFILE');
    await one.does(`globals().update(pair=socket.socketpair()) or pair[1].fileno()`);
    const flying = await one.opens(mounted.at('flying'));
    await one.does(
      `pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [${flying}]))]) and os.close(${flying})`,
    );
    const program = spawn(mounted.at('program'), ['1000'], { cwd: mounted.at('root'), stdio: 'ignore' });
    try {
      await until(
        'it runs',
        () =>
          statSync(`/proc/${program.pid}/exe`, { throwIfNoEntry: false })?.ino === statSync(mounted.at('program')).ino,
      );
      const inodes = ['cwd', 'root', 'removed', 'fd', 'mapped', 'path', 'flying', 'removed/inside', 'program'].map(
        (name) => [name, lstatSync(mounted.at(name)).ino] as const,
      );
      for (const name of ['fd', 'mapped', 'path', 'flying', 'removed/inside', 'program']) unlinkSync(mounted.at(name));
      for (const name of ['cwd', 'root', 'removed']) await succeed(['rmdir', mounted.at(name)]);
      const dump = newDump();
      const result = await prepared(dump, mounted, [one.pid, program.pid as number]);
      expect(result).toMatchObject({ unlinked: 10, relinked: 10, linkable: 0 });
      const files = unlinkedOf(dump);
      const usesOf = (name: string): readonly string[] =>
        files.find(({ path: of }) => of === `/${name}`)?.uses.map((use) => use.replace(/^\d+ /, '')) ?? [];
      expect(usesOf('cwd')).toEqual(['cwd']);
      expect(usesOf('root')).toEqual(['cwd']);
      expect(usesOf('fd')).toEqual([`fd ${fd}`]);
      expect(usesOf('mapped')).toContain('mapping');
      expect(usesOf('path')).toEqual([`fd ${path}`]);
      expect(usesOf('flying')[0]).toMatch(/^in flight in socket \d+$/);
      expect(usesOf('program')).toEqual(expect.arrayContaining(['exe', 'mapping']));
      expect(files.some(({ uses }) => uses.includes(`${one.pid} fd ${tmp}`))).toBe(true);
      for (const [name, ino] of inodes) {
        const file = files.find(({ path: of }) => of === `/${name}`);
        expect(lstatSync(mounted.at(file?.unlinked?.relinked ?? '')).ino, name).toBe(ino);
      }
      expect(namesIn(mounted)).toHaveLength(10);
    } finally {
      await endOf(program);
    }
  });

  test('finds files of a process in another mount namespace, by paths of the mount', async () => {
    const mounted = await newMount();
    writeFileSync(mounted.at('directory/gone'), 'content');
    const inside = scratch.directory('inside');
    const script = `mount --bind ${mounted.at('directory')} ${inside} && exec 7<>${inside}/gone && rm ${inside}/gone && echo ready && exec sleep 1000`;
    const child = spawn('unshare', ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(child.stdout, 'data');
      const dump = newDump();
      await prepared(dump, mounted, [child.pid as number]);
      expect(unlinkedOf(dump)).toMatchObject([{ path: '/directory/gone' }]);
      expect(readFileSync(mounted.at(newNames(dump)[0] as string), 'utf8')).toBe('content');
    } finally {
      await endOf(child);
    }
  });

  test('copies nothing of a file of the image', async () => {
    const layers = layersIn(scratch.directory('layers'));
    const mounted = await mount(layers);
    const one = holder();
    const fd = await one.opens(mounted.at('directory/large'), 'os.O_RDONLY');
    const { ino } = statSync(mounted.at('directory/large'));
    rmSync(mounted.at('directory'), { recursive: true });
    const dump = newDump();
    await prepared(dump, mounted, [one.pid]);
    const [name] = newNames(dump) as [string];
    expect(statSync(join(layers.upper, name)).blocks).toBeLessThanOrEqual(8);
    await one.ends();
    await mounted.unmount();
    const again = await mount(layers);
    const told = await restored(
      dump,
      again,
      `f = files["/directory/large"]["fd"]
print(os.fstat(f).st_ino, os.fstat(f).st_nlink, os.fstat(f).st_size, os.pread(f, 12, 13))`,
    );
    expect(told).toBe(`${ino} 0 ${LARGE} b'a large file'`);
    expect(fd).toBeGreaterThan(2);
  });

  test('names directories, which are opened and removed again', async () => {
    const layers = layersIn(scratch.directory('layers'));
    const mounted = await mount(layers);
    mkdirSync(mounted.at('new'));
    const one = holder();
    await one.opens(mounted.at('new'), 'os.O_RDONLY | os.O_DIRECTORY');
    await one.opens(mounted.at('directory/below'), 'os.O_RDONLY | os.O_DIRECTORY');
    const inodes = ['new', 'directory/below'].map((name) => statSync(mounted.at(name)).ino);
    rmSync(mounted.at('new'), { recursive: true });
    rmSync(mounted.at('directory/below'), { recursive: true });
    const dump = newDump();
    await prepared(dump, mounted, [one.pid]);
    expect(namesIn(mounted)).toHaveLength(2);
    await one.ends();
    await mounted.unmount();
    const again = await mount(layers);
    const told = await restored(
      dump,
      again,
      `for path in ["/new", "/directory/below"]:
  s = os.fstat(files[path]["fd"])
  print(s.st_ino, s.st_nlink, stat.S_ISDIR(s.st_mode), os.listdir(files[path]["fd"]))`,
    );
    expect(told.split('\n')).toEqual(inodes.map((ino) => `${ino} 0 True []`));
    expect(namesIn(again)).toEqual([]);
  });

  test('takes other names with --template', async () => {
    const mounted = await newMount();
    const one = holder();
    const fd = await one.opens(mounted.at('a'), 'os.O_RDWR | os.O_CREAT');
    unlinkSync(mounted.at('a'));
    const dump = newDump();
    await prepared(dump, mounted, [one.pid], ['--relink', '--template', 'kept/here/%u.%x']);
    expect(newNames(dump)[0]).toMatch(/^kept\/here\/1\.[0-9a-f]+$/);
    expect(statSync(mounted.at('kept/here')).mode & 0o777).toBe(0o700);
    expect(fd).toBeGreaterThan(2);
    const refused = await checkpoint('prepare', '--relink', '--template', '../%x%u', '-D', dump, mounted.path, '1');
    expect(messageOf(refused, EXIT.usage, 'cfs-checkpoint')).toContain('its directory is not a plain path');
  });

  test('works while the file is written, also through a mapping', async () => {
    const layers = layersIn(scratch.directory('layers'));
    const mounted = await mount(layers);
    const one = holder();
    await one.does(
      `globals().update(fd=os.open("${mounted.at('a')}", os.O_RDWR | os.O_CREAT)) or os.ftruncate(fd, 8192)`,
    );
    await one.does('globals().update(m=mmap.mmap(fd, 8192)) or m.write(b"before")');
    unlinkSync(mounted.at('a'));
    const dump = newDump();
    await prepared(dump, mounted, [one.pid]);
    await one.does('m.seek(0) or m.write(b"mapped")');
    await one.does('os.pwrite(fd, b"written", 4096)');
    const name = mounted.at(newNames(dump)[0] as string);
    expect(readFileSync(name).subarray(0, 6).toString()).toBe('mapped');
    await one.ends();
    await mounted.unmount();
    const again = await mount(layers);
    const told = await restored(dump, again, 'f = files["/a"]["fd"]\nprint(os.pread(f, 6, 0), os.pread(f, 7, 4096))');
    expect(told).toBe("b'mapped' b'written'");
  });

  test('two checkpoints at once, and one of a restored process, each have names of their own', async () => {
    const mounted = await newMount();
    const one = holder();
    await one.opens(mounted.at('a'), 'os.O_RDWR | os.O_CREAT');
    unlinkSync(mounted.at('a'));
    const [first, second] = [newDump(), newDump()];
    await Promise.all([first, second].map((dump) => prepared(dump, mounted, [one.pid])));
    expect(new Set([...newNames(first), ...newNames(second)]).size).toBe(2);
    expect(statSync(mounted.at(newNames(first)[0] as string)).nlink).toBe(2);
    expect(await restored(first, mounted, 'print(os.fstat(files["/a"]["fd"]).st_nlink)')).toBe('1');
    const third = newDump();
    expect(await prepared(third, mounted, [one.pid])).toMatchObject({ unlinked: 1, relinked: 1 });
    expect(await restored(second, mounted, 'print(os.fstat(files["/a"]["fd"]).st_nlink)')).toBe('1');
    expect(await restored(third, mounted, 'print(os.fstat(files["/a"]["fd"]).st_nlink)')).toBe('0');
    expect(namesIn(mounted)).toEqual([]);
  });

  test('goes on when servers are killed', async () => {
    const mounted = await newMount();
    const one = holder();
    await one.holdsUnlinked(mounted.path, 300);
    const dump = newDump();
    const done = prepared(dump, mounted, [one.pid]);
    await until('it has begun', () => namesIn(mounted).length > 0);
    await killServer(mounted);
    expect(await done).toMatchObject({ unlinked: 300, relinked: 300 });
    expect(namesIn(mounted)).toHaveLength(300);
    expect(await restored(dump, mounted, 'print(sum(os.fstat(f["fd"]).st_nlink for f in files.values()))')).toBe('0');
  });

  test('names very many files of several processes', async () => {
    const mounted = await newMount();
    const each = Math.min(MANY, 10_000);
    for (let left = MANY; left > 0; left -= each) {
      const one = holder();
      const path = mounted.at(`of-${one.pid}`);
      await one.does(
        `len([globals().setdefault("all", []).append(os.open("${path}", os.O_RDWR | os.O_CREAT)) or os.unlink("${path}") for i in range(${each})])`,
      );
    }
    const pids = holders.map(({ pid }) => pid);
    const dump = newDump();
    expect(await prepared(dump, mounted, pids)).toMatchObject({ unlinked: MANY, relinked: MANY });
    const inodes = new Set(namesIn(mounted).map((name) => lstatSync(mounted.at(NAMES, name)).ino));
    expect(inodes.size).toBe(MANY);
    expect((await checkpoint('cleanup', '--json', '-D', dump, mounted.path)).status).toBe(0);
    expect(namesIn(mounted)).toEqual([]);
  });

  test('names all or none if the disk is full', async () => {
    const directory = scratch.directory('small');
    await mountTmpfs(directory);
    const mounted = await mount(layersIn(directory));
    const one = holder();
    await one.holdsUnlinked(mounted.path, 50);
    const full = await run(['dd', 'if=/dev/zero', `of=${directory}/full`, 'bs=4096', 'status=none']);
    expect(full.status).toBe(1);
    const dump = newDump();
    const refused = await checkpoint('prepare', '--relink', '-D', dump, mounted.path, String(one.pid));
    expect(messageOf(refused, EXIT.system, 'cfs-checkpoint')).toContain('no space left on device');
    expect(namesIn(mounted)).toEqual([]);
    rmSync(join(directory, 'full'));
    expect(await prepared(dump, mounted, [one.pid])).toMatchObject({ relinked: 50 });
    await checkpoint('cleanup', '-D', dump, mounted.path);
    await one.ends();
    await mounted.unmount();
    await unmountBy(['umount', directory]);
  });
});

describe('prepare without --relink', () => {
  test('makes files linkable, holds them, and release takes nothing away', async () => {
    const layers = layersIn(scratch.directory('layers'));
    const mounted = await mount(layers);
    const one = holder();
    const fd = await one.opens(mounted.at('a'), 'os.O_RDWR | os.O_CREAT');
    unlinkSync(mounted.at('a'));
    const dump = newDump();
    const result = await prepared(dump, mounted, [one.pid], []);
    expect(result).toMatchObject({ unlinked: 1, linkable: 1, relinked: 0 });
    expect(await one.does(`os.fstat(${fd}).st_nlink`)).toBe('1');
    // as CRIU does
    const to = mounted.at('link_remap.1');
    expect(await one.does(`ctypes.CDLL(None).linkat(${fd}, b"", -100, b"${to}", 0x1000)`)).toBe('0');
    await one.does(`os.close(${fd})`);
    const orphans = join(layers.work, 'cfs/orphans');
    const done = await checkpoint('cleanup', '-D', dump, mounted.path);
    expect(done.stdout).toBe('1 name removed\n');
    expect(existsSync(mounted.at('link_remap.1'))).toBe(false);
    await until('the file is gone', () => readdirSync(orphans).length === 0);
  });

  test('holds a file that its process closes before the dump', async () => {
    const layers = layersIn(scratch.directory('layers'));
    const mounted = await mount(layers);
    const one = holder();
    const fd = await one.opens(mounted.at('a'), 'os.O_RDWR | os.O_CREAT');
    unlinkSync(mounted.at('a'));
    const dump = newDump();
    const { holder: pid } = await prepared(dump, mounted, [one.pid], []);
    expect(isAlive(pid as number)).toBe(true);
    await one.does(`os.close(${fd})`);
    expect((await checkpoint('check', '-D', dump, mounted.path)).status).toBe(EXIT.ok);
    await checkpoint('release', '-D', dump);
    await until('the file is gone', () => readdirSync(join(layers.work, 'cfs/orphans')).length === 0);
    expect((await checkpoint('check', '-D', dump, mounted.path)).status).toBe(EXIT.found);
  });
});

describe('a thread with descriptors of its own', () => {
  /** A process of which a thread alone has files open, and has sent one to a socket of its own. */
  async function threaded(mounted: Mounted): Promise<{ one: Holder; thread: number; inodes: Map<string, number> }> {
    const one = holder();
    const paths = ['own', 'flying'].map((name) => mounted.at(name));
    const script = [
      'import threading',
      'libc, ready = ctypes.CDLL(None), threading.Event()',
      'def of_its_own():',
      '  global shared, own, thread',
      '  thread = threading.get_native_id()',
      '  assert libc.unshare(0x400) == 0',
      `  own, flying = [os.open(path, os.O_RDWR | os.O_CREAT) for path in ${JSON.stringify(paths)}]`,
      '  os.write(own, b"its own")',
      '  pair = socket.socketpair()',
      '  pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [flying]))])',
      '  os.close(flying)',
      '  ready.set()',
      '  threading.Event().wait()',
      'threading.Thread(target=of_its_own, daemon=True).start()',
      'ready.wait()',
    ].join('\n');
    await one.does(`exec(${JSON.stringify(script)}, globals())`);
    const inodes = new Map(paths.map((path) => [path, lstatSync(path).ino]));
    for (const path of paths) unlinkSync(path);
    return { one, thread: Number(await one.does('thread')), inodes };
  }

  test('has its files relinked', async () => {
    const mounted = await newMount();
    const { one, thread, inodes } = await threaded(mounted);
    const dump = newDump();
    expect(await prepared(dump, mounted, [one.pid])).toMatchObject({ unlinked: 2, relinked: 2 });
    const own = unlinkedOf(dump).find(({ path }) => path === '/own');
    const fd = Number(await one.does('own'));
    expect(own?.uses).toEqual([`${one.pid} fd ${fd} of thread ${thread}`]);
    expect(own?.unlinked?.descriptors).toMatchObject([{ process: one.pid, thread, fd, position: 7 }]);
    const flying = unlinkedOf(dump).find(({ path }) => path === '/flying');
    expect(flying?.uses).toMatchObject([expect.stringMatching(`in flight in socket \\d+ of thread ${thread}$`)]);
    for (const [path, ino] of inodes) {
      const file = path === mounted.at('own') ? own : flying;
      expect(lstatSync(mounted.at(file?.unlinked?.relinked ?? '')).ino).toBe(ino);
    }
    await one.ends();
    expect(await restored(dump, mounted, 'print(os.read(files["/own"]["fd"], 9))')).toBe("b'its own'");
  });

  test('has its files made linkable, and they can be linked', async () => {
    const mounted = await newMount();
    const { one, inodes } = await threaded(mounted);
    const dump = newDump();
    expect(await prepared(dump, mounted, [one.pid], [])).toMatchObject({ unlinked: 2, linkable: 2 });
    const own = unlinkedOf(dump).find(({ path }) => path === '/own');
    const [descriptor] = own?.unlinked?.descriptors ?? [];
    // from another process, as CRIU does
    const linked = mounted.at('link_remap.1');
    await succeed(['ln', '-L', `/proc/${one.pid}/task/${descriptor?.thread}/fd/${descriptor?.fd}`, linked]);
    expect(lstatSync(linked)).toMatchObject({ ino: inodes.get(mounted.at('own')), nlink: 1 });
    expect(readFileSync(linked, 'utf8')).toBe('its own');
  });
});

describe('restore-files', () => {
  /** A checkpoint of one file with content. */
  async function oneFile(): Promise<{ mounted: Mounted; dump: string; name: string }> {
    const mounted = await newMount();
    const one = holder();
    await one.does(`os.write(os.open("${mounted.at('a')}", os.O_RDWR | os.O_CREAT), b"content")`);
    unlinkSync(mounted.at('a'));
    const dump = newDump();
    await prepared(dump, mounted, [one.pid]);
    await one.ends();
    return { mounted, dump, name: mounted.at(newNames(dump)[0] as string) };
  }

  test('sends descriptors to a socket', async () => {
    const { mounted, dump } = await oneFile();
    const path = scratch.at('socket');
    const program = [
      'import array, json, os, socket',
      's = socket.socket(socket.AF_UNIX)',
      `s.bind("${path}"); s.listen(); print("ready", flush=True)`,
      'c, _ = s.accept()',
      'data, rights, _, _ = c.recvmsg(65536, 4096)',
      'fds = array.array("i", rights[0][2])',
      'print(json.loads(data)[0]["path"], os.pread(fds[0], 7, 0), flush=True)',
    ].join('\n');
    const child = spawn('python3', ['-c', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout });
    const ended = once(child, 'exit');
    await once(lines, 'line');
    const told = once(lines, 'line');
    const outcome = await checkpoint('restore-files', '-D', dump, '--socket', path, mounted.path);
    expect(outcome).toMatchObject({ status: 0, stdout: '1 file sent, and unlinked\n' });
    expect(await told).toEqual(["/a b'content'"]);
    await ended;
    expect(namesIn(mounted)).toEqual([]);
  });

  test('tells CRIU of the descriptors, and ends as the command does', async () => {
    const { mounted, dump } = await oneFile();
    const command = ['sh', '-c', 'echo "$@"; exit 7', 'sh', '{inherit-fd}'];
    const outcome = await checkpoint('restore-files', '-D', dump, mounted.path, '--', ...command);
    expect(outcome).toMatchObject({ status: 7, stdout: `--inherit-fd fd[3]:${mounted.path.slice(1)}/a\n` });
  });

  test('removes no name if the command, or the socket, is not there', async () => {
    const { mounted, dump, name } = await oneFile();
    const missing = await checkpoint('restore-files', '-D', dump, mounted.path, '--', '/nonexistent');
    expect(messageOf(missing, EXIT.system, 'cfs-checkpoint')).toContain('Cannot start /nonexistent');
    const refused = await checkpoint('restore-files', '-D', dump, '--socket', scratch.at('none'), mounted.path);
    expect(messageOf(refused, EXIT.system, 'cfs-checkpoint')).toContain('no such file or directory');
    const neither = await checkpoint('restore-files', '-D', dump, mounted.path);
    expect(neither.status).toBe(EXIT.usage);
    expect(readFileSync(name, 'utf8')).toBe('content');
    expect(await restored(dump, mounted, 'print(os.read(files["/a"]["fd"], 99))')).toBe("b'content'");
  });

  describe('of more files than may be open', () => {
    const FILES = 200;

    async function manyFiles(): Promise<{ mounted: Mounted; dump: string }> {
      const mounted = await newMount();
      const one = holder();
      await one.holdsUnlinked(mounted.path, FILES);
      const dump = newDump();
      await prepared(dump, mounted, [one.pid]);
      await one.ends();
      return { mounted, dump };
    }

    /** Runs restore-files with these limits of open files: the soft and the hard one. */
    function limited(limits: string, dump: string, ...words: readonly string[]): Promise<Outcome> {
      const command = HERE.tool('cfs-checkpoint', ['restore-files', '-D', dump, ...words], scratch.environment);
      return run(['prlimit', `--nofile=${limits}`, ...command]);
    }

    test('takes as many as the hard limit permits', async () => {
      const { mounted, dump } = await manyFiles();
      const program = [
        'import json, os',
        'files = [os.fstat(f["fd"]) for f in json.loads(os.environ["CFS_RESTORED_FILES"])]',
        'print(len({f.st_ino for f in files}))',
      ].join('\n');
      const command = ['python3', '-c', program];
      const done = await limited(`50:${FILES + 100}`, dump, mounted.path, '--', ...command);
      expect(done).toMatchObject({ status: 0, stdout: `${FILES}\n`, stderr: '' });
      expect(namesIn(mounted)).toEqual([]);
    });

    test('says so if even that is too low, or the command is not there, and removes no name', async () => {
      const { mounted, dump } = await manyFiles();
      const refused = await limited('50:100', dump, mounted.path, '--', 'true');
      const message = messageOf(refused, EXIT.system, 'cfs-checkpoint');
      expect(message).toContain(`Cannot open ${FILES} files at once for a command`);
      expect(refused.stderr).toContain('may have 100 open');
      const missing = await limited(`50:${FILES + 100}`, dump, mounted.path, '--', '/nonexistent');
      expect(messageOf(missing, EXIT.system, 'cfs-checkpoint')).toContain('Cannot start /nonexistent');
      expect(namesIn(mounted)).toHaveLength(FILES);
      for (const name of namesIn(mounted)) expect(statSync(mounted.at(NAMES, name)).size).toBe(0);
    });

    test('sends them to a socket by and by', async () => {
      const { mounted, dump } = await manyFiles();
      const path = scratch.at('many');
      const program = [
        'import array, json, os, socket',
        's = socket.socket(socket.AF_UNIX)',
        `s.bind("${path}"); s.listen(); print("ready", flush=True)`,
        'c, _ = s.accept()',
        'text, fds = b"", array.array("i")',
        'while True:',
        '  data, rights, _, _ = c.recvmsg(1 << 20, 4096)',
        '  if not data: break',
        '  text += data',
        '  for _, _, r in rights: fds.frombytes(r)',
        'files = [f for line in text.decode().splitlines() for f in json.loads(line)]',
        'inodes = {os.fstat(fds[f["fd"]]).st_ino for f in files}',
        'print(len(files), len(fds), len(inodes), flush=True)',
      ].join('\n');
      const child = spawn('python3', ['-c', program], { stdio: ['ignore', 'pipe', 'inherit'] });
      const lines = createInterface({ input: child.stdout });
      const ended = once(child, 'exit');
      await once(lines, 'line');
      const told = once(lines, 'line');
      const outcome = await limited('50:100', dump, '--socket', path, mounted.path);
      expect(outcome).toMatchObject({ status: 0, stdout: `${FILES} files sent, and unlinked\n` });
      expect(await told).toEqual([`${FILES} ${FILES} ${FILES}`]);
      await ended;
      expect(namesIn(mounted)).toEqual([]);
    });
  });

  test('restores nothing if a file was replaced or removed', async () => {
    const { mounted, dump, name } = await oneFile();
    unlinkSync(name);
    writeFileSync(name, 'another');
    const replaced = await checkpoint('restore-files', '-D', dump, mounted.path, '--', 'true');
    expect(messageOf(replaced, EXIT.system, 'cfs-checkpoint')).toContain('or another file has its name');
    expect(readFileSync(name, 'utf8')).toBe('another');
  });
});

test('a process moves to another machine by the commands of docs/checkpoint.md', async () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/checkpoint.md'), 'utf8');
  const section = text.slice(text.indexOf('## Moving to another machine'), text.indexOf('## Limits'));
  const commands = [...section.matchAll(/^# (.+)$/gm)].map(([, line]) => line as string);
  expect(commands).toHaveLength(9);
  const [home, there, bin] = [scratch.directory('srv'), scratch.directory('there'), scratch.directory('bin')];
  const tools = ['cfs-mount', 'cfs-checkpoint'];
  for (const tool of tools) symlinkSync(join(OWN_TOOLS.dist, 'tools', `${tool}.js`), join(bin, tool));
  writeFileSync(
    join(bin, 'program'),
    '#!/bin/sh\nstat -L -c "%i %h" /proc/self/fd/3; head -c 6 <&3; echo; echo "$CFS_RESTORED_FILES"\n',
    { mode: 0o755 },
  );
  const layers = { upper: join(home, 'changes'), work: join(home, 'work') };
  for (const path of Object.values(layers)) mkdirSync(path);
  const mounted = await mount(layers);
  const one = holder();
  const fd = await one.opens(mounted.at('a'), 'os.O_RDWR | os.O_CREAT');
  unlinkSync(mounted.at('a'));
  const dump = newDump();
  let ino = '';
  let told = '';
  for (const command of commands) {
    if (command.startsWith('cfs-checkpoint prepare')) {
      // after the first copy
      await one.does(`os.pwrite(${fd}, b"moving", 0)`);
      ino = await one.does(`os.fstat(${fd}).st_ino`);
    }
    const line = command
      .replaceAll('/mnt', mounted.path)
      .replaceAll('/srv', home)
      .replaceAll('4711', String(one.pid))
      .replaceAll('rootfs.cfs', image)
      .replaceAll(/\bthere\b/g, there)
      .replaceAll(/(?<= )dump\b/g, dump)
      .replaceAll(`${there}/dump`, join(there, dump.split('/').at(-1) as string));
    if (command.startsWith('umount')) {
      await one.ends();
      await mounted.unmount();
      continue;
    }
    const settings = Object.entries({ ...scratch.environment, PATH: `${bin}:${process.env['PATH']}` });
    const words = settings.map(([key, value]) => `${key}=${value}`);
    const { status, stdout, stderr } = await run(['env', ...words, 'sh', '-c', line]);
    expect({ line, status, stderr }).toMatchObject({ status: 0 });
    told = stdout;
  }
  expect(told.split('\n').slice(0, 2)).toEqual([`${ino} 0`, 'moving']);
  expect(readdirSync(join(there, 'changes', NAMES))).toEqual([]);
  // the table of identities is nearly all holes
  const { size, blocks } = statSync(join(there, 'work/work/cfs-ids'));
  expect(blocks * 512).toBeLessThan(size / 4);
  await unmountBy(['umount', mounted.path]);
});

describe('cleanup', () => {
  async function relinked(mounted: Mounted): Promise<string> {
    const one = holder();
    await one.opens(mounted.at('a'), 'os.O_RDWR | os.O_CREAT');
    unlinkSync(mounted.at('a'));
    const dump = newDump();
    await prepared(dump, mounted, [one.pid]);
    await one.ends();
    return dump;
  }

  test('removes the names of a checkpoint by its list', async () => {
    const layers = layersIn(scratch.directory('layers'));
    const mounted = await mount(layers);
    const [first, second] = [await relinked(mounted), await relinked(mounted)];
    const { stdout } = await checkpoint('cleanup', '--json', '-D', first, mounted.path);
    expect(JSON.parse(stdout)).toEqual({ removed: newNames(first), kept: [] });
    expect(namesIn(mounted)).toHaveLength(1);
    expect((await checkpoint('cleanup', '-D', first, mounted.path)).stdout).toBe('0 names removed\n');
    expect((await checkpoint('cleanup', '-D', second, mounted.path)).stdout).toBe('1 name removed\n');
    await until('the files are gone', () => readdirSync(join(layers.work, 'cfs/orphans')).length === 0);
    expect(readdirSync(join(layers.work, 'cfs/claims'))).toEqual([]);
  });

  test('--all keeps what has a list, and removes the rest', async () => {
    const mounted = await newMount();
    const dumped = [await relinked(mounted), await relinked(mounted), await relinked(mounted)] as const;
    rmSync(join(dumped[0], 'cfs-files.json'));
    // a list that was moved
    const elsewhere = newDump();
    copyFileSync(join(dumped[1], 'cfs-files.json'), join(elsewhere, 'cfs-files.json'));
    rmSync(join(dumped[1], 'cfs-files.json'));
    // of a crash
    writeFileSync(mounted.at(NAMES, 'unlink-at-restart-00000000000000ff-1'), '');
    writeFileSync(mounted.at(NAMES, 'something else'), '');
    const { stdout } = await checkpoint('cleanup', '--json', '--all', '-D', elsewhere, mounted.path);
    const { removed, kept } = JSON.parse(stdout) as { removed: string[]; kept: { directory: string }[] };
    expect(removed).toHaveLength(2);
    expect(kept.map(({ directory }) => directory)).toEqual([dumped[1], dumped[2]]);
    expect(namesIn(mounted)).toHaveLength(3);
    expect(namesIn(mounted)).toContain('something else');
  });

  test('--all leaves a checkpoint alone that is being made, and not one whose process was killed', async () => {
    const mounted = await newMount();
    const one = holder();
    await one.holdsUnlinked(mounted.path, 500);
    const dump = newDump();
    const child = spawn(
      process.execPath,
      [
        join(import.meta.dirname, '../../dist/tools/cfs-checkpoint.js'),
        'prepare',
        '--relink',
        '-D',
        dump,
        mounted.path,
        String(one.pid),
      ],
      { stdio: 'ignore' },
    );
    const ended = once(child, 'exit');
    await until('it has begun', () => namesIn(mounted).length > 0);
    child.kill('SIGSTOP');
    const { stdout } = await checkpoint('cleanup', '--json', '--all', mounted.path);
    expect(JSON.parse(stdout)).toMatchObject({ removed: [], kept: [{ directory: dump }] });
    child.kill('SIGKILL');
    await ended;
    expect(namesIn(mounted).length).toBeGreaterThan(0);
    await checkpoint('cleanup', '--all', mounted.path);
    expect(namesIn(mounted)).toEqual([]);
  });
});
