/**
 * Of several operands, good ones are processed, and each bad one is reported; the status is that of the first bad one.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import type { Outcome } from './run.ts';

const scratch = useScratch();
let old: string;
let now: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'a'), 'a'.repeat(500));
  writeFileSync(join(source, 'b'), 'b'.repeat(500));
  old = (await scratch.pack(source, { image: scratch.at('old.cfs') })).image;
  writeFileSync(join(source, 'b'), 'c'.repeat(500));
  now = (await scratch.pack(source, { image: scratch.at('now.cfs') })).image;
});

const info = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-info', args);
const repo = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-repo', args);
const linesOf = (text: string): string[] => text.trimEnd().split('\n');

interface Answer {
  readonly path?: string;
  readonly operand?: string;
  readonly error?: { readonly status: number };
}
const answersOf = ({ stdout }: Outcome): Answer[] => JSON.parse(stdout) as Answer[];

test('cfs-info dump', async () => {
  const outcome = await info('dump', old, '/none', '/a', '/neither');
  expect([outcome.status, linesOf(outcome.stderr).length]).toEqual([1, 2]);
  expect(linesOf(outcome.stdout).map((line) => line.split(' ')[0])).toEqual(['/', '/a']);
  const answers = answersOf(await info('dump', '--json', old, '/none', '/a'));
  expect(answers.map(({ path, operand, error }) => [path, operand, error?.status])).toEqual([
    [undefined, '/none', 1],
    ['/', undefined, undefined],
    ['/a', undefined, undefined],
  ]);
  const none = await info('dump', old, '/none', '/neither');
  expect([none.status, none.stdout, linesOf(none.stderr).length]).toEqual([1, '', 2]);
});

test('cfs-info diff', async () => {
  const outcome = await info('diff', old, now, '/none', '/b');
  expect([outcome.status, outcome.stdout]).toEqual([1, 'M /b  content,mtime\n']);
  expect(outcome.stderr).toContain('Cannot find /none');
  expect((await info('diff', old, now, '/b')).status).toBe(10);
  expect((await info('diff', old, now, '/a')).status).toBe(0);
  const neither = await info('diff', '--json', old, now, '/none', '/neither');
  expect([neither.status, answersOf(neither).map(({ operand }) => operand)]).toEqual([1, ['/none', '/neither']]);
});

test('cfs-info diff of two images that cannot be read names both', async () => {
  const { status, stderr } = await info('diff', scratch.at('no.cfs'), scratch.at('nor.cfs'));
  expect(status).toBe(3);
  expect(linesOf(stderr)).toHaveLength(1);
  for (const name of ['no.cfs', 'nor.cfs']) expect(stderr).toContain(scratch.at(name));
});

test('cfs-repo unregister', async () => {
  const outcome = await repo('unregister', '--json', scratch.store, scratch.at('no.cfs'), old, 'ffffffff');
  expect([outcome.status, linesOf(outcome.stderr).length]).toEqual([3, 2]);
  expect(answersOf(outcome)).toMatchObject([
    { operand: scratch.at('no.cfs'), error: { status: 3 } },
    { unregistered: true },
    { operand: 'ffffffff', error: { status: 1 } },
  ]);
});

test('cfs-repo seal --image', async () => {
  const { status, stdout, stderr } = await repo('seal', '--image', scratch.at('no.cfs'), '--image', now);
  expect(status).toBe(3);
  expect(stderr).toContain(scratch.at('no.cfs'));
  expect(stdout).toContain(now);
});
