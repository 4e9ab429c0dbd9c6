/** A server that may have few files open serves all of them. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type MountReport, useScratch } from './harness.ts';
import { HERE, succeed } from './run.ts';

const scratch = useScratch();
const FILES = 600;
let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, `file-${i}`), `${i}`.padStart(200, 'x'));
  image = (await scratch.pack(source)).image;
});

test.each(['read', 'open', 'off'])('with verify=%s and 128 descriptors', async (verify) => {
  const log = scratch.at(`${verify}.log`);
  const at = scratch.directory('mnt');
  const args = ['--json', '--log', log, '-o', `verify=${verify}`, '--repo', scratch.store, image, at];
  const command = HERE.tool('cfs-mount', args, scratch.environment);
  const mounted = scratch.adopt(JSON.parse(await succeed(['prlimit', '--nofile=128', ...command])) as MountReport);
  const names = readdirSync(mounted.path);
  expect(names).toHaveLength(FILES);
  for (const name of names) expect(readFileSync(mounted.at(name), 'latin1')).toBe(name.slice(5).padStart(200, 'x'));
  expect(readFileSync(log, 'utf8')).toBe('');
  await mounted.unmount();
});
