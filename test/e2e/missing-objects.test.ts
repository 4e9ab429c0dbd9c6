/** Mounting reports objects of the image that are in no repository. */
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { askMount } from '../../src/mount-info/ask-mount.ts';
import { objectPath } from './damage.ts';
import { type MountReport, useScratch } from './harness.ts';

const scratch = useScratch();
const FILES = 200;
let image: string;
let empty: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, `${i}`), `content of file ${i} `.repeat(20));
  ({ image } = await scratch.pack(source));
  empty = scratch.at('empty');
  expect((await scratch.tool('cfs-repo', ['init', empty])).status).toBe(0);
});

/** Mounts, with output for people instead of JSON. */
async function mounting(repos: readonly string[], words: readonly string[] = []) {
  const at = scratch.directory('mnt');
  const options = words.length === 0 ? [] : ['-o', words.join(',')];
  const args = [...repos.flatMap((repo) => ['--repo', repo]), ...options, '--log', scratch.at('log'), image, at];
  const outcome = await scratch.tool('cfs-mount', args);
  if (outcome.status === 0) {
    const root = openSync(at, 'r');
    const record = askMount(root);
    closeSync(root);
    if (isErrno(record)) throw new Error(`${at} is no mount`);
    await scratch.adopt({ mountpoint: at, pid: record.pid } as MountReport).unmount();
  }
  return outcome;
}

test('with none of the objects a mount is made, with a warning that names the command', async () => {
  const { status, stderr } = await mounting([empty]);
  expect({ status, stderr }).toEqual({
    status: 0,
    stderr:
      'cfs-mount: 64 of 64 sampled objects are missing from all repositories: reading their files will fail. ' +
      `'cfs-info missing --repo ${empty} ${image}' lists them.\n`,
  });
  expect(readFileSync(scratch.at('log'), 'utf8')).toContain('64 of 64 sampled objects');
});

test('with all of them, in any repository, nothing is reported', async () => {
  expect(await mounting([empty, scratch.store])).toMatchObject({ status: 0, stderr: '' });
});

test.each(['kernel', 'fuse-native'])(
  '--json has the number of objects that were looked for, and that are missing (%s)',
  async (driver) => {
    const { report } = await scratch.mount(image, { repos: [empty], words: [`driver=${driver}`] });
    expect(report).toMatchObject({ sample: { lookedFor: 64, missing: 64 } });
  },
);

test('-o require-complete refuses an image if one object is missing, and accepts a whole one', async () => {
  const words = ['require-complete'];
  expect(await mounting([empty, scratch.store], words)).toMatchObject({ status: 0, stderr: '' });
  const { stdout } = await scratch.tool('cfs-info', ['objects', '--json', image]);
  const [{ digest }] = JSON.parse(stdout) as [{ digest: string }];
  const path = objectPath(scratch.store, digest);
  const content = readFileSync(path);
  rmSync(path);
  try {
    const { status, stderr } = await mounting([empty, scratch.store], words);
    expect({ status, stderr }).toEqual({
      status: 32,
      stderr: expect.stringContaining(`1 of its ${FILES} objects are missing from all repositories`),
    });
  } finally {
    writeFileSync(path, content);
  }
});
