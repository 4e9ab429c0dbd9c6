/** `cfs-info du`: the space of directories. */
import { spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { generateTree } from '../support/tree-generator.ts';
import { useScratch } from './harness.ts';
import { HERE, succeed } from './run.ts';

const scratch = useScratch();
let older: string;
let newer: string;

const du = (...args: readonly string[]) => scratch.tool('cfs-info', ['du', ...args]);

const words = (image: string): string[] => HERE.tool('cfs-info', ['du', '--ncdu', image], scratch.environment);

interface Row {
  readonly image: string;
  readonly path: string;
  readonly total: number;
  readonly unique: number;
}

const json = async (...args: readonly string[]): Promise<Row[]> =>
  JSON.parse((await du('--json', ...args)).stdout) as Row[];

beforeAll(async () => {
  const random = new Random(12);
  const source = scratch.directory('source');
  const write = (path: string, content: Uint8Array | string): void => writeFileSync(join(source, path), content);
  for (const path of ['a', 'a/deep', 'b']) mkdirSync(join(source, path));
  const same = random.bytes(30_000);
  write('a/one', same);
  write('a/deep/own', random.bytes(50_000));
  write('b/same', same);
  write('b/inline', 'short');
  linkSync(join(source, 'a/deep/own'), join(source, 'a/hard'));
  symlinkSync('a', join(source, 'link'));
  ({ image: older } = await scratch.pack(source));
  write('b/new', random.bytes(20_000));
  ({ image: newer } = await scratch.pack(source));
});

test('shows directories, the largest first', async () => {
  expect(await du(older)).toMatchObject({
    status: EXIT.ok,
    stderr: '',
    stdout: `files  total    unique   shared   path
4      80.0 kB  80.0 kB  0 B      /
2      80.0 kB  50.0 kB  30.0 kB  /a
2      30.0 kB  5 B      30.0 kB  /b
`,
  });
  expect((await du('-d', '0', older)).stdout.trim().split('\n')).toHaveLength(2);
  expect((await du('--max-depth', '9', older)).stdout).toContain('1      50.0 kB  0 B      50.0 kB  /a/deep\n');
});

test('compares images, and starts at a path that is not a file here', async () => {
  expect((await du(older, newer, '/b')).stdout).toBe(`files  total    unique   shared   path
2      30.0 kB  5 B      30.0 kB  ${older}:/b
3      50.0 kB  20.0 kB  30.0 kB  ${newer}:/b
`);
  expect(await json(older, newer, 'a/deep')).toEqual(
    [older, newer].map((image) => ({
      image,
      path: '/a/deep',
      depth: 0,
      entries: 1,
      files: 1,
      size: 50_000,
      total: 50_000,
      unique: 0,
      shared: 50_000,
    })),
  );
});

test('says what is wrong in one line', async () => {
  const failure = async (...args: readonly string[]): Promise<string> => {
    const { status, stderr, stdout } = await du(...args);
    expect({ status, stdout }).toEqual({ status: EXIT.usage, stdout: '' });
    return stderr;
  };
  expect(await failure(older, '/nowhere')).toBe(
    `cfs-info: Cannot find /nowhere in image ${older}: / has no entry nowhere\n`,
  );
  expect(await failure(older, '/a/one')).toBe(
    `cfs-info: /a/one in image ${older} is not a directory; 'cfs-info stat' shows it\n`,
  );
  expect(await failure('--ncdu', older, newer)).toBe('cfs-info: --ncdu takes one image\n');
  expect(await failure('-d', 'x', older)).toContain('--max-depth takes a whole number');
  expect((await du(scratch.at('none.cfs'))).status).toBe(EXIT.image);
  // an image that has the path is shown, the other one reported
  const { status, stdout, stderr } = await du(older, newer, '/b/nowhere');
  expect({ status, stdout }).toEqual({ status: EXIT.usage, stdout: '' });
  expect(stderr.trim().split('\n')).toHaveLength(2);
});

test('--ncdu writes what ncdu reads, and writes again', async () => {
  const odd = scratch.directory('odd');
  generateTree(odd, { seed: 3, files: 200, directories: 30, oddities: true });
  const { image } = await scratch.pack(odd);
  for (const each of [newer, image]) {
    const [written, again] = [scratch.at('written.json'), scratch.at('again.json')];
    const tool = words(each);
    await succeed(['sh', '-c', 'out=$1; shift; exec "$@" > "$out"', 'sh', written, ...tool]);
    await succeed(['ncdu', '-0', '-e', '-f', written, '-o', again]);
    expect(entriesOf(again)).toEqual(entriesOf(written));
  }
});

/** Each line of the tree, with its keys in order; names are bytes. */
const entriesOf = (file: string): string[] =>
  readFileSync(file, 'latin1')
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, before = '', object = '', after = ''] = /^(\[?)(\{.*\})([\],]*)$/.exec(line) ?? [];
      return object === '' ? [] : [`${before}${sorted(object)}${after}`];
    });

/** ncdu writes owners and times that it does not know as 0. */
const UNKNOWN = { uid: 0, gid: 0, mtime: 0 };

const sorted = (object: string): string =>
  JSON.stringify(Object.entries({ ...UNKNOWN, ...(JSON.parse(object) as object) }).sort());

test('a reader that stops early ends it quietly', () => {
  const { stderr, status } = spawnSync('bash', ['-c', '"$@" | head -n 1 > /dev/null', 'bash', ...words(newer)], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
