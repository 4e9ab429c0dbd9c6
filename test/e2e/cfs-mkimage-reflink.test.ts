/** Stores on file systems that share blocks between files: packing takes no space there, and no copying up does. */
import { closeSync, mkdirSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { Random } from '../support/random.ts';
import { expectWhole, hasProgram, mountLoop, objectsIn, packed, sharedBytes } from './cli.ts';
import { useScratch } from './harness.ts';

const scratch = useScratch();
const MIB = 1 << 20;
const source = scratch.at('source');
let id: string;

function writeSource(root: string): void {
  mkdirSync(root);
  const random = new Random(9);
  writeFileSync(`${root}/large`, random.bytes(8 * MIB));
  writeFileSync(`${root}/odd-size`, random.bytes(3 * MIB + 12_345));
  writeFileSync(`${root}/small`, random.bytes(5000));
  writeFileSync(`${root}/sparse`, random.bytes(4096));
  truncateSync(`${root}/sparse`, 50 * MIB);
}

beforeAll(async () => {
  writeSource(source);
  ({ id } = await packed(scratch, ['--use-epoch', source, scratch.at('plain.cfs')]));
});

describe.each([
  ['btrfs', 130],
  ['xfs', 320],
] as const)('a store on %s', (type, mib) => {
  test.runIf(hasProgram(`mkfs.${type}`))('shares the blocks of large files with the source', async () => {
    const path = await mountLoop(scratch.at(type), type, mib);
    const inside = `${path}/source`;
    writeSource(inside);
    const store = `${path}/store`;
    expect((await packed(scratch, ['--use-epoch', '--store', store, inside, scratch.at(`${type}.cfs`)])).id).toBe(id);
    const shared = expectWhole(store).map((name) => sharedBytes(`${store}/objects/${name}`));
    expect(shared.filter((bytes) => bytes > 0).length).toBe(3);
    expect(Math.max(...shared)).toBe(8 * MIB);
    expect(sharedBytes(`${inside}/large`)).toBe(8 * MIB);
  });

  test.runIf(hasProgram(`mkfs.${type}`))('copies a source from another file system', async () => {
    const store = `${scratch.at(type)}/from-elsewhere`;
    expect((await packed(scratch, ['--use-epoch', '--store', store, source, scratch.at(`${type}.cfs`)])).id).toBe(id);
    expect(expectWhole(store)).toHaveLength(objectsIn(scratch.store).length);
    for (const name of objectsIn(store)) expect(sharedBytes(`${store}/objects/${name}`)).toBe(0);
  });

  test.runIf(hasProgram(`mkfs.${type}`))(
    'shares the blocks of a large file that is copied up with its object',
    async () => {
      const path = scratch.at(type);
      const [upper, work] = ['upper', 'work'].map((name) => `${path}/${name}`) as [string, string];
      for (const directory of [upper, work]) mkdirSync(directory);
      const words = [`upperdir=${upper}`, `workdir=${work}`];
      const mounted = await scratch.mount(scratch.at(`${type}.cfs`), { repos: [`${path}/store`], words });
      const fd = openSync(`${mounted.path}/large`, 'r+');
      expect(readFileSync(`${upper}/large`).equals(readFileSync(`${path}/source/large`))).toBe(true);
      expect(sharedBytes(`${upper}/large`)).toBe(8 * MIB);
      writeSync(fd, 'changed', 0);
      closeSync(fd);
      await mounted.unmount();
      expect(readFileSync(`${upper}/large`, 'latin1').slice(0, 7)).toBe('changed');
      expect(readFileSync(`${path}/source/large`, 'latin1').slice(0, 7)).not.toBe('changed');
    },
  );
});
