/**
 * Several processes and one file: locks, shared mappings, direct I/O, programs. On the file systems of the other tests,
 * and in a mount of an ordinary user, which has no passthrough.
 */
import { chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Mounted, useScratch } from '../e2e/harness.ts';
import { HERE, NOBODY, type Place, succeed } from '../e2e/run.ts';
import { isAlive, until } from '../e2e/system.ts';
import { type Answer, Python } from './process/python.ts';
import { MAKE_SITE, type Site, serverOf, TESTED } from './sites.ts';

const scratch = useScratch();

/** A site, and the user of its processes. */
interface Shared {
  readonly name: string;
  readonly site: Site;
  readonly place: Place;
}

/** Files of the lower layer; each test uses one of them and a new file. */
const FILES = Array.from({ length: 24 }, (_, i) => `lower-${i}`);
const SIZE = 100_000;
const CONTENT = Buffer.alloc(SIZE, 'of the lower layer ');

let lower: string;

beforeAll(() => {
  lower = scratch.directory('lower');
  for (const name of FILES) writeFileSync(join(lower, name), CONTENT);
  for (const name of ['true', 'sleep']) copyFileSync(`/bin/${name}`, join(lower, name));
});

async function mountOfUser(): Promise<Shared> {
  const { image } = await scratch.pack(lower);
  await succeed(['chmod', '644', image]);
  const layers = scratch.directory('layers');
  for (const name of ['upper', 'work']) {
    mkdirSync(join(layers, name));
    chownSync(join(layers, name), NOBODY, NOBODY);
  }
  const place = await scratch.namespaceOfNobody();
  const words = ['userxattr', `upperdir=${layers}/upper`, `workdir=${layers}/work`];
  const mounted: Mounted = await scratch.mount(image, { place, words });
  const end = (): Promise<void> => mounted.end();
  const site: Site = {
    name: 'cfs',
    root: mounted.path,
    remount: async () => {},
    end,
    server: () => serverOf(mounted),
  };
  return { name: 'cfs of an ordinary user', site, place };
}

const NAMES = [...TESTED, 'cfs of an ordinary user'] as const;

async function make(name: (typeof NAMES)[number]): Promise<Shared> {
  if (name === 'cfs of an ordinary user') return await mountOfUser();
  return { name, site: await MAKE_SITE[name](scratch, lower), place: HERE };
}

const processes: Python[] = [];
afterEach(async () => {
  for (const one of processes.splice(0)) await one.kill();
});

describe.each(NAMES)('on %s', (siteName) => {
  let shared: Shared;
  let used = 0;
  beforeAll(async () => {
    shared = await make(siteName);
  });
  afterAll(() => shared?.site.end());

  function start(): Python {
    const one = new Python(shared.site.root, shared.place);
    processes.push(one);
    return one;
  }

  /** Two processes that have a file open. */
  async function two(file: string, flags = 'os.O_RDWR'): Promise<[Python, Python]> {
    const pair: [Python, Python] = [start(), start()];
    for (const one of pair) expect(await one.ask(`fd = os.open('${file}', ${flags}, 0o644)`)).toBe(null);
    return pair;
  }

  /** A file of the lower layer that no other test has used. */
  const unused = (): string => FILES[used++] as string;

  const files = (): readonly [string, string][] => [
    [unused(), 'os.O_RDWR'],
    [`new-${used}`, 'os.O_RDWR | os.O_CREAT'],
  ];

  /** Waits until a process waits for a lock. */
  const blocked = async (one: Answer): Promise<void> =>
    until(`${one} waits for a lock`, () =>
      new RegExp(`-> \\S+ +\\S+ +\\S+ ${one} `).test(readFileSync('/proc/locks', 'utf8')),
    );

  describe('flock(2)', () => {
    test('excludes other processes, until it is released, or its process is killed', async () => {
      for (const [file, flags] of files()) {
        const [a, b] = await two(file, flags);
        const lock = (one: Python, how: string): Promise<Answer> =>
          one.ask(`fcntl.flock(fd, fcntl.LOCK_NB | ${how}) or 'ok'`);
        expect(await lock(a, 'fcntl.LOCK_SH')).toBe('ok');
        expect(await lock(b, 'fcntl.LOCK_SH')).toBe('ok');
        expect(await lock(a, 'fcntl.LOCK_EX')).toBe('EAGAIN');
        expect(await lock(b, 'fcntl.LOCK_UN')).toBe('ok');
        expect(await lock(a, 'fcntl.LOCK_EX')).toBe('ok');
        expect(await lock(b, 'fcntl.LOCK_SH')).toBe('EAGAIN');
        await a.kill();
        expect(await lock(b, 'fcntl.LOCK_EX')).toBe('ok');
      }
    });
  });

  describe('fcntl(2)', () => {
    test('locks ranges of a file for a process, and says which process has them', async () => {
      for (const [file, flags] of files()) {
        const [a, b] = await two(file, flags);
        const lock = (one: Python, type: string, start: number, length: number): Promise<Answer> =>
          one.ask(`record(fd, fcntl.F_SETLK, fcntl.${type}, ${start}, ${length})`);
        expect(await lock(a, 'F_WRLCK', 0, 10)).toBe('ok');
        expect(await lock(b, 'F_RDLCK', 5, 10)).toBe('EAGAIN');
        expect(await lock(b, 'F_WRLCK', 10, 10)).toBe('ok');
        // F_WRLCK is 1
        expect(await b.ask('record(fd, fcntl.F_GETLK, fcntl.F_RDLCK, 5, 2)')).toEqual([1, await a.pid()]);
        expect(await lock(a, 'F_UNLCK', 3, 4)).toBe('ok');
        expect(await lock(b, 'F_WRLCK', 3, 4)).toBe('ok');
        expect(await lock(b, 'F_RDLCK', 7, 1)).toBe('EAGAIN');
        // the end of any open file of the process releases its locks
        await a.ask(`os.close(os.open('${file}', os.O_RDONLY))`);
        expect(await lock(b, 'F_WRLCK', 0, 0)).toBe('ok');
      }
    });

    test('waits for a lock; EDEADLK if two would wait for each other', async () => {
      const [a, b] = await two(unused());
      const lock = (one: Python, command: string, start: number): Promise<Answer> =>
        one.ask(`record(fd, fcntl.${command}, fcntl.F_WRLCK, ${start}, 1)`);
      expect(await lock(a, 'F_SETLK', 0)).toBe('ok');
      expect(await lock(b, 'F_SETLK', 1)).toBe('ok');
      const pid = await a.pid();
      const waiting = lock(a, 'F_SETLKW', 1);
      await blocked(pid);
      expect(await lock(b, 'F_SETLKW', 0)).toBe('EDEADLK');
      await b.ask('os.close(fd)');
      expect(await waiting).toBe('ok');
    });

    test('has locks of open files, not of processes', async () => {
      const file = unused();
      const [a, b] = await two(file);
      const lock = (one: Python, fd: string, type: string): Promise<Answer> =>
        one.ask(`record(${fd}, F_OFD_SETLK, fcntl.${type}, 0, 10)`);
      await a.ask(`other = os.open('${file}', os.O_RDWR)`);
      expect(await lock(a, 'fd', 'F_WRLCK')).toBe('ok');
      expect(await lock(a, 'other', 'F_WRLCK')).toBe('EAGAIN');
      expect(await b.ask('record(fd, F_OFD_GETLK, fcntl.F_RDLCK, 0, 1)')).toEqual([1, -1]);
      await a.ask('os.close(other)');
      expect(await lock(b, 'fd', 'F_RDLCK')).toBe('EAGAIN');
      // a copy of the descriptor keeps it
      await a.ask('copy = os.dup(fd); os.close(fd)');
      expect(await lock(b, 'fd', 'F_RDLCK')).toBe('EAGAIN');
      await a.ask('os.close(copy)');
      expect(await lock(b, 'fd', 'F_RDLCK')).toBe('ok');
    });
  });

  test('locks stay when a file is copied up, renamed and removed', async () => {
    const file = unused();
    const [a, b] = await two(file, 'os.O_RDONLY');
    expect(await a.ask("fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB) or 'ok'")).toBe('ok');
    expect(await a.ask('record(fd, fcntl.F_SETLK, fcntl.F_RDLCK, 0, 5)')).toBe('ok');
    const refused = async (): Promise<void> => {
      expect(await b.ask('fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)')).toBe('EAGAIN');
      expect(await b.ask('record(fd, fcntl.F_SETLK, fcntl.F_WRLCK, 4, 1)')).toBe('EAGAIN');
    };
    await b.ask(`fd = os.open('${file}', os.O_RDWR)`);
    await refused();
    await b.ask(`os.write(fd, b'changed'); os.rename('${file}', '${file} renamed')`);
    await refused();
    await b.ask(`fd = os.open('${file} renamed', os.O_RDWR); os.unlink('${file} renamed')`);
    await refused();
  });

  test('two processes share a mapping, and read(2) shows the same', async () => {
    for (const [file, flags] of files()) {
      const [a, b] = await two(file, flags);
      await a.ask(`os.ftruncate(fd, ${SIZE})`);
      for (const one of [a, b]) await one.ask(`m = mmap.mmap(fd, ${SIZE})`);
      await a.ask("m[5000:5003] = b'by ' ; m[0:1] = b'A'");
      expect(await b.ask('m[5000:5003]')).toBe('by ');
      await b.ask("m[5003:5004] = b'b'");
      expect(await a.ask('os.pread(fd, 4, 5000)')).toBe('by b');
      expect(await b.ask("os.pwrite(fd, b'written', 70000)")).toBe(7);
      expect(await a.ask('m[70000:70007]')).toBe('written');
      await b.ask('os.ftruncate(fd, 4096)');
      expect(await a.ask(`os.ftruncate(fd, ${SIZE}) or m[5000:5004]`)).toBe('\0\0\0\0');
      // without msync(2): what a process leaves in a mapping is in the file
      await a.ask("m[60000:60004] = b'last'");
      await a.kill();
      expect(await b.ask(`os.pread(os.open('${file}', os.O_RDONLY), 4, 60000)`)).toBe('last');
    }
  });

  test('a mapping to read shows what another process writes after copying up', async () => {
    // overlayfs continues to show the lower file
    const isKept = siteName === 'overlayfs';
    const file = unused();
    const [reader] = await two(file, 'os.O_RDONLY');
    await reader.ask(`m = mmap.mmap(fd, ${SIZE}, mmap.MAP_SHARED, mmap.PROT_READ)`);
    expect(await reader.ask('m[0:6]')).toBe('of the');
    const writer = start();
    await writer.ask(`fd = os.open('${file}', os.O_RDWR); m = mmap.mmap(fd, ${SIZE}); m[0:6] = b'mapped'`);
    expect(await reader.ask('m[0:6]')).toBe(isKept ? 'of the' : 'mapped');
    await writer.ask("os.pwrite(fd, b'of writing', 0)");
    expect(await reader.ask('m[0:10]')).toBe(isKept ? 'of the low' : 'of writing');
  });

  test('direct I/O reads and writes whole blocks; other processes see it at once', async () => {
    for (const [file, flags] of files()) {
      const [a, b] = await two(file, flags);
      await b.ask(`os.ftruncate(fd, ${SIZE}); m = mmap.mmap(fd, ${SIZE})`);
      expect(await b.ask('len(m[:])')).toBe(SIZE);
      await a.ask(`direct = os.open('${file}', os.O_RDWR | os.O_DIRECT)`);
      expect(await a.ask("os.pwritev(direct, [aligned(b'D' * 8192)], 4096)")).toBe(8192);
      expect(await b.ask('os.pread(fd, 4, 4094)')).toMatch(/^..DD$/s);
      expect(await b.ask('m[4094:4098]')).toMatch(/^..DD$/s);
      // buffered, then direct
      expect(await b.ask("os.pwrite(fd, b'buffered', 8192)")).toBe(8);
      expect(await a.ask('into = aligned(bytes(4096)); os.preadv(direct, [into], 8192)')).toBe(null);
      expect(await a.ask('os.preadv(direct, [into], 8192)')).toBe(4096);
      expect(await a.ask('into[0:9]')).toBe('bufferedD');
      await b.ask("m[8192:8200] = b'mapped..'; m.flush()");
      expect(await a.ask('os.preadv(direct, [into], 8192)')).toBe(4096);
      expect(await a.ask('into[0:9]')).toBe('mapped..D');
      // a read that goes beyond the end, and a write that makes the file longer
      expect(await a.ask('os.preadv(direct, [into], 98304)')).toBe(SIZE - 98_304);
      expect(await a.ask("os.pwritev(direct, [aligned(b'E' * 4096)], 102400)")).toBe(4096);
      expect(await b.ask('os.fstat(fd).st_size')).toBe(106_496);
      expect(await b.ask('os.pread(fd, 10, 102398)')).toBe('\0\0EEEEEEEE');
      expect(await a.ask("os.lseek(direct, 0, 0) or os.writev(direct, [aligned(b'F' * 4096)])")).toBe(4096);
      expect(await b.ask('m[0:3]')).toBe('FFF');
    }
  });

  test('what is open to write is not executed, and what is executed is not opened to write', async () => {
    const [a, b] = [start(), start()];
    await a.ask("import subprocess, shutil; shutil.copy('/bin/true', 'program'); fd = os.open('program', os.O_RDWR)");
    const execute = "subprocess.run([os.getcwd() + '/program']).returncode";
    expect(await b.ask('import subprocess')).toBe(null);
    expect(await b.ask(execute)).toBe('ETXTBSY');
    await a.ask('os.close(fd)');
    expect(await b.ask(execute)).toBe(0);
    // of the lower layer, too
    await b.ask("child = subprocess.Popen([os.getcwd() + '/sleep', '1000'])");
    try {
      await until('it runs', async () =>
        String(await b.ask("os.readlink(f'/proc/{child.pid}/exe')")).endsWith('/sleep'),
      );
      expect(await a.ask("os.open('sleep', os.O_RDWR)")).toBe('ETXTBSY');
      expect(await a.ask("os.truncate('sleep', 0)")).toBe('ETXTBSY');
      // its name may be given to another file
      await a.ask("shutil.copy('/bin/true', 'other'); os.rename('other', 'sleep')");
      expect(await b.ask("subprocess.run([os.getcwd() + '/sleep']).returncode")).toBe(0);
      expect(await b.ask('child.poll()')).toBe(null);
    } finally {
      await b.ask('child.kill(); child.wait()');
    }
  });

  describe.runIf(siteName.startsWith('cfs'))('when the server is killed', () => {
    /** Kills it, and waits until another one answers. */
    async function killServer(): Promise<void> {
      const pid = shared.site.server?.() as number;
      process.kill(pid, 'SIGKILL');
      await until(`${pid} has ended`, () => !isAlive(pid));
      await succeed(shared.place.command('ls', shared.site.root));
      expect(shared.site.server?.()).not.toBe(pid);
    }

    test('locks stay, and processes that wait go on waiting', async () => {
      for (const [file, flags] of files()) {
        const [a, b] = await two(file, flags);
        const c = start();
        await a.ask(`one = os.open('${file}', os.O_RDWR)`);
        expect(await a.ask("fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB) or 'ok'")).toBe('ok');
        expect(await a.ask('record(fd, fcntl.F_SETLK, fcntl.F_WRLCK, 0, 10)')).toBe('ok');
        expect(await a.ask('record(one, F_OFD_SETLK, fcntl.F_WRLCK, 20, 10)')).toBe('ok');
        await c.ask(`fd = os.open('${file}', os.O_RDWR)`);
        const pid = await c.pid();
        const waiting = c.ask("fcntl.flock(fd, fcntl.LOCK_SH) or 'locked'");
        await blocked(pid);
        await killServer();
        await b.ask(`again = os.open('${file}', os.O_RDWR)`);
        for (const fd of ['fd', 'again']) {
          expect(await b.ask(`fcntl.flock(${fd}, fcntl.LOCK_EX | fcntl.LOCK_NB)`)).toBe('EAGAIN');
          expect(await b.ask(`record(${fd}, fcntl.F_GETLK, fcntl.F_RDLCK, 0, 5)`)).toEqual([1, await a.pid()]);
          expect(await b.ask(`record(${fd}, F_OFD_SETLK, fcntl.F_RDLCK, 25, 1)`)).toBe('EAGAIN');
        }
        await a.ask('os.close(one)');
        await a.ask('fcntl.flock(fd, fcntl.LOCK_UN)');
        expect(await waiting).toBe('locked');
        await c.ask('os.close(fd)');
        expect(await b.ask("fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB) or 'ok'")).toBe('ok');
        expect(await b.ask('record(again, fcntl.F_SETLK, fcntl.F_WRLCK, 0, 0)')).toBe('ok');
      }
    });

    test('shared mappings and direct I/O go on', async () => {
      for (const [file, flags] of files()) {
        const [a, b] = await two(file, flags);
        await a.ask(`os.ftruncate(fd, ${SIZE})`);
        for (const one of [a, b]) await one.ask(`m = mmap.mmap(fd, ${SIZE})`);
        await a.ask(`direct = os.open('${file}', os.O_RDWR | os.O_DIRECT)`);
        await a.ask("m[0:6] = b'before'");
        await killServer();
        expect(await b.ask('m[0:6]')).toBe('before');
        await b.ask("m[90000:90005] = b'after'");
        expect(await a.ask('os.pread(fd, 5, 90000)')).toBe('after');
        expect(await a.ask("os.pwritev(direct, [aligned(b'D' * 4096)], 4096)")).toBe(4096);
        expect(await b.ask('m[4096:4098]')).toBe('DD');
      }
    });
  });
});
