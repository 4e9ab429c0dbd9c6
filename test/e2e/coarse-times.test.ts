/**
 * A store on a file system with times in whole seconds: an object that changes may keep the ctime of its verification.
 */
import { statSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Random } from '../support/random.ts';
import { mountLoop } from './cli.ts';
import { flipBit, objectPath, readBy, sha256 } from './damage.ts';
import { useScratch } from './harness.ts';
import { HERE } from './run.ts';

const scratch = useScratch();
/** The number of changes that must fall into the second of the verified content. */
const ENOUGH = 3;

test.each(['auto', 'open'])(
  'a change of an object in the second in which it was verified is found, verify=%s',
  async (verify) => {
    // inodes of 128 bytes have no room for nanoseconds
    const disk = await mountLoop(scratch.at(`disk-${verify}`), 'ext4', 16, ['-I', '128']);
    const source = scratch.directory('source');
    const content = new Random(25).bytes(20_000);
    writeFileSync(`${source}/file`, content);
    const store = `${disk}/store`;
    const { image } = await scratch.pack(source, { store });
    const { stdout } = await scratch.tool('cfs-info', ['stat', '--json', image, 'file']);
    const [{ object: digest }] = JSON.parse(stdout) as [{ object: string }];
    const object = objectPath(store, digest);
    const ctime = (): number => statSync(object).ctimeMs;
    const mounted = await scratch.mount(image, { repos: [store], words: [`verify=${verify}`] });
    for (let seen = 0; seen < ENOUGH; ) {
      writeFileSync(object, content);
      const before = ctime();
      expect(before % 1000).toBe(0);
      expect(await readBy(HERE, mounted.at('file'))).toBe(sha256(content));
      flipBit(object, 10_000);
      if (ctime() === before) seen++;
      expect(await readBy(HERE, mounted.at('file'))).toBe('Input/output error');
    }
  },
);
