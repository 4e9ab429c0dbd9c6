/**
 * Command lines that are slightly wrong: their messages, the ones that work all the same, and that nothing is created.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { useScratch } from './harness.ts';

const scratch = useScratch();
let image: string;

beforeAll(async () => {
  const source = scratch.at('source');
  mkdirSync(source);
  writeFileSync(join(source, 'file'), Buffer.alloc(5000, 'x'));
  ({ image } = await scratch.pack(source));
});

describe('several operands', () => {
  test.each([
    ['id', () => [image, scratch.at('missing'), image], EXIT.image],
    ['stat', () => [image, '/file', '/missing', '/'], EXIT.usage],
    ['handle', () => [image, scratch.at('missing'), scratch.store], EXIT.usage],
    ['handle', () => ['--image', image, '/file', '/missing', '/'], EXIT.usage],
  ])('cfs-info %s answers each, and the status says that one failed', async (command, args, status) => {
    const outcome = await scratch.tool('cfs-info', [command, ...args()]);
    expect(outcome.status).toBe(status);
    expect(outcome.stderr).toMatch(/^cfs-info: Cannot .*missing.*\n$/);
    const json = await scratch.tool('cfs-info', [command, '--json', ...args()]);
    expect(json).toMatchObject({ status, stderr: outcome.stderr });
    const elements = JSON.parse(json.stdout) as { operand?: string; error?: { status: number } }[];
    expect(elements).toHaveLength(3);
    expect(elements.map(({ error }) => error?.status)).toEqual([undefined, status, undefined]);
    expect(outcome.stdout.length).toBeGreaterThan(0);
  });

  test('cfs-info where', async () => {
    const mounted = await scratch.mount(image);
    const paths = [mounted.at('file'), mounted.at('missing'), mounted.at('file')];
    const { status, stdout, stderr } = await scratch.tool('cfs-info', ['where', ...paths]);
    expect({ status, stderr }).toEqual({
      status: EXIT.usage,
      stderr: `cfs-info: Cannot find ${mounted.at('missing')}: no such file or directory\n`,
    });
    expect(stdout.split('\n').filter((line) => line.startsWith('path:'))).toHaveLength(2);
  });

  test('cfs-repo register', async () => {
    const outcome = await scratch.tool('cfs-repo', ['register', scratch.store, scratch.at('missing'), image]);
    expect(outcome.status).toBe(EXIT.image);
    expect(outcome.stdout).toContain('was registered already');
  });
});

const SAID: readonly (readonly [tool: string, args: () => readonly string[], status: number, stderr: RegExp])[] = [
  ['cfs-info', () => ['sttat', image], EXIT.usage, /no command "sttat" \(did you mean stat\?\)/],
  ['cfs-info', () => ['help', 'nosuch'], EXIT.usage, /^cfs-info: there is no command "nosuch"; the commands are/],
  ['cfs-repo', () => ['help', 'fskc'], EXIT.usage, /no command "fskc" \(did you mean fsck\?\)/],
  ['cfs-repo', () => ['fsck', 'a', 'b'], EXIT.usage, /\nTry 'cfs-repo fsck --help'\.\n$/],
  [
    'cfs-repo',
    () => ['register', image, scratch.store],
    EXIT.store,
    /image-\S+: not a directory\. DIR, the repository, comes before images/,
  ],
  ['cfs-checkpoint', () => ['prepare'], EXIT.usage, /\nTry 'cfs-checkpoint prepare --help'\.\n$/],
  ['cfs-mount', () => ['-o', 'verfy=read', image, scratch.path], EXIT.usage, /"verfy=read" \(did you mean verify\?\)/],
  ['cfs-mount', () => [scratch.at('source'), image], EXIT.usage, /IMAGE and MOUNTPOINT are swapped/],
  ['cfs-mkimage', () => ['--store', 'http://x.org/s', scratch.at('source'), 'x'], EXIT.store, /URLs are not supported/],
  [
    'cfs-info',
    () => ['missing', '--repo', 'http://x.org/s', image],
    EXIT.usage,
    /http to another machine is not encrypted/,
  ],
  [
    'cfs-info',
    () => ['missing', '--store', scratch.at('none'), image],
    EXIT.store,
    /Give the repository that the image was packed into/,
  ],
];

test.each(SAID)('%s: case %#', async (tool, args, status, stderr) => {
  const outcome = await scratch.tool(tool, args());
  expect(outcome).toMatchObject({ status, stdout: '' });
  expect(outcome.stderr).toMatch(stderr);
  expect(existsSync('http:')).toBe(false);
});

test('--store and --repo are the same option', async () => {
  const place = ['--no-fsync', '--quiet', '--repo', scratch.at('by-repo')];
  const other = scratch.at('other.cfs');
  expect((await scratch.tool('cfs-mkimage', [...place, scratch.at('source'), other])).status).toBe(EXIT.ok);
  expect((await scratch.tool('cfs-info', ['missing', '--store', scratch.at('by-repo'), other])).status).toBe(EXIT.ok);
  await scratch.mount(other, { repos: [], args: ['--store', scratch.at('by-repo')] });
});
