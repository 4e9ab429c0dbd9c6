/** Sparse files stay sparse when they are copied out of a mount. */
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { succeed } from './run.ts';

const scratch = useScratch();
const SIZE = 40 << 20;
const AT = 10_000_000;
/** The largest size of a copy on the disk: some blocks of 64 KiB. */
const FEW = 1 << 20;
let source: string;
let images: Readonly<Record<string, string>>;

beforeAll(async () => {
  source = scratch.directory('source');
  const sparse = openSync(join(source, 'sparse'), 'w');
  ftruncateSync(sparse, SIZE + 1000);
  writeSync(sparse, 'data', AT);
  closeSync(sparse);
  writeFileSync(join(source, 'full'), Buffer.alloc(300_000, 'full'));
  const verity = scratch.at('verity-store');
  images = {
    blake3: (await scratch.pack(source)).image,
    verity: (await scratch.pack(source, { store: verity, args: ['--hash', 'fsverity-sha256'] })).image,
  };
});

const bytesOn = (path: string): number => statSync(path).blocks * 512;

/** The beginnings and ends of a file's data, by lseek(2). */
const extentsOf = async (path: string): Promise<number[]> =>
  JSON.parse(
    await succeed([
      'python3',
      '-c',
      'import json, os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY); out = []; end = 0\nwhile True:\n' +
        ' try: start = os.lseek(fd, end, os.SEEK_DATA)\n except OSError as e:\n  assert e.errno == 6, e\n  break\n' +
        ' end = os.lseek(fd, start, os.SEEK_HOLE); out += [start, end]\nprint(json.dumps(out))',
      path,
    ]),
  ) as number[];

describe.each([
  ['blake3', 'verify=open'],
  ['blake3', 'verify=read'],
  ['verity', 'verify=open'],
])('of an image of %s with %s', (name, word) => {
  test('copies take as little space as the source', async () => {
    const repos = [scratch.store, scratch.at('verity-store')].slice(name === 'verity' ? 1 : 0).slice(0, 1);
    const mounted = await scratch.mount(images[name] as string, { words: [word], repos });
    const file = mounted.at('sparse');
    expect(bytesOn(file)).toBeLessThan(FEW);
    expect(bytesOn(mounted.at('full'))).toBeGreaterThanOrEqual(300_000);
    const block = AT - (AT % 65536);
    expect(await extentsOf(file)).toEqual([block, block + 65536, SIZE, SIZE + 1000]);
    expect(await extentsOf(mounted.at('full'))).toEqual([0, 300_000]);

    const out = scratch.directory('out');
    await succeed(['cp', '-a', file, join(out, 'copy')]);
    await succeed(['cp', '--sparse=auto', file, join(out, 'second')]);
    await succeed(['tar', '-S', '-C', mounted.path, '-cf', join(out, 'archive.tar'), 'sparse']);
    mkdirSync(join(out, 'from-tar'));
    await succeed(['tar', '-C', join(out, 'from-tar'), '-xf', join(out, 'archive.tar')]);
    expect(statSync(join(out, 'archive.tar')).size).toBeLessThan(FEW);
    for (const copy of ['copy', 'second', 'from-tar/sparse']) {
      expect(bytesOn(join(out, copy)), copy).toBeLessThan(FEW);
      expect(readFileSync(join(out, copy)).equals(readFileSync(join(source, 'sparse')))).toBe(true);
    }
  });
});

test('the portable driver counts holes, and they read as zeros', async () => {
  const mounted = await scratch.mount(images['blake3'] as string, { words: ['driver=fuse-native'] });
  expect(bytesOn(mounted.at('sparse'))).toBeLessThan(FEW);
  const out = scratch.directory('out');
  await succeed(['cp', '-a', mounted.at('sparse'), join(out, 'copy')]);
  expect(readFileSync(join(out, 'copy')).equals(readFileSync(join(source, 'sparse')))).toBe(true);
});
