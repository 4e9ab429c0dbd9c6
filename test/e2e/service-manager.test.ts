/** A mount in the foreground of a service manager, and the helper of mount(8). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { HERE, run, succeed } from './run.ts';
import { mountedAt, unmountBy, until } from './system.ts';

const scratch = useScratch();
const PROGRAM = join(import.meta.dirname, 'service-manager.py');
/** The directory in which mount(8) looks for helpers. */
const HELPER = '/sbin/mount.cfstest';

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'first second third fourth fifth sixth seventh eighth ninth tenth\n'.repeat(2));
  image = (await scratch.pack(source)).image;
});

afterAll(() => rmSync(HELPER, { force: true }));

const LINES = [
  'told FDSTORE=1 FDNAME=cfs with 2 files',
  'told READY=1 with 0 files',
  'read first ',
  'told READY=1 with 0 files',
  'read second',
  'told READY=1 with 0 files',
  'read  third',
  'exit 0',
  'told STOPPING=1 FDSTOREREMOVE=1 FDNAME=cfs with 0 files',
];

test.each(['nothing', 'the image', 'the store'])(
  'cfs-mount -f notifies a service manager, which keeps the mount if the server is killed and %s is hidden',
  async (what) => {
    const mnt = scratch.directory('mnt');
    const [ownImage, store] = [scratch.at(`${what}.cfs`), scratch.at(`store of ${what}`)];
    cpSync(image, ownImage);
    cpSync(scratch.store, store, { recursive: true });
    const hidden = what === 'the image' ? ownImage : what === 'the store' ? join(store, 'meta.json') : undefined;
    const mount = HERE.tool('cfs-mount', ['-f', '--repo', store, ownImage, mnt], scratch.environment);
    const env = { ...process.env, ...(hidden === undefined ? {} : { HIDE: hidden }) };
    const lines = await succeed(['python3', PROGRAM, mnt, join(mnt, 'file'), ...mount], { env });
    expect(lines.trim().split('\n')).toEqual(LINES);
  },
);

test('cfs-mount -f continues with a mount that a server of release 0.1.0 left, and logs that', async () => {
  const [mnt, log] = [scratch.directory('mnt'), scratch.at('former.log')];
  const words = ['-f', '--log', log, '--repo', scratch.store, image, mnt];
  const mount = HERE.tool('cfs-mount', words, scratch.environment);
  const env = { ...process.env, FORMER: '1' };
  const lines = await succeed(['python3', PROGRAM, mnt, join(mnt, 'file'), ...mount], { env });
  expect(lines.trim().split('\n')).toEqual(LINES);
  const logged = readFileSync(log, 'utf8').trim().split('\n');
  expect(logged).toEqual([1, 2].map(() => expect.stringContaining(`${mnt}: the server died; this one continues`)));
});

test('cfs-mount -f reports if no service manager keeps the mount, and removes a dead mount of such a start', async () => {
  const mnt = scratch.directory('mnt');
  const start = async (): Promise<{ readonly child: ChildProcess; readonly log: () => string }> => {
    const [program = '', ...args] = HERE.tool('cfs-mount', ['-f', '--repo', scratch.store, image, mnt], {
      ...scratch.environment,
      NOTIFY_SOCKET: '/nonexistent',
    });
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    child.stderr.on('data', (piece: Buffer) => {
      log += piece.toString();
    });
    await until('it is mounted', () => log.includes('does not store the descriptors of this mount'));
    return { child, log: () => log };
  };
  const first = await start();
  expect(readFileSync(join(mnt, 'file'), 'utf8')).toMatch(/^first/);
  first.child.kill('SIGKILL');
  await once(first.child, 'exit');
  const second = await start();
  expect(second.log()).toContain('unmounted the dead mount of an earlier server');
  expect(readFileSync(join(mnt, 'file'), 'utf8')).toMatch(/^first/);
  await unmountBy(['umount', mnt]);
  await once(second.child, 'exit');
});

test('mount(8) mounts through the helper, with options as in fstab', async () => {
  const [, node, tool] = HERE.tool('mount.cfs', []).slice(-3);
  mkdirSync(scratch.at('bin'));
  const helper = scratch.at('bin', 'helper');
  writeFileSync(helper, `#!/bin/sh\nexec ${node} ${tool} "$@"\n`, { mode: 0o755 });
  symlinkSync(helper, HELPER);
  const mnt = scratch.directory('mnt');
  await succeed(['mount', '-t', 'cfstest', '-o', `repo=${scratch.store},noexec,nofail,x-any`, image, mnt]);
  expect(mountedAt(mnt)).toMatchObject({ type: 'fuse.cfs', source: image });
  expect(mountedAt(mnt)?.options.split(',')).toContain('noexec');
  expect(readFileSync(join(mnt, 'file'), 'utf8')).toMatch(/^first/);
  await unmountBy(['umount', mnt]);
  const { status, stderr } = await run(['mount', '-t', 'cfstest', '-o', 'nonsense', image, mnt]);
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('unknown mount option "nonsense"') });
});
