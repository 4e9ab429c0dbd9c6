import { describe, expect, test } from 'vitest';
import {
  decodeIdentities,
  encodeIdentities,
  Identities,
  type OtherIdentity,
  withIdentities,
} from '../../../src/manifest/identities.ts';
import { linkTarget, objectOf, pathOfRow, rowOfId, walkTree, xattrsOf } from '../../../src/manifest/lookup.ts';
import { inodeCount, type ManifestTables, u64 } from '../../../src/manifest/tables.ts';
import { Random } from '../../support/random.ts';
import { sampleTables } from './sample.ts';

const S_IFLNK = 0o12;

/** All that is in a tree, without ids and generations. */
function describeTree(tables: ManifestTables): unknown[] {
  const found: unknown[] = [];
  walkTree(tables, ({ row, path, first }) => {
    const { mode, uid, gid, nlink, size, mtime, mtimeNsec, rdev } = tables.inodes;
    const type = (mode[row] as number) >>> 12;
    found.push([
      Buffer.from(path).toString('latin1'),
      first,
      [
        mode[row],
        uid[row],
        gid[row],
        nlink[row],
        u64(size, row),
        mtime[row * 2],
        mtime[row * 2 + 1],
        mtimeNsec[row],
        rdev[row],
      ],
      objectOf(tables, row),
      type === S_IFLNK ? Buffer.from(linkTarget(tables, row)).toString('latin1') : '',
      xattrsOf(tables, row).map(([name, value]) => [Buffer.from(name).toString(), Buffer.from(value).toString()]),
    ]);
  });
  return found;
}

const identityOf = ({ inodes }: ManifestTables, row: number) => ({
  id: u64(inodes.id, row),
  generation: inodes.generation[row] as number,
});

/** Each inode but the root has another identity, in another order. */
function shuffled(tables: ManifestTables): OtherIdentity[] {
  const random = new Random(3);
  return Array.from({ length: inodeCount(tables) - 1 }, (_, i) => ({
    image: identityOf(tables, i + 1),
    mount: { id: random.integer(2, 2 ** 31) * 2 ** 20 + i, generation: random.bits() },
  }));
}

describe('tables with other identities', () => {
  test('have the same tree, and ids in order', () => {
    const tables = sampleTables();
    const before = describeTree(tables);
    const identities = shuffled(tables);
    const other = withIdentities(tables, identities);
    expect(describeTree(other)).toEqual(before);
    for (let row = 1; row < inodeCount(other); row++) {
      expect(u64(other.inodes.id, row)).toBeGreaterThan(u64(other.inodes.id, row - 1));
    }
    for (const { image, mount } of identities) {
      const row = rowOfId(other, mount.id);
      expect(identityOf(other, row)).toEqual(mount);
      expect(pathOfRow(other, row)).toEqual(pathOfRow(tables, rowOfId(tables, image.id)));
    }
    // the given ones are not changed
    expect(describeTree(tables)).toEqual(before);
    expect(rowOfId(tables, identities[0]?.image.id as number)).toBe(1);
  });

  test('and identities of inodes that are not there are left out', () => {
    const tables = sampleTables();
    const identities = [{ image: { id: 2 ** 40 + 1, generation: 0 }, mount: { id: 5, generation: 0 } }];
    expect(rowOfId(withIdentities(tables, identities), 5)).toBe(-1);
  });

  test('are refused if two inodes would have one id', () => {
    const tables = sampleTables();
    const { id } = identityOf(tables, 2);
    expect(() => withIdentities(tables, [{ image: identityOf(tables, 1), mount: { id, generation: 0 } }])).toThrow(
      `two inodes with the id ${id}`,
    );
  });
});

test('identities are the same when they were encoded, at any address', () => {
  const identities = shuffled(sampleTables());
  const bytes = encodeIdentities(identities);
  expect(decodeIdentities(bytes)).toEqual(identities);
  const odd = Buffer.alloc(bytes.length + 3);
  odd.set(bytes, 3);
  expect(decodeIdentities(odd.subarray(3))).toEqual(identities);
  expect(decodeIdentities(bytes.subarray(0, bytes.length - 1))).toEqual(identities.slice(0, -1));
});

test('identities are translated in both directions, and others are left as they are', () => {
  const [one] = shuffled(sampleTables()) as [OtherIdentity];
  const identities = new Identities([one]);
  expect(identities.inImage(one.mount)).toEqual(one.image);
  expect(identities.inMount(one.image)).toEqual(one.mount);
  const other = { id: 77, generation: 7 };
  expect([identities.inImage(other), identities.inMount(other)]).toEqual([other, other]);
  expect([identities.isEmpty, new Identities().isEmpty]).toEqual([false, true]);
});
