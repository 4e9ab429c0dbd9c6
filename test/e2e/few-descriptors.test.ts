/** A server that may have only few files open serves all files. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type MountReport, useScratch } from './harness.ts';
import { asUser, HERE, NOBODY, succeed } from './run.ts';

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

/** Reads files that are all open, as a program of `NOBODY`. */
const HOLDER = `
  import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
  const at = process.argv[1];
  const names = readdirSync(at);
  const files = names.map((name) => openSync(at + '/' + name));
  const bytes = Buffer.alloc(300);
  const wrong = names.filter((name, i) => bytes.latin1Slice(0, readSync(files[i], bytes, 0, 300, 0)) !== name.slice(5).padStart(200, 'x'));
  files.forEach(closeSync);
  console.log(JSON.stringify({ files: files.length, wrong }));`;

test.each(['open', 'auto', 'off'])(
  'with verify=%s a user may have more files open at once than the server',
  async (verify) => {
    const place = scratch.nobody();
    const at = scratch.directory('mnt');
    await succeed(['chown', `${NOBODY}`, at]);
    const log = join(at, '..', `${verify}-all.log`);
    writeFileSync(log, '');
    await succeed(['chown', `${NOBODY}`, log]);
    const args = ['--json', '--log', log, '-o', `verify=${verify}`, '--repo', scratch.store, image, at];
    const command = place.tool('cfs-mount', args, scratch.environment);
    const report = JSON.parse(await succeed(['prlimit', '--nofile=128', ...command])) as MountReport;
    const mounted = scratch.adopt(report, { place, helper: true });
    expect(report.passthrough).toBe(false);
    const held = await succeed([...asUser(NOBODY), process.execPath, '--input-type=module', '--eval', HOLDER, at]);
    expect(JSON.parse(held)).toEqual({ files: FILES, wrong: [] });
    expect(readFileSync(log, 'utf8')).not.toContain('error');
    await mounted.unmount();
  },
);
