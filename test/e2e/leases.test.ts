/** Objects that a mount needs are kept as long as it exists, even if its server dies, and can be deleted afterwards. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { manyFiles } from './cli.ts';
import { type Mounted, type MountSettings, type Packed, useScratch } from './harness.ts';
import { NOBODY, run, succeed } from './run.ts';
import { dropCaches, isAlive, isSupervisor, mountedAt, sessionMembers, until } from './system.ts';

const scratch = useScratch();

interface Freed {
  readonly mounted: number;
  readonly dead: number;
  readonly freed: { readonly objects: number };
}

let store: string;
let image: string;
let serial = 0;

/** A store with an unregistered image of 20 objects, and a registered one of 5. */
beforeEach(async () => {
  serial++;
  store = scratch.at(`store-${serial}`);
  const pack = (name: string, files: number, args: readonly string[]): Promise<Packed> =>
    scratch.pack(manyFiles(scratch.at(`${name}-${serial}`), files, files * 100), { store, args });
  image = (await pack('mounted', 20, ['--no-register'])).image;
  await pack('other', 5, []);
});

async function gc(...args: readonly string[]): Promise<Freed> {
  return JSON.parse(await succeed(tool('gc', '--min-age', '0', '--json', ...args, store))) as Freed;
}

const tool = (...args: readonly string[]): string[] => [process.execPath, 'dist/tools/cfs-repo.js', ...args];

const mount = (settings: MountSettings = {}): Promise<Mounted> => scratch.mount(image, { repos: [store], ...settings });

/** Reads every file, from the store. */
function readAll(mounted: Mounted): void {
  dropCaches();
  expect(readdirSync(mounted.path)).toHaveLength(20);
  for (const name of readdirSync(mounted.path)) expect(readFileSync(mounted.at(name), 'utf8')).toMatch(/^content /);
}

/** Until the list of the lease is written, the server holds the lock, and gc waits. */
const expectKept = async (mounted: Mounted): Promise<void> => {
  expect(await gc()).toMatchObject({ mounted: 1, freed: { objects: 0 } });
  readAll(mounted);
};

const expectDead = async (): Promise<void> => {
  expect(await gc()).toMatchObject({ mounted: 0, freed: { objects: 20 } });
  if (existsSync(join(store, 'leases'))) expect(readdirSync(join(store, 'leases'))).toEqual([]);
};

const kinds: readonly (readonly [string, readonly string[]])[] = [
  ['as usual', []],
  ['with restart=off', ['restart=off']],
  ['with driver=fuse-native', ['driver=fuse-native']],
  ['with verify=read', ['verify=read']],
];

describe.each(kinds)('a mount %s', (_name, words) => {
  test('keeps its objects from gc as long as it exists', async () => {
    const mounted = await mount({ words });
    await expectKept(mounted);
    await mounted.unmount();
    await expectDead();
  });
});

test('a mount of a registered image keeps its objects when that is unregistered', async () => {
  await succeed(tool('register', store, image));
  const mounted = await mount();
  expect(readdirSync(join(store, 'leases')).filter((name) => !name.endsWith('.packed'))).toEqual([]);
  await succeed(tool('unregister', store, image));
  await expectKept(mounted);
  await mounted.unmount();
  await expectDead();
});

test('two mounts of an image each keep its objects', async () => {
  const [first, second] = [await mount(), await mount()];
  expect(await gc()).toMatchObject({ mounted: 2, freed: { objects: 0 } });
  await first.unmount();
  await expectKept(second);
  await second.unmount();
  await expectDead();
});

test('the lease outlives the server, and dies with server and supervisor', async () => {
  const mounted = await mount();
  let server = mounted.pid;
  for (let i = 0; i < 2; i++) {
    process.kill(server, 'SIGKILL');
    await until('the server has ended', () => !isAlive(server));
    // the next server may not answer yet. If this one died before it wrote the list, the list is missing: gc refuses
    await until('the list is written', async () => (await run(tool('gc', '--min-age', '0', store))).status === 0);
    expect(await gc()).toMatchObject({ mounted: 1, freed: { objects: 0 } });
    readAll(mounted);
    server = sessionMembers(mounted.pid).find((pid) => !isSupervisor(pid)) as number;
  }
  // a server that continued would start another supervisor
  process.kill(server, 'SIGSTOP');
  for (const pid of sessionMembers(mounted.pid).sort((a) => (isSupervisor(a) ? -1 : 1))) process.kill(pid, 'SIGKILL');
  await until('all have ended', () => sessionMembers(mounted.pid).length === 0);
  await expectDead();
});

test('a server that is killed at once leaves a lease that the next one writes', async () => {
  for (let i = 0; i < 5; i++) {
    const mounted = await mount();
    process.kill(mounted.pid, 'SIGKILL');
    await until('gc knows the lease', async () => {
      const { status, stdout } = await run(tool('gc', '--min-age', '0', '--json', store));
      if (status === 0) expect(JSON.parse(stdout)).toMatchObject({ mounted: 1, freed: { objects: 0 } });
      return status === 0;
    });
    readAll(mounted);
    await mounted.unmount();
  }
  await expectDead();
});

test('each of several repositories has a lease', async () => {
  const second = `${store}-copy`;
  await succeed(['cp', '-a', store, second]);
  const mounted = await mount({ repos: [store, second] });
  await expectKept(mounted);
  const args = tool('gc', '--min-age', '0', '--json', second);
  expect(JSON.parse(await succeed(args))).toMatchObject({ mounted: 1, freed: { objects: 0 } });
  await mounted.unmount();
});

test('a mount waits while objects are deleted, and is not made without them', async () => {
  const holder = spawn('flock', ['-x', join(store, 'lock'), 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  const log = scratch.at(`waiting-${serial}`);
  writeFileSync(log, '');
  const at = scratch.directory('mnt');
  const mounting = mount({ at, args: ['--log', log] });
  await until('the mount waits', () => readFileSync(log, 'utf8').includes('waiting for '));
  expect(mountedAt(at)).toBeUndefined();
  holder.stdin.end();
  const mounted = await mounting;
  await expectKept(mounted);
  await mounted.unmount();
});

describe('an ordinary user with the store of root', () => {
  const nobodys = async (log: string): Promise<Mounted> => {
    const at = scratch.directory('mnt-of-nobody');
    chownSync(at, NOBODY, NOBODY);
    writeFileSync(log, '');
    chmodSync(log, 0o666);
    return mount({ place: scratch.nobody(), helper: true, at, args: ['--log', log] });
  };

  test('mounts without a lease, and the log says so once', async () => {
    const log = scratch.at(`log-${serial}`);
    const mounted = await nobodys(log);
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    expect(lines.filter((line) => line.includes('no lease'))).toEqual([
      expect.stringContaining(`garbage collection does not know that this mount needs objects of ${store}`),
    ]);
    expect(await gc('--dry-run')).toMatchObject({ mounted: 0, freed: { objects: 20 } });
    await mounted.end();
  });

  test('has none on a registered image, either: a lock would keep garbage from being deleted', async () => {
    await succeed(tool('register', store, image));
    const log = scratch.at(`log-${serial}`);
    const mounted = await nobodys(log);
    expect(readFileSync(log, 'utf8')).toContain('no lease');
    expect(await gc()).toMatchObject({ mounted: 0, freed: { objects: 0 } });
    await succeed(tool('unregister', store, image));
    await expectDead();
    await mounted.end();
  });
});

test('a store that was moved away in the meantime still has the lease, and is free of it at the end', async () => {
  const mounted = await mount();
  await expectKept(mounted);
  const moved = `${store}-moved`;
  await succeed(['mv', store, moved]);
  store = moved;
  await expectKept(mounted);
  await mounted.unmount();
  await expectDead();
  rmSync(moved, { recursive: true });
});
