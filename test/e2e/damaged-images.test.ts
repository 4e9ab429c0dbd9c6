/** Every program refuses an image file in which a bit has changed. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { CHECKSUM_SIZE } from '../../src/image/image-parts.ts';
import { EXIT } from '../../tools/cli.ts';
import { messageOf, packed } from './cli.ts';
import { useScratch } from './harness.ts';
import { type Outcome, succeed } from './run.ts';

const scratch = useScratch();

const CONTENT = 'a few words that lie in the image';
let store: string;
let image: string;
let damaged: string;

const repo = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-repo', args);

beforeAll(async () => {
  store = scratch.at('store');
  image = scratch.at('image.cfs');
  damaged = scratch.at('damaged.cfs');
  mkdirSync(scratch.at('source'));
  writeFileSync(scratch.at('source/file'), CONTENT);
  writeFileSync(scratch.at('source/large'), CONTENT.repeat(100));
  await packed(scratch, ['--no-fsync', '--store', store, scratch.at('source'), image]);
  const bytes = readFileSync(image);
  const at = bytes.indexOf(CONTENT);
  bytes[at] = (bytes[at] as number) ^ 0x20;
  writeFileSync(damaged, bytes);
});

describe('an image with one changed bit', () => {
  test('is not mounted', async () => {
    const { status, stderr } = await scratch.tryMount(damaged, { repos: [store] });
    expect(status).toBe(EXIT.mount);
    expect(stderr).toContain(`Cannot read image ${damaged}: the file is damaged`);
  });

  test.each([
    ['cfs-info', ['ls']],
    ['cfs-info', ['id']],
    ['cfs-info', ['id', '--fsverity']],
    ['cfs-info', ['dump']],
    ['cfs-info', ['objects']],
    ['cfs-repo', ['register', 'STORE']],
  ])('is refused by %s %s', async (tool, words) => {
    const outcome = await scratch.tool(tool, [...words.map((word) => (word === 'STORE' ? store : word)), damaged]);
    expect(messageOf(outcome, EXIT.image, tool)).toContain(`Cannot read image ${damaged}: the file is damaged`);
  });

  test('is refused by diff, as either operand', async () => {
    for (const pair of [
      [image, damaged],
      [damaged, image],
    ]) {
      const outcome = await scratch.tool('cfs-info', ['diff', ...pair]);
      expect(messageOf(outcome, EXIT.image, 'cfs-info')).toContain('the file is damaged');
    }
  });

  test('is not signed', async () => {
    await succeed(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', scratch.at('key.pem')]);
    for (const words of [[], ['--embed-signature']]) {
      const outcome = await scratch.tool('cfs-info', ['sign', '--key', scratch.at('key.pem'), ...words, damaged]);
      expect(messageOf(outcome, EXIT.image, 'cfs-info')).toContain('the file is damaged');
    }
  });

  test('is found by fsck at its registered path, and does not count as gone', async () => {
    const path = scratch.at('registered.cfs');
    const other = scratch.at('other-store');
    await packed(scratch, ['--no-fsync', '--store', other, scratch.at('source'), path]);
    expect((await repo('fsck', other)).status).toBe(EXIT.ok);
    copyFileSync(damaged, path);
    const { status, stdout } = await repo('fsck', other);
    expect(status).toBe(EXIT.found);
    expect(stdout).toContain('images      1 registered, of these damaged 1\n');
    expect(stdout).toContain(`bytes of the file have changed: ${path}\n`);
    expect(JSON.parse((await repo('fsck', '--json', other)).stdout)).toMatchObject({ damagedImages: [{ path }] });
    expect((await repo('images', other)).stdout).toContain(`${path} (damaged)`);
    expect((await repo('unregister', '--gone', '--json', other)).stdout).toBe('[]\n');
  });
});

test('an image without a checksum, from an earlier version, is mounted and read', async () => {
  const old = scratch.at('old.cfs');
  writeFileSync(old, readFileSync(image).subarray(0, -CHECKSUM_SIZE));
  const ids = await scratch.tool('cfs-info', ['id', image, old]);
  expect(ids.stdout.split('\n')[0]?.slice(0, 64)).toBe(ids.stdout.split('\n')[1]?.slice(0, 64));
  const { path } = await scratch.mount(old, { repos: [store] });
  expect(readFileSync(`${path}/file`, 'utf8')).toBe(CONTENT);
  expect(readFileSync(`${path}/large`, 'utf8')).toBe(CONTENT.repeat(100));
});
