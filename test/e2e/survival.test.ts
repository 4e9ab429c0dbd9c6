/** A mount whose server is killed: another one continues, and users of the mount notice only a short wait. */
import { chownSync, closeSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { generateTree } from '../support/tree-generator.ts';
import { expectEqual, type Mounted, type MountSettings, useScratch } from './harness.ts';
import { HERE, NOBODY, OWN_TOOLS, run, succeed } from './run.ts';
import { dropCaches, isAlive, isSupervisor, mountedAt, sessionMembers, until } from './system.ts';

const scratch = useScratch();

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  generateTree(source, { seed: 77, files: 400, directories: 40 });
  writeFileSync(join(source, 'large'), Buffer.alloc(5_000_000, 'a large file '));
  image = (await scratch.pack(source)).image;
});

interface MountJson {
  readonly mountpoint: string;
  readonly pid: number;
}

/** The process id of the server; undefined while it is unknown. */
async function serverOf(mounted: Mounted): Promise<number | undefined> {
  const { stdout } = await scratch.tool('cfs-info', ['mounts', '--json']);
  return (JSON.parse(stdout) as MountJson[]).find(({ mountpoint }) => mountpoint === mounted.path)?.pid;
}

/** Kills the server, and returns the process id of the next one when that answers. */
async function killServer(mounted: Mounted, server: number): Promise<number> {
  process.kill(server, 'SIGKILL');
  await until(`${server} has ended`, () => !isAlive(server));
  let next: number | undefined;
  await until('another one answers', async () => {
    next = await serverOf(mounted);
    return next !== undefined;
  });
  expect(next).not.toBe(server);
  return next as number;
}

const modes: readonly (readonly [string, MountSettings])[] = [
  ['verify=open', { words: ['verify=open'] }],
  ['verify=read', { words: ['verify=read'] }],
  ['verify=off, one thread', { words: ['verify=off', 'threads=1'] }],
];

describe.each(modes)('a mount with %s whose server is killed', (_name, settings) => {
  test('answers again, with the same files and inode numbers, and open files remain readable', async () => {
    const mounted = await scratch.mount(image, settings);
    const before = readdirSync(mounted.path).length;
    const fd = openSync(mounted.at('large'), 'r');
    try {
      let server = mounted.pid;
      for (let i = 0; i < 3; i++) {
        server = await killServer(mounted, server);
        dropCaches();
        expect(readdirSync(mounted.path)).toHaveLength(before);
        const piece = Buffer.alloc(13);
        expect(readSync(fd, piece, 0, 13, 13 * (10_000 + i))).toBe(13);
        expect(piece.toString()).toBe('a large file ');
      }
      await expectEqual(source, mounted.path);
    } finally {
      closeSync(fd);
    }
    await mounted.unmount();
  });

  test('ends by umount as before, and by SIGTERM to the server that took over', async () => {
    for (const end of ['umount', 'SIGTERM'] as const) {
      const mounted = await scratch.mount(image, settings);
      const server = await killServer(mounted, mounted.pid);
      if (end === 'umount') await mounted.unmount();
      else {
        process.kill(server, end);
        await mounted.expectGone();
      }
      expect(isAlive(server)).toBe(false);
    }
  });
});

test('the mount of an ordinary user, without passthrough, continues to serve open files', async () => {
  const mounted = await scratch.mount(image, { place: scratch.nobody(), helper: true, at: directoryOfNobody() });
  // only this user may read the mount
  const reader = scratch
    .nobody()
    .command(
      'sh',
      '-c',
      `exec 3<'${mounted.at('large')}'; head -c 13 <&3; kill -9 ${mounted.pid}; sleep 0.2; head -c 13 <&3`,
    );
  expect(await succeed(reader)).toBe('a large file a large file ');
  await mounted.end();
});

test('an image and a store that are no longer at their paths are not needed to continue', async () => {
  const store = scratch.at('store that goes');
  const own = await scratch.pack(source, { store, image: scratch.at('goes.cfs') });
  const mounted = await scratch.mount(own.image, { repos: [store] });
  await succeed(['mv', store, `${store} away`]);
  rmSync(own.image);
  await killServer(mounted, mounted.pid);
  await expectEqual(source, mounted.path);
});

function directoryOfNobody(): string {
  const at = scratch.directory('mnt of nobody');
  chownSync(at, NOBODY, NOBODY);
  return at;
}

const supervisorOf = (session: number): number | undefined => sessionMembers(session).find(isSupervisor);

test('a supervisor that is killed is replaced by the server, so that both can be killed in turn', async () => {
  const log = scratch.at('supervisors.log');
  const mounted = await scratch.mount(image, { args: ['--log', log] });
  let server = mounted.pid;
  for (let i = 0; i < 3; i++) {
    await until('there is a supervisor', () => supervisorOf(mounted.pid) !== undefined);
    const supervisor = supervisorOf(mounted.pid) as number;
    process.kill(supervisor, 'SIGKILL');
    await until('there is another', () => ![undefined, supervisor].includes(supervisorOf(mounted.pid)));
    dropCaches();
    expect(readFileSync(mounted.at('large'), 'latin1')).toHaveLength(5_000_000);
    server = await killServer(mounted, server);
  }
  expect(readFileSync(log, 'utf8').match(/the supervisor of this server died: another was started/g)).toHaveLength(3);
  await expectEqual(source, mounted.path);
  await mounted.unmount();
});

test('a second SIGTERM also ends a server that took over, even if a file is open', async () => {
  const mounted = await scratch.mount(image);
  const server = await killServer(mounted, mounted.pid);
  const fd = openSync(mounted.at('large'), 'r');
  try {
    process.kill(server, 'SIGTERM');
    await until('it is unmounted', () => !mounted.isMounted);
    expect(isAlive(server)).toBe(true);
    process.kill(server, 'SIGTERM');
    await until('all have ended', () => sessionMembers(mounted.pid).length === 0);
  } finally {
    closeSync(fd);
  }
});

test('a supervisor that gives up leaves alone another mount at the same place', async () => {
  const mounted = await scratch.mount(image);
  const server = await killServer(mounted, mounted.pid);
  const fd = openSync(mounted.at('large'), 'r');
  try {
    const supervisor = supervisorOf(mounted.pid) as number;
    await succeed(['umount', '-l', mounted.path]);
    await succeed(['mount', '-t', 'tmpfs', 'another', mounted.path]);
    process.kill(supervisor, 'SIGTERM');
    await sleep(200);
    process.kill(server, 'SIGKILL');
    await until('all have ended', () => sessionMembers(mounted.pid).length === 0);
    expect(mountedAt(mounted.path)).toMatchObject({ type: 'tmpfs' });
  } finally {
    closeSync(fd);
    await succeed(['umount', mounted.path]);
  }
});

test('cfs-mount --upgrade to a version that does not start keeps the current server', async () => {
  const mounted = await scratch.mount(image);
  const program = join(OWN_TOOLS.dist, 'libexec/cfs-serve.js');
  const whole = readFileSync(program);
  writeFileSync(program, `import './missing.js';\n${whole}`);
  try {
    const { status, stderr } = await scratch.tool('cfs-mount', ['--upgrade', mounted.path]);
    expect({ status, stderr }).toEqual({ status: 32, stderr: expect.stringMatching(/does not start.*missing\.js/) });
  } finally {
    writeFileSync(program, whole);
  }
  expect(isAlive(mounted.pid)).toBe(true);
});

test('cfs-mount --upgrade makes another server continue, and reports which', async () => {
  const mounted = await scratch.mount(image);
  const fd = openSync(mounted.at('large'), 'r');
  try {
    const { status, stdout, stderr } = await scratch.tool('cfs-mount', ['--json', '--upgrade', mounted.path]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { from, to } = JSON.parse(stdout) as { from: { pid: number }; to: { pid: number } };
    expect(from.pid).toBe(mounted.pid);
    expect(isAlive(to.pid)).toBe(true);
    expect(readSync(fd, Buffer.alloc(100), 0, 100, 1_000_000)).toBe(100);
  } finally {
    closeSync(fd);
  }
  await mounted.unmount();
});

test.each(['restart=off', 'driver=fuse-native'])(
  'cfs-mount --upgrade refuses a mount with %s, and ends nothing',
  async (word) => {
    const mounted = await scratch.mount(image, { words: [word] });
    const { status, stderr } = await scratch.tool('cfs-mount', ['--upgrade', mounted.path]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('no supervisor of its server') });
    expect(isAlive(mounted.pid)).toBe(true);
  },
);

test('restart=off leaves a dead mount, as before', async () => {
  const mounted = await scratch.mount(image, { words: ['restart=off'] });
  process.kill(mounted.pid, 'SIGKILL');
  await until('it is dead', async () => (await run(['ls', mounted.path])).stderr.includes('Transport endpoint'));
});

interface Load {
  readonly kind: string;
  readonly count: number;
  readonly errors: readonly string[];
  /** The longest time of a step, in milliseconds. */
  readonly longest: number;
}

const LEAST_KILLS = 3;

test('readers of every kind see no error and no wrong byte while the server is killed again and again', async () => {
  const mounted = await scratch.mount(image);
  const end = Date.now() + Number(process.env['CFS_KILL_SECONDS'] ?? 14) * 1000;
  const stop = scratch.at('stop-reading');
  const program = join(import.meta.dirname, 'reader-load.mjs');
  const readers = ['open', 'hold', 'list', 'map', 'handle'].map(async (kind, i) => {
    const args = [kind, mounted.path, source, stop, String(i + 1)];
    const timeoutMs = end - Date.now() + 500_000;
    return JSON.parse(await succeed(HERE.command(process.execPath, program, ...args), { timeoutMs })) as Load;
  });
  let server = mounted.pid;
  let kills = 0;
  while (kills < LEAST_KILLS || Date.now() < end) {
    await sleep(1_100);
    dropCaches();
    server = await killServer(mounted, server);
    kills++;
  }
  writeFileSync(stop, '');
  const loads = await Promise.all(readers);
  expect(loads.flatMap(({ errors }) => errors)).toEqual([]);
  for (const { kind, count } of loads) expect(count, kind).toBeGreaterThan(10);
  console.log(
    `${kills} kills: ${loads.map(({ kind, count, longest }) => `${kind} ${count}×, ${longest} ms`).join('; ')}`,
  );
});
