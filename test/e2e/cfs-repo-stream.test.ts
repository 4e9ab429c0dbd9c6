/** `cfs-repo export` and `import`: images and objects as one stream. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { objectsIn } from './cli.ts';
import { expectEqual, useScratch } from './harness.ts';
import { OWN_TOOLS } from './run.ts';

const scratch = useScratch();
const TOOL = `${OWN_TOOLS.dist}/tools/cfs-repo.js`;
let source: string;
let image: string;
let stream: Buffer;

beforeAll(async () => {
  source = scratch.directory('source');
  const random = new Random(17);
  mkdirSync(join(source, 'd'));
  for (let i = 0; i < 60; i++)
    writeFileSync(join(source, 'd', `f${i}`), random.bytes(i === 7 ? 2_500_000 : 70 + i * 50));
  ({ image } = await scratch.pack(source, { image: scratch.at('tree.cfs') }));
  const exported = tool(['export', scratch.store, image]);
  expect(exported).toMatchObject({ status: EXIT.ok, stderr: '' });
  stream = exported.stdout;
});

function tool(args: readonly string[], input: Buffer = Buffer.alloc(0)) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [TOOL, ...args], {
    env: { ...process.env, ...scratch.environment },
    maxBuffer: 1 << 26,
    input,
  });
  return { status, stdout, stderr: stderr.toString() };
}

const take = (store: string, directory: string, bytes: Buffer) =>
  tool(['import', '--no-fsync', '-C', directory, store], bytes);

test('an imported image and its objects are those that were exported', async () => {
  const [store, directory] = [scratch.at('imported'), scratch.directory('images')];
  const { status, stdout, stderr } = take(store, directory, stream);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  expect(stdout.toString()).toMatch(
    /^objects {5}60, of these new 60 \(2\.6 MB\)\nimage {7}.*\/tree\.cfs {2}[0-9a-f]{64}\n$/,
  );
  expect(readFileSync(join(directory, 'tree.cfs')).equals(readFileSync(image))).toBe(true);
  expect(objectsIn(store).sort()).toEqual(objectsIn(scratch.store).sort());
  expect((await scratch.tool('cfs-repo', ['fsck', store])).stdout).toContain('1 registered');
  const mounted = await scratch.mount(join(directory, 'tree.cfs'), { repos: [store] });
  await expectEqual(source, mounted.path);
  expect(take(store, directory, stream).stdout.toString()).toContain('60, of these new 0');
  // the same again
  expect(tool(['export', store, join(directory, 'tree.cfs')]).stdout.equals(stream)).toBe(true);
});

test.each([0, 17, 3000, 2_600_000, -1, -33])(
  'a stream that is cut off at %i is refused, and what came before is consistent',
  async (at) => {
    const [store, directory] = [scratch.at(`cut${at}`), scratch.directory('images')];
    const { status, stderr } = take(store, directory, stream.subarray(0, at < 0 ? stream.length + at : at));
    expect({ status, stderr }).toEqual({
      status: EXIT.source,
      stderr: 'cfs-repo: Cannot import the stream: it is cut off\n',
    });
    expect(readdirSync(directory)).toEqual([]);
    if (!existsSync(store)) return;
    expect(readdirSync(join(store, 'tmp'))).toEqual([]);
    // nothing was ever registered
    expect(existsSync(join(store, 'roots'))).toBe(false);
  },
);

test.each([0, 9, 20, 30, 60_000, 2_000_000, -40])(
  'a stream with a changed byte at %i is refused, and stores no wrong object',
  async (at) => {
    const [store, directory] = [scratch.at(`changed${at}`), scratch.directory('images')];
    const changed = Buffer.from(stream);
    const index = at < 0 ? stream.length + at : at;
    changed[index] = (changed[index] as number) ^ 0x21;
    const { status, stderr } = take(store, directory, changed);
    expect([EXIT.source, EXIT.image], stderr).toContain(status);
    expect(readdirSync(directory)).toEqual([]);
    if (existsSync(store)) expect((await scratch.tool('cfs-repo', ['fsck', store])).status).toBe(EXIT.ok);
  },
);

test('bytes after the end, and names that lead elsewhere, are refused', () => {
  const directory = scratch.directory('images');
  const more = take(scratch.at('more'), directory, Buffer.concat([stream, Buffer.from('x')]));
  expect(more).toMatchObject({ status: EXIT.source });
  expect(more.stderr).toContain('something follows its end');
  const renamed = Buffer.from(stream);
  renamed.write('../x.cfs', 16 + 11, 'latin1');
  const { status, stderr } = take(scratch.at('renamed'), directory, renamed);
  expect(status).toBe(EXIT.source);
  expect(stderr).toContain('an image has a name that no file can have');
});

test('an export of a damaged or missing object ends without an end', () => {
  const [store, directory] = [scratch.at('damaged'), scratch.directory('images')];
  take(store, directory, stream);
  const [object] = objectsIn(store).sort() as [string];
  writeFileSync(join(store, 'objects', `${object}.new`), 'bad');
  spawnSync('mv', [join(store, 'objects', `${object}.new`), join(store, 'objects', object)]);
  const { status, stdout, stderr } = tool(['export', store, image]);
  expect(status).toBe(EXIT.store);
  expect(stderr).toContain(`Cannot export object ${object.replace('/', '')} of repository ${store}: it is `);
  expect(take(scratch.at('never'), directory, stdout).stderr).toContain('it is cut off');
});
