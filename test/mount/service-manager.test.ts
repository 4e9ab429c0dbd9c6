/** A mount in the foreground of a service manager, and the helper of mount(8). */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { HERE, run, succeed } from './run.ts';
import { mountedAt } from './system.ts';

const scratch = useScratch();
const PROGRAM = join(import.meta.dirname, 'service-manager.py');
/** Where mount(8) looks for helpers. */
const HELPER = '/sbin/mount.cfstest';

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'first second third fourth fifth sixth seventh eighth ninth tenth\n'.repeat(2));
  image = (await scratch.pack(source)).image;
});

afterAll(() => rmSync(HELPER, { force: true }));

test('cfs-mount -f tells a service manager, which keeps the mount where the server is killed', async () => {
  const mnt = scratch.directory('mnt');
  const mount = HERE.tool('cfs-mount', ['-f', '--repo', scratch.store, image, mnt], scratch.environment);
  const lines = await succeed(['python3', PROGRAM, mnt, join(mnt, 'file'), ...mount]);
  expect(lines.trim().split('\n')).toEqual([
    'told FDSTORE=1 FDNAME=cfs with 2 files',
    'told READY=1 with 0 files',
    'read first ',
    'told READY=1 with 0 files',
    'read second',
    'told READY=1 with 0 files',
    'read  third',
    'exit 0',
    'told STOPPING=1 FDSTOREREMOVE=1 FDNAME=cfs with 0 files',
  ]);
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
  await succeed(['umount', mnt]);
  const { status, stderr } = await run(['mount', '-t', 'cfstest', '-o', 'nonsense', image, mnt]);
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('unknown mount option "nonsense"') });
});
