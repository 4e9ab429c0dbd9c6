/** `-v` of the tools: additional lines on stderr, and the same stdout. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type MountReport, useScratch } from './harness.ts';

const scratch = useScratch();
let source: string;
let image: string;
let id: string;

beforeAll(async () => {
  source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'content '.repeat(1000));
  ({ image, id } = await scratch.pack(source));
});

const BEGINNING = /^(?:cfs-\w+: .+\n)+$/;

test.each([
  ['cfs-mkimage', () => ['--json', source, scratch.at('again.cfs')], /repository \S+: blake3, uuid .*threads/],
  ['cfs-info', () => ['ls', image], /read image \S+: id [0-9a-f]{64}, \d+ bytes, 2 inodes, 1 objects/],
  ['cfs-info', () => ['diff', image, image], /read image /],
  ['cfs-repo', () => ['stat', scratch.store], /repository \S+: blake3, uuid/],
  ['cfs-repo', () => ['images', '--json', scratch.store], /repository \S+: blake3, uuid/],
  ['cfs-repo', () => ['fsck', '-n', scratch.store], /threads read and hash/],
])('%s: case %#', async (tool, args, line) => {
  const words = tool === 'cfs-mkimage' ? ['--store', scratch.store, ...args()] : args();
  const quiet = await scratch.tool(tool, words);
  const verbose = await scratch.tool(tool, [...words, '-v']);
  expect(quiet).toMatchObject({ status: 0, stderr: '' });
  const times = /[\d.]+(?= m?s\b)|[\d.]+ [kMG]?B\/s|"(?:seconds|unchangedFiles)":[\d.]+/g;
  expect(verbose.stdout.replace(times, '')).toBe(quiet.stdout.replace(times, ''));
  expect(verbose.stderr).toMatch(BEGINNING);
  expect(verbose.stderr).toMatch(line);
  expect(verbose.stderr).toMatch(/: version \S+, node \S+, process \d+, user \d+\n[\s\S]*: status 0 after \d+ ms\n$/);
});

test('cfs-mount reports what it mounts, from where, and the process that serves it', async () => {
  const { status, stdout, stderr } = await scratch.tryMount(image, { args: ['--verbose'] });
  expect(status, stderr).toBe(0);
  const report = JSON.parse(stdout) as MountReport;
  await scratch.adopt(report).unmount();
  expect(stderr).toContain(`\ncfs-mount: image ${image} on ${report.mountpoint}, with -o verify=auto,`);
  expect(stderr).toContain(`\ncfs-mount: repository 1: ${scratch.store}\n`);
  expect(stderr).toContain(`\ncfs-mount: process ${report.pid} serves image ${id}: 2 inodes, 1 objects, `);
});

test('an error is the same as without it', async () => {
  const { status, stderr } = await scratch.tool('cfs-info', ['id', '-v', scratch.at('nothing.cfs')]);
  expect(status).toBe(3);
  expect(stderr).toMatch(/\ncfs-info: Cannot read image \S+: no such file or directory\ncfs-info: status 3 after/);
});
