/** Objects that change, or that come and go, while an image is mounted. */
import { chmodSync, copyFileSync, cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { flipBit, objectPath, readBy, sha256 } from './damage.ts';
import { type Mounted, useScratch } from './harness.ts';
import { HERE, type Place } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
const EIO = 'Input/output error';
const random = new Random(5);

interface Victim {
  readonly image: string;
  readonly store: string;
  readonly content: Buffer;
  readonly digest: string;
  /** The object's file. */
  readonly object: string;
}

/** Packs one file, `file`, into a store of its own. */
async function packFile(length = 200_000): Promise<Victim> {
  const source = scratch.directory('source');
  const store = scratch.directory('store');
  const content = random.bytes(length);
  writeFileSync(join(source, 'file'), content);
  const { image } = await scratch.pack(source, { store });
  const { stdout } = await scratch.tool('cfs-info', ['objects', '--json', image]);
  const [{ digest }] = JSON.parse(stdout) as [{ digest: string }];
  const object = objectPath(store, digest);
  chmodSync(object, 0o644);
  return { image, store, content, digest, object };
}

const PLACES: readonly { title: string; words: readonly string[]; place: () => Promise<Place> }[] = [
  { title: 'root, with passthrough', words: [], place: async () => HERE },
  { title: 'a user namespace', words: [], place: () => scratch.namespace('user namespace') },
  { title: 'fuse-native', words: ['driver=fuse-native'], place: async () => HERE },
];

describe.each(PLACES)('cfs-mount for $title', ({ words, place: placeOf }) => {
  async function mountFile(
    victim: Victim,
  ): Promise<{ mounted: Mounted; read: () => Promise<string>; log: () => string }> {
    const logFile = `${victim.image}.log`;
    writeFileSync(logFile, '');
    const place = await placeOf();
    const args = ['--log', logFile];
    const mounted = await scratch.mount(victim.image, { place, words, repos: [victim.store], args });
    return { mounted, read: () => readBy(place, mounted.at('file')), log: () => readFileSync(logFile, 'utf8') };
  }

  test('finds a bit that was flipped in place after the object was verified and closed', async () => {
    const victim = await packFile();
    const { read, log } = await mountFile(victim);
    const whole = sha256(victim.content);
    // the second read finds it verified, where its time of change is old enough to be trusted
    await sleep(100);
    expect([await read(), await read()]).toEqual([whole, whole]);
    flipBit(victim.object, 100_000);
    expect([await read(), await read()]).toEqual([EIO, EIO]);
    await until('the log tells it', () => log().includes(victim.digest));
    expect(log()).toMatch(/\/file: object .*: its content is corrupted/);
    flipBit(victim.object, 100_000);
    expect(await read()).toBe(whole);
  });

  test('finds a bit that was flipped right after the first read, in the same tick of the clock', async () => {
    const victim = await packFile();
    const { read } = await mountFile(victim);
    for (let i = 0; i < 5; i++) {
      // written and read at once: what was verified now could be changed with the same time of change
      writeFileSync(victim.object, victim.content);
      expect(await read()).toBe(sha256(victim.content));
      flipBit(victim.object, i * 1000);
      expect(await read()).toBe(EIO);
    }
  });

  test('serves an object that was replaced by a good copy, and none that was replaced by a bad one', async () => {
    const victim = await packFile();
    const { read } = await mountFile(victim);
    expect(await read()).toBe(sha256(victim.content));
    const copy = `${victim.object}.copy`;
    copyFileSync(victim.object, copy);
    renameSync(copy, victim.object);
    expect(await read()).toBe(sha256(victim.content));
    writeFileSync(copy, random.bytes(victim.content.length));
    renameSync(copy, victim.object);
    expect(await read()).toBe(EIO);
  });

  test('serves an object again that was missing when it was first asked for', async () => {
    const victim = await packFile();
    const { read, log } = await mountFile(victim);
    renameSync(victim.object, `${victim.object}.away`);
    expect(await read()).toBe(EIO);
    await until('the log tells it', () => log().includes('missing'));
    expect(log()).toContain(`/file: object ${victim.digest}: ${victim.store}: it is missing`);
    renameSync(`${victim.object}.away`, victim.object);
    expect(await read()).toBe(sha256(victim.content));
  });

  test('goes on reading a file that is open when its object is removed', async () => {
    const victim = await packFile(3_000_000);
    const { mounted, read } = await mountFile(victim);
    if (mounted.place.inNamespace) return; // its files can be opened in it only, one program a time
    const file = await open(mounted.at('file'), 'r');
    try {
      await file.read(Buffer.alloc(10), 0, 10, 0);
      rmSync(victim.object);
      expect(sha256(await file.readFile())).toBe(sha256(victim.content.subarray(0)));
      expect(await read()).toBe(EIO);
    } finally {
      await file.close();
    }
  });

  test('gives each of many readers at once EIO, or all the right bytes', async () => {
    const bad = await packFile(3_000_000);
    flipBit(bad.object, 2_999_999);
    const good = await packFile(3_000_000);
    const readers = async (victim: Victim): Promise<string[]> => {
      const { read } = await mountFile(victim);
      return await Promise.all(Array.from({ length: 8 }, read));
    };
    expect(await readers(bad)).toEqual(Array(8).fill(EIO));
    expect(await readers(good)).toEqual(Array(8).fill(sha256(good.content)));
  });
});

describe('cfs-mount for an ordinary user', () => {
  test('gives EIO for an object that he may not read, and takes a later repository that he may', async () => {
    const victim = await packFile();
    const copy = scratch.directory('copy');
    cpSync(victim.store, copy, { recursive: true });
    chmodSync(victim.object, 0o600);
    const place = await scratch.namespaceOfNobody();
    const logFile = join(scratch.directory('log'), 'log');
    writeFileSync(logFile, '');
    chmodSync(logFile, 0o666);
    const args = ['--log', logFile];
    const one = await scratch.mount(victim.image, { place, repos: [victim.store], args });
    expect(await readBy(place, one.at('file'))).toBe(EIO);
    await until('the log tells it', () => readFileSync(logFile, 'utf8').includes('EACCES'));
    expect(readFileSync(logFile, 'utf8')).toContain(`/file: object ${victim.digest}: ${victim.store}: EACCES: EIO`);
    const two = await scratch.mount(victim.image, { place, repos: [victim.store, copy], args });
    expect(await readBy(place, two.at('file'))).toBe(sha256(victim.content));
  });
});
