/** URLs as arguments of the library; nothing here reaches a server. */
import { expect, test } from 'vitest';
import { extractImage } from '../../../src/api/extract.ts';
import { fetchImage } from '../../../src/api/fetched.ts';
import { openImage } from '../../../src/api/image.ts';
import { type MountOptions, mount } from '../../../src/api/mount.ts';

const URL_OF_IMAGE = 'https://example.org/images#rootfs';
const REPOSITORY = 'https://example.org/images';

test('what is read synchronously comes from no server', () => {
  for (const open of [() => openImage(URL_OF_IMAGE), () => openImage('/x.cfs', { repositories: [REPOSITORY] })]) {
    expect(open).toThrow(expect.objectContaining({ kind: 'usage', hint: expect.stringContaining('`fetchImage`') }));
  }
});

const refusal = async (image: string, options: MountOptions): Promise<unknown> =>
  await mount(image, '/nowhere', options).catch((error: unknown) => error);

test.each<[string, string, MountOptions]>([
  ['names no image', REPOSITORY, {}],
  ['without the name of an image', '/x.cfs', { repositories: [URL_OF_IMAGE] }],
  ['http to another machine', '/x.cfs', { repositories: ['http://example.org/x'] }],
  ['http to another machine', 'http://example.org/x#y', {}],
  ['user name or a password', '/x.cfs', { repositories: ['https://me:secret@example.org/x'] }],
  ['needs a remote repository', '/x.cfs', { cache: '/cache' }],
  ['a number of bytes, not 0', '/x.cfs', { repositories: [REPOSITORY], cacheSize: 0 }],
  ['a number of bytes, not NaN', '/x.cfs', { repositories: [REPOSITORY], cacheSize: Number.NaN }],
  ['exclude each other', '/x.cfs', { repositories: [REPOSITORY], verify: 'fsverity' }],
  ['exclude each other', '/x.cfs', { repositories: [REPOSITORY], upper: { upperdir: '/u', workdir: '/w' } }],
])('a mount is refused: %s (%s, %o)', async (message, image, options) => {
  expect(await refusal(image, options)).toMatchObject({ kind: 'usage', message: expect.stringContaining(message) });
});

test('images are fetched by URLs that name them', async () => {
  for (const address of ['/x.cfs', REPOSITORY, 'ftp://example.org/x#y']) {
    await expect(fetchImage(address, { cache: '/nowhere' })).rejects.toMatchObject({ kind: 'usage' });
  }
  await expect(extractImage(URL_OF_IMAGE, '/nowhere')).rejects.toMatchObject({ kind: 'usage' });
});
