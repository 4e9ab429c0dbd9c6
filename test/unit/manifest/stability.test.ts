/** What handles and checkpoints depend on: ids, generations, and the bytes of the format. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blake3 } from '../../../src/base/digest.ts';
import { S_IFMT, S_IFREG } from '../../../src/base/stat-bits.ts';
import { decodeManifest } from '../../../src/manifest/decode.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import { lookupPath, rowOfId, walkTree } from '../../../src/manifest/lookup.ts';
import { generationOf, ID_BITS, idOfPath, nextId } from '../../../src/manifest/stable-id.ts';
import { inodeCount, type ManifestTables, u64 } from '../../../src/manifest/tables.ts';
import { Random } from '../../support/random.ts';
import { anyTree } from './arbitrary.ts';
import { buildTables, directory, file, type Inode, inline, symlink, type Tree, treeOf, xattr } from './model.ts';
import { sampleRepositories, sampleTables, sampleTree } from './sample.ts';

interface Handle {
  readonly id: number;
  readonly generation: number;
}

function handleOf(tables: ManifestTables, path: string): Handle {
  const row = lookupPath(tables, Buffer.from(path));
  if (row < 0) throw new Error(`there is no ${path}`);
  return handleOfRow(tables, row);
}

const handleOfRow = (tables: ManifestTables, row: number): Handle => ({
  id: u64(tables.inodes.id, row),
  generation: tables.inodes.generation[row] as number,
});

/** The handles of all inodes by their first paths. */
function handlesOf(tables: ManifestTables): Map<string, string> {
  const handles = new Map<string, string>();
  walkTree(tables, ({ row, path, first }) => {
    const handle = `${u64(tables.inodes.id, row)} ${tables.inodes.generation[row]}`;
    if (first) handles.set(Buffer.from(path).toString('latin1'), handle);
  });
  return handles;
}

const builtOf = (...tree: Parameters<typeof treeOf>): ManifestTables => buildTables(treeOf(...tree));

describe('stable ids', () => {
  it('are the first 52 bits of the BLAKE3 of the path, and 1 for the root', () => {
    const tables = builtOf({ '/usr': directory, '/usr/env': file('env') });
    const hash = BigInt(`0x${Buffer.from(blake3(Buffer.from('/usr/env'))).toString('hex')}`);
    expect(handleOf(tables, '/usr/env').id).toBe(Number(hash >> 204n));
    expect(handleOf(tables, '/usr/env').id).toBe(0x3215658aecff);
    expect(handleOf(tables, '/').id).toBe(1);
    expect(ID_BITS).toBe(52);
  });

  it('of hard links come from the first of their paths', () => {
    const tables = builtOf({ '/b': directory, '/b/x': file('x'), '/c': '/b/x', '/b/y': '/b/x' });
    expect(handleOf(tables, '/c').id).toBe(idOfPath(Buffer.from('/b/x')));
    expect(handleOf(tables, '/b/y')).toEqual(handleOf(tables, '/c'));
  });

  it('stay, with the generations, if other files are added or removed', () => {
    fc.assert(
      fc.property(anyTree(), fc.nat(), (tree, pick) => {
        const leaves = tree.inodes.filter(({ body }) => body.type !== 'directory');
        fc.pre(leaves.length > 0);
        const gone = leaves[pick % leaves.length] as Inode;
        const all = handlesOf(buildTables(tree));
        const rest = handlesOf(buildTables({ ...tree, inodes: tree.inodes.filter((inode) => inode !== gone) }));
        expect(rest.size).toBe(all.size - 1);
        for (const [path, handle] of rest) expect(all.get(path)).toBe(handle);
      }),
      { numRuns: 200 },
    );
  });

  it('and generations stay if owner, mode, time, attributes, storage or a further name changes', () => {
    const before = handleOf(builtOf({ '/m': file('content') }), '/m');
    const changes = { uid: 5, gid: 6, mode: 0o755, mtime: 1, mtimeNsec: 2, xattrs: [xattr('user.a', '1')] };
    expect(handleOf(builtOf({ '/m': file('content') }, { '/m': changes }), '/m')).toEqual(before);
    expect(handleOf(builtOf({ '/m': inline('content') }), '/m')).toEqual(before);
    expect(handleOf(builtOf({ '/m': file('content'), '/n': '/m' }), '/m')).toEqual(before);
  });

  it('change only with the path', () => {
    const before = handleOf(builtOf({ '/m': file('content') }), '/m');
    const after = handleOf(builtOf({ '/n': file('content') }), '/n');
    expect(after.id).not.toBe(before.id);
    expect(after.generation).toBe(before.generation);
  });
});

describe('generations', () => {
  it('differ between any two files with different content', () => {
    const bodies = [
      file('content'),
      file('Content'),
      file(''),
      file(new Uint8Array(70_000)),
      file(new Uint8Array(70_001)),
      symlink('content'),
      symlink('Content'),
      { type: 'character', device: 0 },
      { type: 'character', device: 1 },
      { type: 'block', device: 1 },
      { type: 'fifo' },
      { type: 'socket' },
      directory,
    ] as const;
    const handles = bodies.map((body) => handleOf(builtOf({ '/m': body }), '/m'));
    expect(new Set(handles.map(({ id }) => id)).size).toBe(1);
    expect(new Set(handles.map(({ generation }) => generation)).size).toBe(bodies.length);
  });

  it('are 0 for directories, with any entries', () => {
    expect(handleOf(builtOf({ '/d': directory }), '/d').generation).toBe(0);
    expect(handleOf(builtOf({ '/d': directory, '/d/f': file('f') }, { '/d': { mode: 0 } }), '/d').generation).toBe(0);
    expect(handleOf(builtOf({}), '/').generation).toBe(0);
  });

  it('are the first 32 bits of the BLAKE3 of the type and the content digest', () => {
    const digest = blake3(Buffer.from('content'));
    const hash = blake3(Buffer.concat([Buffer.from('00800000', 'hex'), digest]));
    expect(generationOf(S_IFREG, digest)).toBe(Buffer.from(hash).readUInt32BE(0));
    expect(handleOf(builtOf({ '/m': file('content') }), '/m').generation).toBe(0x1658483d);
  });
});

describe('stable ids that collide', () => {
  /** Ids by a second implementation of the rule: in path order, each takes the next free id. */
  function idsByRule(tables: ManifestTables, bits: number): Map<number, number> {
    const taken = new Set<number>();
    const ids = new Map<number, number>();
    walkTree(tables, ({ row, path, first }) => {
      if (!first || row === 0) return;
      const hash = BigInt(`0x${Buffer.from(blake3(path)).toString('hex')}`);
      let id = Number(hash >> BigInt(256 - bits));
      if (id < 2) id += 2;
      for (; taken.has(id); id = id + 1 === 2 ** bits ? 2 : id + 1);
      taken.add(id);
      ids.set(row, id);
    });
    return ids;
  }

  it('use the next free id in path order, and lookups find each inode', () => {
    let collisions = 0;
    fc.assert(
      fc.property(
        anyTree({ directories: 15, leaves: 40, minLeaves: 30 }),
        fc.integer({ min: 6, max: 8 }),
        (tree, idBits) => {
          const tables = decodeManifest(encodeManifest(buildTables(tree, { idBits })));
          const ids = idsByRule(tables, idBits);
          expect(new Set(ids.values()).size).toBe(inodeCount(tables) - 1);
          for (const [row, id] of ids) {
            expect(u64(tables.inodes.id, row)).toBe(id);
            expect(rowOfId(tables, id)).toBe(row);
            expect(id).toBeLessThan(2 ** idBits);
          }
          walkTree(tables, ({ row, path, first }) => {
            expect(lookupPath(tables, path)).toBe(row);
            if (first && row !== 0 && u64(tables.inodes.id, row) !== idOfPath(path, idBits)) collisions++;
          });
          for (let id = 2; id < 2 ** idBits; id++) {
            if (![...ids.values()].includes(id)) expect(rowOfId(tables, id)).toBe(-1);
          }
        },
      ),
      { numRuns: 100 },
    );
    expect(collisions).toBeGreaterThan(100);
  });

  it('are the same for any order of calls to the builder', () => {
    fc.assert(
      fc.property(anyTree({ leaves: 40, minLeaves: 30 }), fc.integer(), (tree: Tree, seed) => {
        const one = encodeManifest(buildTables(tree, { idBits: 6 }));
        const other = encodeManifest(buildTables(tree, { idBits: 6, order: new Random(seed) }));
        expect(Buffer.compare(one, other)).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  it('are never 0 or 1, which are not ids of files, for any path and width', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.integer({ min: 2, max: 52 }), (path, bits) => {
        const id = idOfPath(path, bits);
        expect(Number.isInteger(id) && id >= 2 && id < 2 ** bits).toBe(true);
        for (let next = nextId(id, bits), i = 0; i < 10; i++, next = nextId(next, bits)) {
          expect(next >= 2 && next < 2 ** bits).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });

  /** Versions of a tree with and without one of its files, and the file's place in path order. */
  const versions = fc
    .tuple(anyTree({ directories: 10, leaves: 40, minLeaves: 30 }), fc.nat(), fc.integer({ min: 6, max: 9 }))
    .map(([tree, pick, idBits]) => {
      const leaves = tree.inodes.filter(({ body }) => body.type !== 'directory');
      const gone = leaves[pick % leaves.length] as Inode;
      const rest = { ...tree, inodes: tree.inodes.filter((inode) => inode !== gone) };
      return { all: buildTables(tree, { idBits }), rest: buildTables(rest, { idBits }) };
    });

  interface Named extends Handle {
    readonly path: string;
    readonly mode: number;
  }

  /** Inodes in path order, by their first paths. */
  function namedOf(tables: ManifestTables): Named[] {
    const named: Named[] = [];
    walkTree(tables, ({ row, path, first }) => {
      const text = Buffer.from(path).toString('latin1');
      if (first) named.push({ path: text, mode: tables.inodes.mode[row] as number, ...handleOfRow(tables, row) });
    });
    return named;
  }

  /** The same trees in each run: both tests also check that the cases they are about occurred. */
  const SEED = 7;

  it('depend only on the ids that come before in path order', () => {
    let moved = 0;
    fc.assert(
      fc.property(versions, ({ all, rest }) => {
        const [before, after] = [namedOf(all), namedOf(rest)];
        const at = before.findIndex(({ path }, i) => path !== after[i]?.path);
        expect(after.slice(0, at)).toEqual(before.slice(0, at));
        for (const [i, { path, id }] of after.entries())
          if (before[i + 1]?.path === path && before[i + 1]?.id !== id) moved++;
      }),
      { numRuns: 300, seed: SEED },
    );
    expect(moved).toBeGreaterThan(20);
  });

  it('lead a handle of one version to nothing in the next, or to the same content; a directory to a directory', () => {
    let elsewhere = 0;
    fc.assert(
      fc.property(versions, ({ all, rest }) => {
        const known = new Map(namedOf(rest).map((named) => [`${named.id} ${named.generation}`, named]));
        for (const { id, generation, path, mode } of namedOf(all)) {
          const found = known.get(`${id} ${generation}`);
          if (found === undefined || found.path === path) continue;
          elsewhere++;
          // equal generations: the same type and the same content, target or device
          expect(found.mode & S_IFMT).toBe(mode & S_IFMT);
        }
      }),
      { numRuns: 300, seed: SEED },
    );
    expect(elsewhere).toBeGreaterThan(0);
  });

  it('fill the whole space, and continue from its end at 2', () => {
    const names = Array.from({ length: 62 }, (_, i) => `/file${i}`);
    const tables = buildTables(treeOf(Object.fromEntries(names.map((name) => [name, file(name)]))), { idBits: 6 });
    const ids = Array.from({ length: 63 }, (_, row) => u64(tables.inodes.id, row));
    expect(ids).toEqual(Array.from({ length: 63 }, (_, i) => i + 1));
    expect(nextId(2 ** 52 - 1)).toBe(2);
    expect(nextId(63, 6)).toBe(2);
    expect(nextId(2)).toBe(3);
  });
});

describe('the bytes of an image', () => {
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  const why =
    'The format changed: every image that exists has another id now. If that is meant, raise MANIFEST_VERSION.';

  it('never change', () => {
    const bytes = encodeManifest(sampleTables());
    expect(bytes.length, why).toBe(GOLDEN.length);
    expect(sha256(bytes), why).toBe(GOLDEN.blake3);
    const verity = buildTables({ ...sampleTree, hash: 'fsverity-sha256' }, { repositories: sampleRepositories });
    expect(sha256(encodeManifest(verity)), why).toBe(GOLDEN.fsverity);
  });

  it('of the empty tree never change', () => {
    expect(Buffer.from(encodeManifest(builtOf({}))).toString('hex'), why).toBe(GOLDEN.empty);
  });
});

/** Taken from version 0.1.0 of this program. */
const GOLDEN = {
  length: 1898,
  blake3: 'be114bda8f5231275b26a5c4420331430d11433f2020839137f3cf6fd6ad7a7d',
  fsverity: '84fac73a2d24a5e190f1d3578a5a6394cbe3afa5726502045ec0dd6178cedb19',
  empty: [
    'd9d9f7ab6776657273696f6e01646861736866626c616b653369626c6f636b53697a651a0001000066696e6f646573ac6269',
    '64d8474801000000000000006a67656e65726174696f6ed8464400000000646d6f6465d84644a441000063756964d8464400',
    '00000063676964d8464400000000656e6c696e6bd84644020000006473697a65d847480000000000000000656d74696d65d8',
    '4f4800f1536500000000696d74696d654e736563d84644050000006472646576d8464400000000677061796c6f6164d84644',
    '0000000066786174747273d84644ffffffff6b6469726563746f72696573a365696e6f6465d846440000000066706172656e',
    '74d8464400000000656669727374d84648000000000000000067646972656e7473a365696e6f6465d846406a6e616d654f66',
    '66736574d8464400000000656e616d657340676f626a65637473a366646967657374406473697a65d847406b626c6f636b48',
    '6173686573406774617267657473a2666f6666736574d84644000000006562797465734066696e6c696e65a2666f66667365',
    '74d84644000000006562797465734066786174747273a5656669727374d84644000000006a6e616d654f6666736574d84644',
    '00000000656e616d6573406b76616c75654f6666736574d84644000000006676616c756573406c7265706f7369746f726965',
    '7380',
  ].join(''),
} as const;
