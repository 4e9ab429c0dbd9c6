/**
 * A container of runc with its root on a writable mount: CRIU dumps it, the layer is copied to another place, and the
 * container goes on there. test/vm/criu/container/run is the script in the virtual machine.
 */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { compile } from './criu/tree.ts';
import { copyProject, runMachine } from './machine.ts';
import { program } from './programs.ts';
import { Results } from './results.ts';

const scratch = useScratch();
const payload = scratch.at('payload');
const FILES = ['linked', 'gone', 'shared', 'nameless', 'image'];
let results: Results;

/** The first process of the container waits; the other one holds files. */
const SCRIPT = 'unlinker /report /made linked gone shared nameless image /data/numbers; exec sleep 1000000';

const CONFIG = {
  ociVersion: '1.0.2',
  process: {
    args: ['/bin/sh', '-c', SCRIPT],
    env: ['PATH=/bin'],
    cwd: '/',
    user: { uid: 0, gid: 0 },
    capabilities: { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'] },
  },
  root: { path: 'ROOT' },
  mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
  linux: { cgroupsPath: '/box', namespaces: ['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })) },
};

beforeAll(async () => {
  const root = scratch.directory('root');
  for (const name of ['bin', 'dev', 'proc', 'made', 'data']) mkdirSync(join(root, name));
  cpSync(program('busybox'), join(root, 'bin/busybox'), { dereference: true });
  for (const name of ['sh', 'sleep']) symlinkSync('busybox', join(root, 'bin', name));
  compile(join(root, 'bin/unlinker'), 'unlinker.c', '-static');
  writeFileSync(join(root, 'data/numbers'), '0123456789'.repeat(1000));
  mkdirSync(payload);
  await scratch.pack(root, { store: join(payload, 'store'), image: join(payload, 'box.cfs') });
  for (const guest of ['guest', 'container']) {
    cpSync(join(import.meta.dirname, 'criu', guest), payload, { recursive: true, force: true });
  }
  writeFileSync(join(payload, 'config.json'), JSON.stringify(CONFIG));
  copyProject(join(payload, 'cfs'));
  const { lines } = await runMachine(payload, scratch.path);
  if (process.env['CFS_DEBUG'] === '1') console.log(lines.join('\n'));
  results = new Results(lines);
});

const value = (what: string): string | undefined => results.value('container', what);

test('CRIU dumps the container, and gives its unlinked files names instead of copying them', () => {
  expect(results.rows('container', 'checkpoint-error')).toEqual([]);
  expect([value('run'), value('prepared'), value('checkpoint')]).toEqual(['0', '0', '0']);
  expect(value('names-dumped')).toMatch(/link_remap\.\d+/);
});

test('the container goes on over the copied layer, with the same inodes, at its offsets, and leaves no names', () => {
  expect([value('copied'), value('check')]).toEqual(['0', '0']);
  expect(results.rows('container', 'restore-error')).toEqual([]);
  expect(value('restore')).toBe('0');
  const after = results.map('container', 'after');
  expect(after).toEqual(results.map('container', 'before'));
  expect(FILES.map((name) => after[`${name} offset`])).toEqual(FILES.map(() => '3'));
  expect(after['shared mappings']).toBe('shared');
  expect(value('names-restored')).toBe('linked other ');
});

test('each unmount leaves no daemon and no mount', () => {
  expect(results.rows('unmount')).toEqual([
    ['', '0'],
    ['', '0'],
  ]);
  expect(results.rows('log')).toEqual([]);
});
