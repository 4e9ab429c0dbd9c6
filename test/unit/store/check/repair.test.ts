import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { toHex } from '../../../../src/base/bytes.ts';
import { digestContent, HASH_ALGORITHMS, type HashAlgorithm } from '../../../../src/base/digest.ts';
import {
  type CheckReport,
  checkOne,
  checkPrefix,
  type Damage,
  type Oddity,
} from '../../../../src/store/check/check-directory.ts';
import { mendMode, type Repaired, repairAll } from '../../../../src/store/check/repair.ts';
import type { LocalRepository } from '../../../../src/store/local-repository.ts';
import { initRepository } from '../../../../src/store/open-repository.ts';
import { listQuarantine } from '../../../../src/store/quarantine.ts';
import { mknod } from '../../../support/libc.ts';
import { Random } from '../../../support/random.ts';
import { useScratch } from '../scratch.ts';

const at = useScratch();
const random = new Random(21);
let serial = 0;

interface Stored {
  readonly object: string;
  readonly content: Buffer;
}

function fresh(hash: HashAlgorithm = 'blake3'): LocalRepository {
  return initRepository(at(`r${serial++}`), hash);
}

function put(repository: LocalRepository, content: Buffer): Stored {
  const { digest } = digestContent(repository.hash, content);
  writeFileSync(repository.objectPath(digest), content, { mode: 0o444 });
  return { object: toHex(digest), content };
}

const fileOf = ({ path }: LocalRepository, object: string): string =>
  join(path, 'objects', object.slice(0, 2), object.slice(2));

function overwrite(repository: LocalRepository, object: string, content: string | Buffer): void {
  const file = fileOf(repository, object);
  chmodSync(file, 0o644);
  writeFileSync(file, content);
  chmodSync(file, 0o444);
}

interface Checked {
  readonly damage: Damage[];
  readonly oddities: Oddity[];
  objects: number;
  bytes: number;
}

/** All 256 directories. */
function check(repository: LocalRepository): Checked {
  const checked: Checked = { damage: [], oddities: [], objects: 0, bytes: 0 };
  const report: CheckReport = {
    damage: (damage) => checked.damage.push(damage),
    oddity: (oddity) => checked.oddities.push(oddity),
    object: () => checked.objects++,
    bytes: (length) => {
      checked.bytes += length;
    },
  };
  for (let prefix = 0; prefix < 256; prefix++) checkPrefix(repository, prefix, report);
  return checked;
}

describe.each(HASH_ALGORITHMS)('checkPrefix() of %s', (hash) => {
  test('finds nothing in a good repository, and counts the bytes that it has read', () => {
    const repository = fresh(hash);
    const sizes = [1, 5000, 1 << 20, 3_000_000];
    for (const size of sizes) put(repository, random.bytes(size));
    expect(check(repository)).toEqual({ damage: [], oddities: [], objects: 4, bytes: sizes.reduce((a, b) => a + b) });
  });

  test.each([
    ['a changed byte', (content: Buffer) => content.fill(content[0] === 7 ? 8 : 7, 0, 1)],
    ['fewer bytes', (content: Buffer) => content.subarray(1)],
    ['no bytes', () => Buffer.alloc(0)],
    ['more bytes', (content: Buffer) => Buffer.concat([content, content])],
  ])('finds %s', (_what, change) => {
    const repository = fresh(hash);
    const { object, content } = put(repository, random.bytes(100_000));
    overwrite(repository, object, change(Buffer.from(content)));
    const problem = expect.stringMatching(new RegExp(`^its content is corrupted: ${hash} is [0-9a-f]{64}$`));
    expect(check(repository).damage).toEqual([{ object, kind: 'corrupt', problem }]);
  });
});

describe('checkPrefix()', () => {
  test('finds files that are not regular, and opens no fifo', () => {
    const repository = fresh();
    const [fifo, directory] = [put(repository, random.bytes(10)), put(repository, random.bytes(10))];
    for (const { object } of [fifo, directory]) rmSync(fileOf(repository, object));
    mknod(fileOf(repository, fifo.object), 0o010644);
    mkdirSync(fileOf(repository, directory.object));
    const { damage } = check(repository);
    expect(new Set(damage.map(({ object }) => object))).toEqual(new Set([fifo.object, directory.object]));
    for (const { kind, problem } of damage) expect({ kind, problem }).toMatchObject({ kind: 'shape' });
  });

  test('finds names that are not digests, and writable files', () => {
    const repository = fresh();
    const { object } = put(repository, random.bytes(10));
    chmodSync(fileOf(repository, object), 0o664);
    for (const name of ['x', 'A'.repeat(62), 'a'.repeat(61), 'a'.repeat(64)]) {
      writeFileSync(join(repository.path, 'objects/00', name), '');
    }
    const { damage, oddities } = check(repository);
    expect(damage).toEqual([]);
    expect(oddities.filter(({ kind }) => kind === 'strange')).toHaveLength(4);
    expect(oddities.filter(({ kind }) => kind === 'mode')).toMatchObject([{ problem: 'its mode is 0664' }]);
  });

  test('accepts modes below 0444, which a umask leaves', () => {
    const repository = fresh();
    chmodSync(fileOf(repository, put(repository, random.bytes(10)).object), 0o400);
    expect(check(repository).oddities).toEqual([]);
  });

  test('stops on request', () => {
    const repository = fresh();
    const { object } = put(repository, random.bytes(10));
    const report = {
      damage: () => {},
      oddity: () => {},
      object: () => {},
      bytes: () => {
        throw new Error('stop');
      },
    };
    expect(() => checkPrefix(repository, Number.parseInt(object.slice(0, 2), 16), report)).toThrow('stop');
  });
});

describe('repairAll()', () => {
  let repository: LocalRepository;
  let source: LocalRepository;
  beforeEach(() => {
    repository = fresh();
    source = fresh();
  });

  const damaged = (content: Buffer): Stored => {
    const stored = put(repository, content);
    overwrite(repository, stored.object, 'damage');
    return stored;
  };
  const repair = (...sources: readonly LocalRepository[]): Promise<readonly Repaired[]> =>
    repairAll(repository, check(repository).damage, sources);

  test('moves a damaged object to quarantine, unchanged', async () => {
    const { object } = damaged(random.bytes(100));
    expect(await repair()).toEqual([
      { object, kind: 'corrupt', problem: expect.any(String), quarantined: `quarantine/${object}` },
    ]);
    expect(readFileSync(join(repository.path, 'quarantine', object), 'utf8')).toBe('damage');
    expect(checkOne(repository, object)?.kind).toBe('missing');
  });

  test.each([10, 3_000_000])('fetches a good copy of %i bytes, read-only, and leaves nothing in tmp/', async (size) => {
    const { object, content } = damaged(random.bytes(size));
    put(source, content);
    expect(await repair(source)).toMatchObject([{ object, from: source.path, quarantined: `quarantine/${object}` }]);
    expect(readFileSync(fileOf(repository, object)).equals(content)).toBe(true);
    expect(statSync(fileOf(repository, object)).mode & 0o777).toBe(0o444 & ~process.umask());
    expect(readdirSync(repository.temporaryDirectory)).toEqual([]);
    expect(check(repository).damage).toEqual([]);
  });

  test('passes over sources with a bad copy or none', async () => {
    const { object, content } = damaged(random.bytes(5000));
    const bad = fresh();
    put(bad, content);
    overwrite(bad, object, random.bytes(5000));
    put(source, content);
    expect(await repair(fresh(), bad, source)).toMatchObject([{ object, from: source.path }]);
  });

  test('reports the answer of each source if none has a good copy', async () => {
    const { object, content } = damaged(random.bytes(5000));
    put(source, content);
    overwrite(source, object, 'bad too');
    const none = fresh();
    const [result] = await repair(source, none);
    expect(result?.hindrance).toBe(
      `${source.path}: its content is corrupted there too; ${none.path}: no such file or directory`,
    );
    expect(readdirSync(repository.temporaryDirectory)).toEqual([]);
  });

  test('keeps each bad file of the same object', async () => {
    const { object, content } = damaged(random.bytes(50));
    put(source, content);
    await repair(source);
    overwrite(repository, object, 'again');
    await repair(source);
    expect([...listQuarantine(repository).names].sort()).toEqual([object, `${object}.2`]);
    expect(listQuarantine(repository).objects).toEqual(new Set([object]));
  });

  test('also moves a directory away', async () => {
    const { object, content } = put(source, random.bytes(50));
    mkdirSync(fileOf(repository, object));
    await repair(source);
    expect(readFileSync(fileOf(repository, object)).equals(content)).toBe(true);
  });

  test('leaves an object that became good in the meantime', async () => {
    const { object, content } = damaged(random.bytes(50));
    const { damage } = check(repository);
    overwrite(repository, object, content);
    expect(await repairAll(repository, damage, [])).toEqual([]);
  });

  test('fetches a missing one', async () => {
    const { object } = put(source, random.bytes(50));
    const damage: Damage = { object, kind: 'missing', problem: 'it is missing' };
    expect(await repairAll(repository, [damage], [source])).toEqual([{ ...damage, from: source.path }]);
    expect(checkOne(repository, object)).toBeUndefined();
  });

  test('reports why a repository cannot be written to, and leaves it unchanged', async () => {
    const { object } = damaged(random.bytes(50));
    renameSync(repository.lockPath, `${repository.lockPath}.away`);
    mkdirSync(repository.lockPath);
    const [result] = await repair(source);
    expect(result).toMatchObject({
      object,
      hindrance: expect.stringContaining('lock: is a directory'),
    });
    expect(result?.quarantined).toBeUndefined();
    expect(checkOne(repository, object)?.kind).toBe('corrupt');
  });
});

test('mendMode() removes write permission', () => {
  const repository = fresh();
  const { object } = put(repository, random.bytes(10));
  chmodSync(fileOf(repository, object), 0o644);
  mendMode(repository, `objects/${object.slice(0, 2)}/${object.slice(2)}`);
  expect(statSync(fileOf(repository, object)).mode & 0o777).toBe(0o444);
});
