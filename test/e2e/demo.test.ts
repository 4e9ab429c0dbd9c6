/** `make demo` without building: all steps, and nothing is left. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { Random } from '../support/random.ts';
import { useScratch } from './harness.ts';
import { run } from './run.ts';

const scratch = useScratch();
const DEMO = resolve(import.meta.dirname, '../../scripts/demo');

test('the demo shows every step, with short paths, and leaves nothing', async () => {
  const source = scratch.directory('source');
  const random = new Random(3);
  mkdirSync(join(source, 'part'));
  for (let i = 0; i < 30; i++) writeFileSync(join(source, 'part', `file-${i}`), random.bytes(5_000 + i));
  const work = scratch.directory('work');
  const { status, stdout, stderr } = await run([DEMO, source], { env: { ...process.env, TMPDIR: work } });
  expect(status).toBe(0);
  expect(stderr).toMatch(/^cat: mnt\/part\/file-\d+: Input\/output error\n$/);
  const steps = [...stdout.matchAll(/^(\d)\. /gm)].map(([, number]) => number);
  expect(steps).toEqual(['1', '2', '3', '4', '5', '6', '7', '8']);
  // sharing, a comparison, the damaged file, the mount of an ordinary user, and what comes next
  expect(stdout).toMatch(/^objects {2}31 .* of these new 1 \(3\.9 kB\)$/m);
  expect(stdout).toMatch(/^32 entries, 30 files, .*: equal$/m);
  expect(stdout).toMatch(/^tar ended well/m);
  expect(stdout).toMatch(/^uid of this user: (?!0$)\d+$/m);
  expect(stdout).toMatch(/^Next\n[\s\S]*make install/m);
  // only the first line has the path of the directory
  expect(stdout.split('\n').filter((line) => line.includes(`${work}/`))).toHaveLength(1);
  expect(readdirSync(work)).toEqual([]);
});
