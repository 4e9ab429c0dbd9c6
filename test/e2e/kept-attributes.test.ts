/**
 * Attributes that the kernel keeps: whatever a change copies up, stat(2) shows what the server answers. Each status is
 * taken as the kernel has it, and then asked of the server (AT_STATX_FORCE_SYNC).
 */
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type Mounted, useScratch } from './harness.ts';
import { run, succeed } from './run.ts';

const scratch = useScratch();
/** Each change has a directory of its own. */
const DIRECTORIES = 23;
let mounted: Mounted;
let last = 0;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 1; i <= DIRECTORIES; i++) {
    const at = (name: string): string => join(source, `${i}`, name);
    mkdirSync(at('a/b/c'), { recursive: true });
    mkdirSync(at('other'));
    for (const name of ['a/b/c/file', 'a/b/c/second', 'a/b/file', 'a/b/one', 'other/file']) {
      writeFileSync(at(name), name.repeat(5000));
    }
    linkSync(at('a/b/one'), at('other/two'));
    symlinkSync('file', at('a/b/c/link'));
  }
  const { image } = await scratch.pack(source);
  const words = [`upperdir=${scratch.directory('upper')}`, `workdir=${scratch.directory('work')}`];
  mounted = await scratch.mount(image, { words });
});

const ABOVE = ['', 'a', 'a/b', 'a/b/c', 'other'];
const BELOW = ['a/b/c/file', 'a/b/c/second', 'a/b/c/link', 'a/b/c/new', 'a/b/file', 'a/b/one'];
const NAMES = [...ABOVE, ...BELOW, 'other/file', 'other/two', 'other/new'];

/** All attributes of what is there: a listing would refresh those that the kernel has. */
async function attributes(directory: string, cached: 'default' | 'never'): Promise<string[]> {
  const format = '%n ino %i mode %f owner %u %g links %h size %s blocks %b mtime %y ctime %z';
  const paths = [mounted.path, ...NAMES.map((name) => mounted.at(directory, name))];
  const { stdout } = await run(['stat', `--cached=${cached}`, '-c', format, ...paths]);
  const lines = stdout.trim().split('\n');
  expect(lines.length).toBeGreaterThanOrEqual(ABOVE.length + 1);
  return lines;
}

type Change = (at: (name: string) => string) => unknown;

/** @param before it is made, and the kernel looks at everything again */
async function expectSeen(change: Change, before: Change = () => undefined): Promise<void> {
  const directory = `${++last}`;
  const at = (name: string): string => mounted.at(directory, name);
  before(at);
  await attributes(directory, 'default');
  await change(at);
  const kept = await attributes(directory, 'default');
  expect(kept).toEqual(await attributes(directory, 'never'));
}

const FILE = 'a/b/c/file';
const open = (path: string, flags: string): void => closeSync(openSync(path, flags));

test.each<[string, Change]>([
  ['chmod', (at) => chmodSync(at(FILE), 0o600)],
  ['chown', (at) => chownSync(at(FILE), 5, 5)],
  ['utimes', (at) => utimesSync(at(FILE), 5, 5)],
  ['truncate', (at) => truncateSync(at(FILE), 5)],
  ['a write', (at) => appendFileSync(at(FILE), 'more')],
  ['opening it for reading and writing', (at) => open(at(FILE), 'r+')],
  ['opening it for writing', (at) => open(at(FILE), 'a')],
  ['unlink', (at) => unlinkSync(at(FILE))],
  ['link', (at) => linkSync(at(FILE), at('other/new'))],
  ['rename', (at) => renameSync(at(FILE), at('other/new'))],
  ['rename over another file', (at) => renameSync(at(FILE), at('other/file'))],
  ['rename of a directory', (at) => renameSync(at('a/b/c'), at('other/new'))],
  ['a new file', (at) => writeFileSync(at('a/b/c/new'), 'new')],
  ['chmod of a directory', (at) => chmodSync(at('a/b/c'), 0o700)],
  ['chmod of one of two names', (at) => chmodSync(at('a/b/one'), 0o600)],
  ['opening one of two names for writing', (at) => open(at('a/b/one'), 'a')],
  ['unlink of one of two names', (at) => unlinkSync(at('a/b/one'))],
  ['rename of one of two names', (at) => renameSync(at('a/b/one'), at('other/new'))],
  ['setfattr', (at) => succeed(['setfattr', '-n', 'user.new', '-v', 'value', at(FILE)])],
  ['chown of a symbolic link', (at) => lchownSync(at('a/b/c/link'), 5, 5)],
  ['link of one of two names', (at) => linkSync(at('a/b/one'), at('other/new'))],
])('after %s, stat shows what the server answers', (_name, change) => expectSeen(change));

test('stat shows so after a second file of a directory was copied up', () =>
  expectSeen(
    (at) => chmodSync(at('a/b/c/second'), 0o600),
    (at) => chmodSync(at(FILE), 0o600),
  ));

test('stat shows so after the data of a file is copied up whose attributes were changed', () =>
  expectSeen(
    (at) => open(at(FILE), 'a'),
    (at) => chmodSync(at(FILE), 0o600),
  ));
