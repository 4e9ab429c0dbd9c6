/**
 * Real fs-verity: a kernel with it, ext4 with the feature, and a disk whose bits change. test/vm/fsverity/guest/run is
 * the script of the virtual machine, which runs before the first test.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { digestContent } from '../../src/base/digest.ts';
import type { SealedImage } from '../../src/image/seal-image.ts';
import type { SealResult } from '../../src/store/seal.ts';
import { EXIT } from '../../tools/cli.ts';
import { type MountReport, type Packed, useScratch } from '../e2e/harness.ts';
import { Random } from '../support/random.ts';
import { copyProject, runMachine } from './machine.ts';
import { makeExt4 } from './programs.ts';
import { Results } from './results.ts';

const scratch = useScratch();
const payload = scratch.at('payload');
const random = new Random(2026);
const PAGE = 4096;
const MIB = 1 << 20;
/** The number of small files, which makes sealing slow enough to be killed. */
const MANY = 150;

const CONTENTS = {
  big: random.bytes(300_000),
  small: random.bytes(1000),
  page: random.bytes(PAGE),
  huge: random.bytes(4 * MIB),
};
/** Files of a partly sealed store: each file is named by what happens to its object. */
const MIXED = Object.fromEntries(
  ['sealed', 'unsealed', 'other', 'next'].map((name) => [name, Buffer.from(`all ${name} and no play\n`.repeat(200))]),
);
const FLIPPED = random.bytes(64 * 1024);
/** The block of FLIPPED in which a bit changes. */
const FLIPPED_BLOCK = 9;

let results: Results;

beforeAll(async () => {
  mkdirSync(payload);
  await pack(writeFiles('tree', CONTENTS), 'store', 'tree.cfs');
  await pack(writeFiles('mixed', MIXED), 'mixed-store', 'mixed.cfs');
  for (const [name, content] of Object.entries(MIXED)) {
    writeFileSync(join(payload, `${name}.digest`), toHex(digestContent('fsverity-sha256', content).digest));
  }
  await pack(writeFiles('owned', { note: random.bytes(5000) }), 'owned-store', 'owned.cfs');
  const many = writeFiles(
    'many',
    Array.from({ length: MANY }, (_, i) => random.bytes(100 + i * 20)),
  );
  await pack(many, 'killed-store', 'many.cfs');
  cpSync(many, join(payload, 'many'), { recursive: true });
  await makeDisk();
  cpSync(join(import.meta.dirname, 'fsverity/guest'), payload, { recursive: true });
  const source = join(import.meta.dirname, 'fsverity/drop-pages.c');
  execFileSync('gcc', ['-O1', '-Wall', '-Wextra', '-Werror', '-static', '-o', join(payload, 'drop-pages'), source]);
  copyProject(join(payload, 'cfs'));
  const { lines } = await runMachine(payload, scratch.path);
  if (process.env['CFS_DEBUG'] === '1') console.log(lines.join('\n'));
  results = new Results(lines);
});

/** A new directory with these files. */
function writeFiles(name: string, contents: Readonly<Record<string, Uint8Array>> | readonly Uint8Array[]): string {
  const directory = scratch.directory(name);
  for (const [file, content] of Object.entries(contents)) writeFileSync(join(directory, file), content);
  return directory;
}

async function pack(source: string, store: string, image: string): Promise<void> {
  const args = ['--hash', 'fsverity-sha256'];
  await scratch.pack(source, { store: join(payload, store), image: join(payload, image), args });
}

/** Makes the file of a disk with a store and an image, and finds the places of both on it. */
async function makeDisk(): Promise<void> {
  const disk = scratch.directory('disk');
  await pack(writeFiles('flipped', { flipped: FLIPPED }), 'disk-store', 'disk.cfs');
  cpSync(join(payload, 'disk-store'), join(disk, 'store'), { recursive: true });
  const image = readFileSync(join(payload, 'disk.cfs'));
  writeFileSync(join(disk, 'disk.cfs'), image);
  const file = join(payload, 'disk.ext4');
  makeExt4(file, disk, 16);
  const bytes = readFileSync(file);
  const find = (name: string, block: Uint8Array): void => {
    const at = bytes.indexOf(block);
    expect(at).toBeGreaterThan(0);
    writeFileSync(join(payload, name), String(at + 77));
  };
  find('flip.object', FLIPPED.subarray(FLIPPED_BLOCK * PAGE, (FLIPPED_BLOCK + 1) * PAGE));
  find('flip.image', image.subarray(0, 512));
}

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

interface SealJson extends SealResult {
  readonly images: readonly SealedImage[];
  readonly seconds: number;
}

/** The output of `cfs-repo seal`, and its status. */
function seal(name: string): SealJson & { readonly status: number } {
  const [[status, json] = []] = results.rows('seal', name);
  return { ...(JSON.parse(json ?? '{}') as SealJson), status: Number(status) };
}

function mounted(name: string): MountReport {
  const [[status, json] = []] = results.rows('mount', name);
  expect([name, status]).toEqual([name, '0']);
  return JSON.parse(json ?? '{}') as MountReport;
}

/** The value `verified` of `cfs-info where`. */
const verified = (name: string): string =>
  (JSON.parse(results.value('where', name) ?? '[{}]') as { verified: string }[])[0]?.verified ?? '';

const read = (name: string): string[] | undefined => results.rows('read', name)[0];
const log = (name: string): string[] => results.rows('log', name).flat();
const EIO = ['error', expect.stringMatching(/^(?:I|Input)\/(?:O|output) error$/)];

describe('cfs-repo seal', () => {
  const objects = Object.keys(CONTENTS).length;
  const bytes = Object.values(CONTENTS).reduce((sum, content) => sum + content.length, 0);

  test('seals every object with the digest that its name says', () => {
    expect(seal('first')).toMatchObject({ status: 0, sealed: objects, sealedBytes: bytes, already: 0, problems: [] });
    expect(results.rows('measured', 'first')).toEqual([[String(objects), '0']]);
  });

  test('takes about a 128th of the content on the disk, and a block or two of each object', () => {
    const { treeBytes } = seal('first');
    expect(treeBytes).toBeGreaterThan(bytes / 128);
    expect(treeBytes).toBeLessThan(bytes / 126 + objects * 3 * PAGE);
  });

  test('can be killed and repeated', () => {
    const before = Number(results.value('killed'));
    expect(before).toBeGreaterThan(20);
    expect(before).toBeLessThan(MANY);
    const { status, sealed, already, problems } = seal('killed');
    expect({ status, problems }).toEqual({ status: 0, problems: [] });
    // one more object may have been sealed when it was killed
    expect(sealed + already).toBe(MANY);
    expect(already).toBeGreaterThanOrEqual(before);
    expect(results.rows('measured', 'killed')).toEqual([[String(MANY), '0']]);
  });

  test('says that an object is open for writing, and seals it afterwards', () => {
    const busy = { outcome: 'busy', reason: 'it is open for writing', count: 1 };
    expect(seal('busy')).toMatchObject({ status: EXIT.store, sealed: 1, already: 2 });
    expect(seal('busy').problems).toContainEqual(expect.objectContaining(busy));
    expect(seal('not-busy')).toMatchObject({ sealed: 1, already: 3 });
    expect(seal('not-busy').problems).not.toContainEqual(expect.objectContaining(busy));
  });

  test('reports that a sealed object does not match its name', () => {
    const { status, problems } = seal('not-busy');
    expect(status).toBe(EXIT.store);
    expect(problems).toMatchObject([{ outcome: 'damaged', count: 1 }]);
  });

  test("seals another user's objects for that user, and leaves them read-only", () => {
    expect(seal('owner')).toMatchObject({ status: 0, sealed: 1, problems: [] });
    expect(results.value('modes')).toBe('444');
  });
});

test.each(['append', 'truncate', 'image'])('sealed files cannot be written to, even by root: %s', (how) => {
  expect(results.rows('denied', how)).toEqual([['1', 'Operation not permitted']]);
});

describe('verify=fsverity', () => {
  const logOf = (name: string): string | undefined =>
    log('mixed').find((line) => new RegExp(`^(?:error: )?/${name}: `).test(line));

  test('serves sealed objects, with passthrough', () => {
    expect(mounted('mixed')).toMatchObject({ verify: 'fsverity', passthrough: true });
    expect(read('sealed')).toEqual(['ok', sha256(MIXED['sealed'] as Buffer)]);
    expect(logOf('sealed')).toBeUndefined();
  });

  test('returns EIO for an object that is not sealed, and says what to do', () => {
    expect(read('unsealed')).toEqual(EIO);
    expect(logOf('unsealed')).toMatch(/^error: /);
    expect(logOf('unsealed')).toContain('it is not sealed, and sealing repository /payload/mixed-store does it; ');
    expect(logOf('unsealed')).toMatch(/next-store: it is missing: EIO$/);
  });

  test('returns EIO for an object that is sealed with another content', () => {
    expect(read('other')).toEqual(EIO);
    expect(logOf('other')).toMatch(/^error: .*mixed-store: it is sealed with another content, .*: EIO$/);
  });

  test('uses the sealed copy of a later repository', () => {
    expect(read('next')).toEqual(['ok', sha256(MIXED['next'] as Buffer)]);
    expect(logOf('next')).toMatch(/^\/next: .*mixed-store: it is not sealed.*served from .*next-store instead$/);
  });
});

describe('verify=auto', () => {
  test('serves sealed objects of all sizes, with passthrough', () => {
    expect(mounted('auto')).toMatchObject({ verify: 'auto', passthrough: true });
    for (const [name, content] of Object.entries(CONTENTS)) expect(read(name)).toEqual(['ok', sha256(content)]);
    expect(log('auto')).toEqual([]);
  });
});

describe('an open', () => {
  const sectors = (name: string): number => Number(results.value('sectors', name));

  test('reads next to nothing if the object is measured, also after its pages were dropped', () => {
    expect(verified('auto')).toBe('fsverity');
    expect(sectors('measured')).toBeLessThan(200);
    expect(sectors('measured-again')).toBeLessThan(200);
  });

  test('reads all of it if it is hashed', () => {
    expect(mounted('open').verify).toBe('open');
    expect(sectors('hashed')).toBeGreaterThanOrEqual((4 * MIB) / 512);
  });
});

describe('a bit that changes on the disk', () => {
  test('returns EIO to a reader of a mounted file, from the kernel itself', () => {
    expect(mounted('digest')).toMatchObject({ verify: 'fsverity', passthrough: true });
    expect(read('before-flip')).toEqual(['ok', sha256(FLIPPED)]);
    expect(read('flipped')).toEqual(EIO);
    expect(results.value('kernel')).toBe('FILE CORRUPTED');
    // the kernel did not ask the daemon, for which nothing has changed
    expect([verified('flipped'), log('flipped')]).toEqual(['fsverity', []]);
  });

  test('leaves bytes that were read before it right', () => {
    expect(results.value('prefix')).toBe(sha256(FLIPPED.subarray(0, 4 * PAGE)));
  });

  test('is visible to a reader of a file that is not sealed, with verify=off', () => {
    expect(mounted('unsealed-off')).toMatchObject({ verify: 'off', passthrough: true });
    const changed = Buffer.from(FLIPPED);
    const at = FLIPPED_BLOCK * PAGE + 77;
    changed.writeUInt8((changed[at] as number) ^ 4, at);
    expect(read('unsealed-off')).toEqual(['ok', sha256(changed)]);
  });
});

describe('an image', () => {
  test('is sealed by cfs-repo seal --image, and mounted by the digest that this prints', () => {
    const { status, images } = seal('disk');
    const digest = `fsverity-${results.value('digest')?.split(' ')[0]}`;
    expect(status).toBe(0);
    expect(images).toEqual([{ path: '/disk/disk.cfs', outcome: 'sealed', digest }]);
    expect(mounted('digest').mountpoint).toBe('/mnt/cfs');
  });

  test('is refused if its digest differs', () => {
    const [status, message] = results.rows('mount', 'other-digest')[0] ?? [];
    expect(status).toBe(String(EXIT.mount));
    expect(message).toContain('Cannot read image /disk/disk.cfs: its fs-verity digest is ');
  });

  test('is refused by the kernel if a bit of it has changed on the disk', () => {
    const [status, message] = results.rows('mount', 'flipped-image')[0] ?? [];
    expect(status).toBe(String(EXIT.system));
    expect(message).toContain('Cannot read image /disk/disk.cfs: i/o error');
  });

  test('is sealed by cfs-mkimage --seal, with its objects', () => {
    const [status, json] = results.rows('packed')[0] ?? [];
    expect(status).toBe('0');
    const { seal: sealed } = JSON.parse(json ?? '{}') as Packed & { seal: SealResult & { image: SealedImage } };
    expect(sealed).toMatchObject({ sealed: MANY, already: 0, problems: [], image: { outcome: 'sealed' } });
    expect(results.rows('measured', 'packed')).toEqual([[String(MANY), '0']]);
    expect(`fsverity-${results.value('image')?.split(' ')[0]}`).toBe(sealed.image.digest);
  });
});
