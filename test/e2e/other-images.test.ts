/** Mounting an image at a path for which the repository has registered another image works, with a warning. */
import { closeSync, copyFileSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { askMount } from '../../src/mount-info/ask-mount.ts';
import { type MountReport, useScratch } from './harness.ts';

const scratch = useScratch();
let at: string;
let old: { id: string; image: string };
let other: { id: string; image: string };

async function packed(content: string, ...args: readonly string[]): Promise<{ id: string; image: string }> {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), content.repeat(100));
  const image = `${source}.cfs`;
  const { status, stdout } = await scratch.tool('cfs-mkimage', [
    '--json',
    '--store',
    scratch.store,
    ...args,
    source,
    image,
  ]);
  expect(status).toBe(0);
  return { id: (JSON.parse(stdout) as { id: string }).id, image };
}

beforeAll(async () => {
  old = await packed('the old one ');
  other = await packed('another one ');
});

beforeEach(() => {
  at = scratch.directory('mnt');
});

/** The messages for people, and the log of the mount. */
async function mounting(image: string): Promise<{ stderr: string; log: string }> {
  const log = `${at}.log`;
  rmSync(log, { force: true });
  const args = ['--store', scratch.store, '--log', log, image, at];
  const { status, stderr } = await scratch.tool('cfs-mount', args);
  expect(status).toBe(0);
  const shown = await scratch.tool('cfs-info', ['log', at]);
  const root = openSync(at, 'r');
  const record = askMount(root);
  closeSync(root);
  if (isErrno(record)) throw new Error(`${at} is no mount`);
  await scratch.adopt({ mountpoint: at, pid: record.pid } as MountReport).unmount();
  expect(shown.stdout.includes('registered at this path')).toBe(readFileSync(log, 'utf8').includes('registered at'));
  return { stderr, log: shown.stdout };
}

test('another image is reported at the mount, and in its log, until it is registered', async () => {
  const place = scratch.at('place.cfs');
  copyFileSync(old.image, place);
  expect((await scratch.tool('cfs-repo', ['register', scratch.store, place])).status).toBe(0);
  expect(await mounting(place)).toEqual({ stderr: '', log: expect.not.stringContaining('registered') });

  rmSync(place);
  copyFileSync(other.image, place);
  const link = scratch.at('link.cfs');
  symlinkSync(place, link);
  const said = await mounting(link);
  expect(said.stderr).toBe(
    `cfs-mount: ${link} is image ${other.id}, and repository ${scratch.store} has image ${old.id} registered at this path. ` +
      `If the new one is right, 'cfs-repo register ${scratch.store} ${link}' keeps its objects; -o digest= refuses an image with another id.\n`,
  );
  expect(said.log).toContain(old.id);

  const mounted = await scratch.mount(link);
  expect(mounted.report).toMatchObject({ otherImages: [{ repository: scratch.store, id: old.id }] });
  await mounted.unmount();

  expect((await scratch.tool('cfs-repo', ['register', scratch.store, link])).status).toBe(0);
  expect((await mounting(link)).stderr).toBe('');
});

test('nothing is reported if an image was packed again', async () => {
  const { image } = await packed('before ');
  const source = image.replace(/\.cfs$/, '');
  writeFileSync(join(source, 'file'), 'after '.repeat(100));
  expect((await scratch.tool('cfs-mkimage', ['--store', scratch.store, source, image])).status).toBe(0);
  expect((await mounting(image)).stderr).toBe('');
});
