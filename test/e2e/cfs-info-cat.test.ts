/** `cfs-info cat`: contents of files without a mount. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { useScratch } from './harness.ts';
import { OWN_TOOLS } from './run.ts';

const scratch = useScratch();
const TOOL = `${OWN_TOOLS.dist}/tools/cfs-info.js`;
const random = new Random(14);
const large = random.bytes(3_000_001);
const small = random.bytes(5000);
let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  mkdirSync(join(source, 'd'));
  writeFileSync(join(source, 'd/large'), large);
  writeFileSync(join(source, 'small'), small);
  writeFileSync(join(source, 'inline'), 'inline\n');
  writeFileSync(join(source, 'empty'), '');
  writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from('\xe9\ntail', 'latin1')]), 'odd name');
  symlinkSync('/d/large', join(source, 'link'));
  symlinkSync('../../../../../../etc/hostname', join(source, 'd/out'));
  symlinkSync('loop', join(source, 'loop'));
  ({ image } = await scratch.pack(source));
});

/** Runs the tool as a shell would; its output is bytes. */
function cat(args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [TOOL, ...args], {
    env: { ...process.env, ...scratch.environment },
    maxBuffer: 1 << 26,
  });
  return { status, stdout, stderr: stderr.toString() };
}

/** Runs a script of bash with node, the tool and the image as $0, $1 and $2. */
function shell(script: string): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script, process.execPath, TOOL, image], {
    env: { ...process.env, ...scratch.environment },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test('writes the bytes of files, one after the other', () => {
  const { status, stdout, stderr } = cat(['cat', image, '/d/large', 'small', 'inline', 'empty', '/small']);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  expect(stdout.equals(Buffer.concat([large, small, Buffer.from('inline\n'), small]))).toBe(true);
});

test('follows symbolic links inside the image, and never out of it', () => {
  expect(cat(['cat', image, 'link']).stdout.equals(large)).toBe(true);
  expect(cat(['cat', image, 'd/../link']).stdout.equals(large)).toBe(true);
  const { status, stdout, stderr } = cat(['cat', image, 'd/out']);
  expect({ status, stdout: stdout.length }).toEqual({ status: EXIT.usage, stdout: 0 });
  expect(stderr).toBe(`cfs-info: Cannot find d/out in image ${image}: no such file or directory\n`);
  expect(cat(['cat', image, 'loop']).stderr).toContain('too many levels of symbolic links');
});

test('takes a name that is not UTF-8, as it is and as it is shown', () => {
  expect(cat(['cat', image, '\\xe9\\x0atail']).stdout.toString()).toBe('odd name');
  const script = `exec "$0" "$1" cat "$2" "$(printf '\\351\\ntail')"`;
  expect(shell(script)).toEqual({ status: EXIT.ok, stdout: 'odd name', stderr: '' });
});

test('reports what has no content, and continues with the other paths', () => {
  const { status, stdout, stderr } = cat(['cat', image, '/d', 'inline', '/none']);
  expect({ status, stdout: stdout.toString() }).toEqual({ status: EXIT.usage, stdout: 'inline\n' });
  expect(stderr).toBe(
    `cfs-info: Cannot read /d of image ${image}: it is a directory\n` +
      `cfs-info: Cannot find /none in image ${image}: no such file or directory\n`,
  );
});

test('needs no repository for contents of the image itself, and reports one that is not there', () => {
  const none = scratch.at('no-store');
  expect(cat(['cat', '--repo', none, image, 'inline'])).toMatchObject({ status: EXIT.ok });
  const { status, stderr } = cat(['cat', '--repo', none, image, 'small']);
  expect(status).toBe(EXIT.store);
  expect(stderr).toContain(`Cannot open repository ${none}: there is no such directory`);
});

test('ends quietly if its reader does', () => {
  const script = `"$0" "$1" cat "$2" d/large | head -c 10 > /dev/null; echo "\${PIPESTATUS[0]}"`;
  expect(shell(script)).toEqual({ status: 0, stdout: '0\n', stderr: '' });
});

test('reports a full output', () => {
  const { status, stderr } = shell('exec "$0" "$1" cat "$2" d/large > /dev/full');
  expect(status).toBe(EXIT.system);
  expect(stderr).toContain('Cannot write to standard output: no space left on device');
});

test('works for a user without privileges', async () => {
  chmodSync(image, 0o644);
  const { status, stdout } = await scratch.tool(
    'cfs-info',
    ['cat', '--repo', scratch.store, image, 'inline'],
    scratch.nobody(),
  );
  expect({ status, stdout }).toEqual({ status: EXIT.ok, stdout: 'inline\n' });
});

test('writes no byte of a damaged block, and takes the copy of another repository', async () => {
  const store = scratch.directory('damaged');
  const { image: own } = await scratch.pack(source, { store: join(store, 'store') });
  const objects = join(store, 'store/objects');
  const path = readdirSync(objects, { recursive: true, encoding: 'utf8' })
    .map((name) => join(objects, name))
    .find((name) => name.length > objects.length + 10 && readFileSync(name).length === large.length) as string;
  const damaged = Buffer.from(large);
  damaged[2_000_000] = (damaged[2_000_000] as number) ^ 1;
  chmodSync(path, 0o644);
  writeFileSync(path, damaged);

  const bad = cat(['cat', '--repo', join(store, 'store'), own, 'd/large']);
  expect(bad.status).toBe(EXIT.store);
  expect(bad.stderr).toMatch(/d\/large: object [0-9a-f]{64}: .*its content is corrupted: the block at 1966080: EIO/);
  expect(bad.stdout.length).toBe(1 << 20);
  expect(bad.stdout.equals(large.subarray(0, 1 << 20))).toBe(true);

  const good = cat(['cat', '--repo', join(store, 'store'), '--repo', scratch.store, own, 'd/large']);
  expect(good.status).toBe(EXIT.ok);
  expect(good.stdout.equals(large)).toBe(true);
  expect(good.stderr).toContain(`served from ${scratch.store} instead`);
});
