/** The mount itself reports why a reader got EIO: without a syslog it is the only source. */
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Problem } from '../../src/mount/problem-memory.ts';
import { info, infoJson, linesOf, statsOf } from './asking.ts';
import { flipBit, objectPath, readBy } from './damage.ts';
import { useScratch } from './harness.ts';
import { HERE } from './run.ts';

const scratch = useScratch();
const EIO = 'Input/output error';

test('cfs-info shows which copies were refused, where and why, until the copy is another', async () => {
  const source = scratch.directory('source');
  const content = Buffer.from('a content '.repeat(1_000));
  writeFileSync(join(source, 'file'), content);
  const stores = [scratch.at('one'), scratch.at('other')] as const;
  let image = '';
  for (const store of stores) image = (await scratch.pack(source, { store })).image;
  const [{ object: digest }] = await infoJson<[{ object: string }]>(scratch, ['stat', image, 'file']);
  const objects = stores.map((store) => objectPath(store, digest));
  const mounted = await scratch.mount(image, { repos: stores });
  const file = mounted.at('file');
  const where = async (): Promise<Record<string, string>> => linesOf(await info(scratch, ['where', file]));
  const log = (): Promise<Problem[]> => infoJson<Problem[]>(scratch, ['log', mounted.path]);
  expect(await log()).toEqual([]);
  expect(await info(scratch, ['log', mounted.path])).toBe('');

  for (const object of objects) {
    chmodSync(object, 0o644);
    flipBit(object, 5);
  }
  for (let i = 0; i < 3; i++) expect(await readBy(HERE, file)).toBe(EIO);
  const [problem, ...more] = await log();
  expect(more).toEqual([]);
  expect(problem).toMatchObject({ severity: 'error', digest, copies: [{ repository: 1, outcome: 'damaged' }, {}] });
  expect(await info(scratch, ['log', mounted.path])).toMatch(
    /^\S+Z error: \/file: object .*: its content is corrupted/,
  );
  expect((await statsOf(scratch, mounted)).problems).toBe(1);
  expect(await where()).toMatchObject({
    verified: 'no: it was refused',
    'served by': 'none: no repository has a good copy',
    damaged: expect.stringContaining('in repository 1'),
  });

  // repaired in one repository: this copy was not verified yet
  writeFileSync(objects[1] as string, content);
  expect(await where()).toMatchObject({
    verified: 'not yet: at its first open',
    'served by': `repository 2, ${stores[1]}`,
  });
  expect((await where())['damaged']).toMatch(
    /^in repository 1, .*: its content is corrupted: blake3 is [0-9a-f]{64}\)$/,
  );

  // a removed copy is no damage
  rmSync(objects[0] as string);
  expect((await where())['damaged']).toBeUndefined();
});

test('users other than root do not see names in the log of a mount that is for all users', async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'x'.repeat(1_000));
  const mounted = await scratch.mount((await scratch.pack(source)).image);
  const { status, stderr } = await scratch.tool('cfs-info', ['log', mounted.path], scratch.nobody());
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('only root may query its log') });
});

test('cfs-mount reports where the log goes', async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'y'.repeat(1_000));
  const { image } = await scratch.pack(source);
  const file = scratch.at('the log');
  const report = (await scratch.mount(image, { args: ['--log', file] })).report as unknown as { log: string };
  expect(report.log).toBe(file);
});
