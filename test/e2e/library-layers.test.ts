/** Mounts that can be written, by the library. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { access, appendFile, link, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { CfsError, type MountOptions, mount as mountFromSource, type UpperLayer } from '../../src/index.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import { useScratch } from './harness.ts';
import { succeed } from './run.ts';

const scratch = useScratch();

/** The built library, in this process: its threads are not loaded from sources. No synchronous calls into a mount. */
const { mount, mountInBackground, unmount } = (await import(
  new URL('../../dist/src/index.js', import.meta.url).href
)) as typeof import('../../src/index.ts');

let image: string;
let options: MountOptions;

beforeAll(async () => {
  const source = scratch.directory('source');
  mkdirSync(join(source, 'directory'));
  for (const name of ['file', 'directory/first']) writeFileSync(join(source, name), `${name} of the image\n`);
  await link(join(source, 'directory/first'), join(source, 'directory/second'));
  const packed = await scratch.pack(source);
  image = packed.image;
  options = { repositories: [scratch.store] };
});

/** Directories of a new layer; a comma in a path is no separator. */
function layer(): UpperLayer {
  const path = scratch.directory('a layer, with a comma');
  for (const name of ['changes', 'work']) mkdirSync(join(path, name));
  return { upperdir: join(path, 'changes'), workdir: join(path, 'work') };
}

describe('a mount with an upper layer', () => {
  test('is written, keeps the changes, and shows them to later mounts', async () => {
    const upper = layer();
    const at = scratch.directory('mnt');
    const first = await mount(image, at, { ...options, upper });
    await appendFile(join(at, 'file'), 'changed\n');
    await rename(join(at, 'directory'), join(at, 'moved'));
    await writeFile(join(at, 'new'), 'new\n');
    await first.unmount();
    expect(readFileSync(join(upper.upperdir, 'new'), 'utf8')).toBe('new\n');

    const second = await mount(image, at, { ...options, upper: { ...upper, readOnly: true } });
    expect(await readFile(join(at, 'file'), 'utf8')).toBe('file of the image\nchanged\n');
    expect(await readFile(join(at, 'moved/second'), 'utf8')).toBe('directory/first of the image\n');
    await expect(writeFile(join(at, 'file'), '')).rejects.toThrow('EROFS');
    await second.unmount();

    await mountInBackground(image, at, { ...options, upper });
    await appendFile(join(at, 'file'), 'again\n');
    await unmount(at);
    expect(readFileSync(join(upper.upperdir, 'file'), 'utf8')).toMatch(/again\n$/);
  });

  test('obeys the options of the layer', async () => {
    const upper = { ...layer(), index: false, uuid: true, metacopy: false, redirectDir: 'nofollow' } as const;
    const at = scratch.directory('mnt');
    const mounted = await mount(image, at, { ...options, upper });
    await appendFile(join(at, 'directory/first'), 'changed\n');
    expect(await readFile(join(at, 'directory/second'), 'utf8')).toBe('directory/first of the image\n');
    expect((await stat(join(at, 'directory/first'))).nlink).toBe(1);
    await expect(rename(join(at, 'directory'), join(at, 'moved'))).rejects.toThrow('EXDEV');
    await mounted.unmount();
    expect(existsSync(join(upper.workdir, 'index'))).toBe(false);
    const uuid = getXattr(upper.upperdir, 'trusted.overlay.uuid');
    expect(isErrno(uuid) ? uuid : uuid.length).toBe(16);
  });

  test('with userxattr and volatile has xattrs of users, and no mark after its end', async () => {
    const upper = { ...layer(), userxattr: true, volatile: true };
    const at = scratch.directory('mnt');
    const mounted = await mount(image, at, { ...options, upper });
    await appendFile(join(at, 'file'), 'changed\n');
    expect(readdirSync(join(upper.workdir, 'work/incompat'))).toEqual(['volatile']);
    await mounted.unmount();
    expect(existsSync(join(upper.workdir, 'work/incompat'))).toBe(false);
    expect(isErrno(getXattr(join(upper.upperdir, 'file'), 'user.overlay.origin'))).toBe(false);
  });

  test('is listed with its directories, and as one that is repeated with the same options', async () => {
    const upper = layer();
    const at = scratch.directory('mnt');
    await mountInBackground(image, at, { ...options, upper });
    const listed = await succeed(['node', join(import.meta.dirname, '../../dist/tools/cfs-info.js'), 'sources', at]);
    for (const path of [upper.upperdir, upper.workdir]) expect(listed).toContain(path);
    await unmount(at);
  });
});

describe('is refused, and nothing is mounted', () => {
  const failure = async (upper: UpperLayer, more: MountOptions = {}): Promise<CfsError> => {
    const at = scratch.directory('mnt');
    const error = await mountFromSource(image, at, { ...options, ...more, upper }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(CfsError);
    await access(at);
    return error as CfsError;
  };

  test.each<[string, Partial<UpperLayer>, MountOptions, RegExp]>([
    ['volatile, read-only', { volatile: true, readOnly: true }, {}, /volatile and ro exclude each other/],
    ['redirects with userxattr', { userxattr: true, redirectDir: 'on' }, {}, /userxattr and redirect_dir=on exclude/],
    ['metacopy without redirects', { metacopy: true, redirectDir: 'off' }, {}, /metacopy=on and redirect_dir=off/],
    ['without verification', {}, { verify: 'off' }, /verify=off and upperdir= exclude each other/],
    ['an unknown value', { redirectDir: 'maybe' as 'on' }, {}, /redirect_dir= takes on, follow, nofollow, off/],
  ])('%s', async (_name, change, more, message) => {
    const error = await failure({ ...layer(), ...change }, more);
    expect([error.kind, error.message]).toEqual(['usage', expect.stringMatching(message)]);
  });

  test('without a directory', async () => {
    const upper = layer();
    expect(await failure({ ...upper, upperdir: '' })).toMatchObject({ kind: 'usage' });
    expect(await failure({ ...upper, workdir: undefined as unknown as string })).toMatchObject({ kind: 'usage' });
  });
});
