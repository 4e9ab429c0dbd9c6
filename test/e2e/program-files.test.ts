/** A mount whose program is moved, removed or reinstalled while it is in use. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Mounted, type MountReport, useScratch } from './harness.ts';
import { OWN_TOOLS, Place, succeed } from './run.ts';
import { isAlive, isSupervisor, sessionMembers, until } from './system.ts';

const scratch = useScratch();

const FILES = 40;
let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, `file-${i}`), `${i} `.repeat(50_000));
  image = (await scratch.pack(source)).image;
});

const CHECKOUT = resolve(OWN_TOOLS.dist, '..');
const PACKAGES = ['koffi', '@koromix', '@napi-rs', 'fs-ext', 'blake3'];

/** An installation of its own. */
function install(name: string): { readonly root: string; readonly place: Place } {
  const root = scratch.at(name);
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  for (const part of ['dist', 'package.json']) execFileSync('cp', ['-a', join(CHECKOUT, part), root]);
  for (const part of PACKAGES) {
    execFileSync('cp', ['-a', join(CHECKOUT, 'node_modules', part), join(root, 'node_modules')]);
  }
  return { root, place: new Place(name, [], { node: OWN_TOOLS.node, dist: join(root, 'dist') }) };
}

async function mount(place: Place, words: string, log: string, environment: Record<string, string> = {}) {
  const args = ['--json', '--log', log, '-o', words, '--repo', scratch.store, image, scratch.directory('mnt')];
  const stdout = await succeed(place.tool('cfs-mount', args, { ...scratch.environment, ...environment }));
  return scratch.adopt(JSON.parse(stdout) as MountReport);
}

/** Reads all files at once, so that more threads are started. */
async function expectContents(mounted: Mounted): Promise<void> {
  const names = readdirSync(mounted.path);
  expect(names).toHaveLength(FILES);
  const sizes = await succeed(['sh', '-c', 'cd "$1"; for f in *; do wc -c <"$f" & done; wait', 'sh', mounted.path]);
  const expected = names.map((name) => `${name.slice(5)} `.length * 50_000);
  const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
  expect(sorted(sizes.trim().split('\n').map(Number))).toEqual(sorted(expected));
}

describe.each(['open', 'read', 'off'])('a mount with verify=%s', (verify) => {
  test('needs no file of its program once it answers', async () => {
    const { root, place } = install(`moved-${verify}`);
    const log = scratch.at(`moved-${verify}.log`);
    const mounted = await mount(place, `verify=${verify},threads=4`, log);
    renameSync(root, `${root} away`);
    await expectContents(mounted);
    await mounted.unmount();
    expect(readFileSync(log, 'utf8')).toBe('');
  });
});

test('a mount with the portable BLAKE3 continues if its program was moved', async () => {
  const { root, place } = install('moved-portable');
  const mounted = await mount(place, 'verify=open', scratch.at('portable.log'), { CFS_BLAKE3: 'portable' });
  renameSync(root, `${root} away`);
  await expectContents(mounted);
  await mounted.unmount();
});

test('the portable driver, too, needs no file of its program', async () => {
  const root = scratch.at('moved-fuse-native');
  const { place } = install('moved-fuse-native');
  for (const part of [
    'fuse-native',
    'fuse-shared-library-linux',
    'fuse-shared-library',
    'node-gyp-build',
    'nanoresource',
    'inherits',
  ]) {
    const from = join(CHECKOUT, 'node_modules', part);
    execFileSync('sh', ['-c', 'if [ -e "$1" ]; then cp -a "$1" "$2"; fi', 'sh', from, join(root, 'node_modules')]);
  }
  const mounted = await mount(place, 'driver=fuse-native', scratch.at('fuse-native.log'));
  renameSync(root, `${root} away`);
  await expectContents(mounted);
  await mounted.unmount();
});

test('a server that dies while its program is missing is replaced when the program is there again', async () => {
  const { root, place } = install('missing');
  const log = scratch.at('missing.log');
  const mounted = await mount(place, 'verify=open', log);
  renameSync(root, `${root} away`);
  process.kill(mounted.pid, 'SIGKILL');
  await until('it has ended', () => !isAlive(mounted.pid));
  await until('the log says that none starts', () =>
    /two servers ended before they answered/.test(readFileSync(log, 'utf8')),
  );
  renameSync(`${root} away`, root);
  await expectContents(mounted);
  expect(sessionMembers(mounted.pid).filter((pid) => !isSupervisor(pid))).not.toContain(mounted.pid);
  await mounted.unmount();
});

test('a supervisor that dies while its file is missing is replaced when that is there again', async () => {
  const { root, place } = install('no supervisor');
  const mounted = await mount(place, 'verify=open', scratch.at('no-supervisor.log'));
  const supervisor = (): number | undefined => sessionMembers(mounted.pid).find(isSupervisor);
  await until('there is a supervisor', () => supervisor() !== undefined);
  renameSync(root, `${root} away`);
  process.kill(supervisor() as number, 'SIGKILL');
  await until('several were tried', () =>
    readFileSync(scratch.at('no-supervisor.log'), 'utf8').includes('until one survives'),
  );
  await expectContents(mounted);
  renameSync(`${root} away`, root);
  await until('there is one again', () => supervisor() !== undefined);
  process.kill(mounted.pid, 'SIGKILL');
  await expectContents(mounted);
  await mounted.unmount();
});
