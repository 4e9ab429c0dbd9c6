/** `-o inode32`: numbers for programs of 32 bits without large-file support. */
import { linkSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { succeed } from './run.ts';
import { dropCaches, isAlive, until } from './system.ts';

const scratch = useScratch();
const NAMES = ['.', 'directory', 'file', 'hard-link', 'directory/other'];
let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  mkdirSync(join(source, 'directory'));
  for (const name of ['file', 'directory/other']) writeFileSync(join(source, name), Buffer.alloc(5000, name));
  linkSync(join(source, 'file'), join(source, 'hard-link'));
  image = (await scratch.pack(source)).image;
});

const numbers = (path: string): number[] => NAMES.map((name) => statSync(join(path, name)).ino);

/** d_ino of the entries of the directory. */
const listed = async (path: string): Promise<Record<string, number>> =>
  JSON.parse(
    await succeed([
      'python3',
      '-c',
      'import json, os, sys\nprint(json.dumps({e.name: e.inode() for e in os.scandir(sys.argv[1])}))',
      path,
    ]),
  ) as Record<string, number>;

test.each(['verify=open', 'verify=read'])(
  'numbers have 32 bits, and everything else works as before, with %s',
  async (word) => {
    const mounted = await scratch.mount(image, { words: ['inode32', word] });
    const shown = numbers(mounted.path);
    expect(Math.max(...shown)).toBeLessThan(2 ** 32);
    expect(shown[0]).toBe(1);
    expect(shown[2]).toBe(shown[3]);
    expect(new Set(shown).size).toBe(NAMES.length - 1);
    expect(await listed(mounted.path)).toEqual({ directory: shown[1], file: shown[2], 'hard-link': shown[2] });

    for (const name of ['file', 'directory', 'directory/other']) {
      const handle = (await scratch.tool('cfs-info', ['handle', mounted.at(name)])).stdout.trim();
      dropCaches();
      const opened = await scratch.tool('cfs-info', ['open-handle', mounted.path, handle]);
      expect(opened.stdout).toContain(`path:         ${mounted.at(name)}\n`);
      expect(opened.stdout).toContain('generation:');
    }
    expect(readFileSync(mounted.at('hard-link'))).toEqual(Buffer.alloc(5000, 'file'));
    expect(numbers(mounted.path)).toEqual(shown);

    process.kill(mounted.pid, 'SIGKILL');
    await until('the server is dead', () => !isAlive(mounted.pid));
    dropCaches();
    expect(numbers(mounted.path)).toEqual(shown);
  },
);

test('the option is in the list from which the mount is made again', async () => {
  const mounted = await scratch.mount(image, { words: ['inode32'] });
  const shown = numbers(mounted.path);
  const { stdout } = await scratch.tool('cfs-info', ['sources', '--json', mounted.path]);
  expect(JSON.parse(stdout)).toMatchObject({ options: expect.stringContaining('inode32') });
  const plain = await scratch.mount(image);
  // the low words of the stable ids, which all other mounts show
  expect(numbers(plain.path).map((number) => number % 2 ** 32)).toEqual(shown);
  expect(Math.max(...numbers(plain.path))).toBeGreaterThan(2 ** 32);
});
