/** A repository whose server returns the right bytes when an object is verified, and other bytes later. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Random } from '../support/random.ts';
import { info, linesOf, statsOf } from './asking.ts';
import { readBy, sha256 } from './damage.ts';
import { useScratch } from './harness.ts';
import { HERE, run } from './run.ts';
import { dropCaches } from './system.ts';

const scratch = useScratch();
const SERVER = join(import.meta.dirname, 'lying-server.py');
/** Contents of one block, and of several. */
const CONTENTS: Readonly<Record<string, Buffer>> = {
  small: new Random(1).bytes(20_000),
  large: new Random(2).bytes(1_000_000),
};
const NAMES = Object.keys(CONTENTS);
const right = (name: string): string => sha256(CONTENTS[name] as Buffer);

/** A mount of `store` whose server returns wrong bytes on demand. */
class LyingServer {
  readonly path: string = scratch.directory('far');
  readonly #lie = scratch.at('lie');
  readonly #child: ChildProcess;

  constructor(store: string) {
    this.#child = spawn('python3', [SERVER, store, this.path, this.#lie], { stdio: ['ignore', 'pipe', 'inherit'] });
  }

  async mounted(): Promise<this> {
    const out = this.#child.stdout as NodeJS.ReadableStream;
    await Promise.race([once(out, 'data'), once(out, 'end').then(() => Promise.reject(new Error('it did not mount')))]);
    return this;
  }

  lies(does: boolean): void {
    if (does) writeFileSync(this.#lie, '');
    else rmSync(this.#lie, { force: true });
    dropCaches();
  }

  async end(): Promise<void> {
    this.lies(false);
    const ended = once(this.#child, 'exit');
    await run(['umount', '-l', this.path]);
    await ended;
  }
}

let store: string;
let image: string;
let far: LyingServer;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (const name of NAMES) writeFileSync(join(source, name), CONTENTS[name] as Buffer);
  store = scratch.directory('store');
  image = (await scratch.pack(source, { store })).image;
});

beforeEach(async () => {
  far = await new LyingServer(store).mounted();
});

afterEach(async () => {
  await scratch.endSince({ mounts: 0, namespaces: 0 });
  await far.end();
});

const read = (path: string): Promise<string> => readBy(HERE, path);

describe.each(['verify=auto', 'verify=open', 'verify=read', 'driver=fuse-native'])('with %s', (word) => {
  test('no reader gets bytes other than those that were packed', async () => {
    const mounted = await scratch.mount(image, { repos: [far.path], words: [word] });
    for (const name of NAMES) expect(await read(mounted.at(name))).toBe(right(name));
    far.lies(true);
    // the bytes before the bad block are right
    for (const name of NAMES) expect(await read(mounted.at(name))).toMatch(/^Input\/output error/);
    far.lies(false);
    for (const name of NAMES) expect(await read(mounted.at(name))).toBe(right(name));
  });

  test('a later repository serves in place of one that lies', async () => {
    const mounted = await scratch.mount(image, { repos: [far.path, store], words: [word] });
    for (const name of NAMES) expect(await read(mounted.at(name))).toBe(right(name));
    far.lies(true);
    for (const name of NAMES) expect(await read(mounted.at(name))).toBe(right(name));
  });
});

test('local repositories are served as before, and the mount reports the ones that are not', async () => {
  const mounted = await scratch.mount(image, { repos: [store, far.path] });
  expect(mounted.report).toMatchObject({ verify: 'auto', passthrough: true, readByBlocks: [far.path] });
  expect((await statsOf(scratch, mounted)).repositories.map(({ verify }) => verify)).toEqual(['auto', 'read']);
  expect(await read(mounted.at('small'))).toBe(right('small'));
  expect(linesOf(await info(scratch, ['where', mounted.at('small')]))).toMatchObject({
    'served by': `repository 1, ${store}`,
  });
});

test('a file that is only in the remote repository is verified block by block, and reported so', async () => {
  const mounted = await scratch.mount(image, { repos: [far.path] });
  expect(mounted.report.readByBlocks).toEqual([far.path]);
  expect(linesOf(await info(scratch, ['where', mounted.at('large')]))).toMatchObject({
    verified: 'each block when it is read',
    'served by': `repository 1, ${far.path}`,
  });
});

test.each(['read', 'off'])('verify=%s works as documented, for every repository', async (verify) => {
  const mounted = await scratch.mount(image, { repos: [far.path], words: [`verify=${verify}`] });
  expect(mounted.report).toMatchObject({ verify, readByBlocks: [] });
});
