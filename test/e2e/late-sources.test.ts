/** Packing a source that waits for its entries, as a source on a network does. */
import { readdirSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Source, SourceEntry, SyncSource } from '../../src/pack/source.ts';
import { manyFiles } from './cli.ts';
import { useScratch } from './harness.ts';

const scratch = useScratch();

/** The built program, in this process: its threads are not loaded from sources. */
const built = <T>(module: string): Promise<T> => import(new URL(`../../dist/src/${module}.js`, import.meta.url).href);
const { packImage } = await built<typeof import('../../src/pack/pack-image.ts')>('pack/pack-image');
const { openDirectorySource } =
  await built<typeof import('../../src/pack/sources/directory.ts')>('pack/sources/directory');
const { initRepository } = await built<typeof import('../../src/store/open-repository.ts')>('store/open-repository');

const directorySource = (path: string): SyncSource =>
  openDirectorySource(path, {
    useEpoch: false,
    skipXattrs: false,
    skipDevices: false,
    oneFileSystem: false,
    warn: () => undefined,
  });

const pack = (source: Source, name: string): ReturnType<typeof packImage> =>
  packImage(source, {
    repository: initRepository(scratch.at(`${name}.store`), 'blake3'),
    image: scratch.at(`${name}.cfs`),
    inlineMax: 64,
    threads: 2,
    durable: false,
    repositories: [],
    rehash: false,
    register: true,
  });

/** The entries of a source, each in its own turn of the event loop; `before` is called with the number of each. */
async function* late(
  source: SyncSource,
  before: (number: number) => void = () => undefined,
): AsyncGenerator<SourceEntry> {
  let number = 0;
  for (const entry of source.entries()) {
    await turn();
    before(++number);
    yield entry;
  }
}

const withEntries = (source: SyncSource, entries: () => AsyncIterable<SourceEntry>): Source => ({
  root: source.root,
  name: source.name,
  entries,
});

test('the image is that of the same entries at once', async () => {
  const tree = manyFiles(scratch.directory('tree'), 700);
  const source = directorySource(tree);
  const slow = await pack(
    withEntries(source, () => late(source)),
    'late',
  );
  const quick = await pack(directorySource(tree), 'at-once');
  expect(slow).toEqual(quick);
});

test('a source that fails makes the packing fail, and closes its open files', async () => {
  const source = directorySource(manyFiles(scratch.directory('failing'), 50));
  const open = readdirSync('/proc/self/fd').length;
  const failing = (number: number): void => {
    if (number === 20) throw new Error('the network is gone');
  };
  const packing = pack(
    withEntries(source, () => late(source, failing)),
    'failing',
  );
  await expect(packing).rejects.toThrow('the network is gone');
  expect(readdirSync('/proc/self/fd').length).toBeLessThan(open);
  expect(readdirSync(scratch.at('failing.store'))).not.toContain('failing.cfs');
});
