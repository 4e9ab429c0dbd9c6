/** Every request of a mount is logged, if that is requested. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { until } from './system.ts';

const scratch = useScratch();

async function packed(): Promise<string> {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'a content '.repeat(1_000));
  return (await scratch.pack(source)).image;
}

test.each(['verify=open', 'verify=read'])('-o debug logs each request, with %s, for any number', async (verify) => {
  const log = scratch.at(`log-${verify}`);
  const mounted = await scratch.mount(await packed(), { words: ['debug', verify], args: ['--log', log] });
  readFileSync(mounted.at('file'));
  const names = Array.from({ length: 300 }, (_, i) => `none-${i}`);
  for (const name of names) expect(() => readFileSync(mounted.at(name))).toThrow('ENOENT');
  const text = (): string => readFileSync(log, 'utf8');
  await until('the last request is logged', () => text().includes('"none-299"'));
  expect(text()).toMatch(/debug: LOOKUP unique \d+ inode 1 \/ "file" -> inode \d+, \d+ µs, thread \d+/);
  expect(text()).toMatch(/debug: OPEN unique \d+ inode \d+ \/file -> (?:16 bytes|ENOSYS), \d+ µs, thread \d+/);
  for (const name of names) expect(text()).toContain(`"${name}" -> no such name`);
  // requested lines are not problems of the mount
  const { stdout } = await scratch.tool('cfs-info', ['log', mounted.path]);
  expect(stdout).toBe('');
});

test('without it no request is logged', async () => {
  const log = scratch.at('log-quiet');
  const mounted = await scratch.mount(await packed(), { args: ['--log', log] });
  readFileSync(mounted.at('file'));
  await mounted.unmount();
  expect(readFileSync(log, 'utf8')).not.toContain('LOOKUP');
});
