import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { digestContent } from '../../../../src/base/digest.ts';
import { type InodeMetadata, ManifestBuilder } from '../../../../src/manifest/builder.ts';
import { decodeManifest } from '../../../../src/manifest/decode.ts';
import { diffTables } from '../../../../src/manifest/diff/diff.ts';
import { encodeManifest } from '../../../../src/manifest/encode.ts';
import { lookupPath } from '../../../../src/manifest/lookup.ts';
import type { ManifestTables } from '../../../../src/manifest/tables.ts';
import { anyTree } from '../arbitrary.ts';
import { versions } from '../edits.ts';
import { type Attributes, type Body, buildTables, directory, file, inline, symlink, treeOf, xattr } from '../model.ts';
import { type NaiveChange, naiveDiff } from '../naive-diff.ts';

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** The changes with paths as text. Checks that each row is that of its path. */
function diff(old: ManifestTables, now: ManifestTables): NaiveChange[] {
  return [...diffTables(old, now)].map(({ kind, ...change }) => {
    const out: { -readonly [K in keyof NaiveChange]: NaiveChange[K] } = { kind };
    if ('old' in change) {
      expect(lookupPath(old, change.old.path)).toBe(change.old.row);
      out.old = latin1(change.old.path);
    }
    if ('new' in change) {
      expect(lookupPath(now, change.new.path)).toBe(change.new.row);
      out.new = latin1(change.new.path);
    }
    if ('what' in change) out.what = change.what;
    if ('below' in change) out.below = change.below;
    return out;
  });
}

describe('diffTables()', () => {
  const idBits = fc.constantFrom(52, 52, 8);

  test('matches a naive comparison of all paths, for versions of a tree', () => {
    fc.assert(
      fc.property(versions, idBits, idBits, ([old, now], oldBits, newBits) => {
        const changes = diff(buildTables(old, { idBits: oldBits }), buildTables(now, { idBits: newBits }));
        expect(changes).toEqual(naiveDiff(old, now));
      }),
      { numRuns: 1500 },
    );
  });

  test('and for unrelated trees', () => {
    fc.assert(
      fc.property(anyTree(), anyTree(), (old, now) => {
        expect(diff(buildTables(old), buildTables(now))).toEqual(naiveDiff(old, now));
      }),
      { numRuns: 100 },
    );
  });

  test('finds nothing between an image and itself, read again', () => {
    fc.assert(
      fc.property(anyTree(), (tree) => {
        const tables = buildTables(tree);
        expect(diff(tables, tables)).toEqual([]);
        expect(diff(tables, decodeManifest(encodeManifest(tables)))).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });
});

type Paths = Readonly<Record<string, Body | string>>;
type Metadata = Readonly<Record<string, Partial<Attributes>>>;

/**
 * The changes as lines: "A path", "D path", "M path what", "R old new what below". Both trees have an unchanged file
 * beside these paths.
 */
function lines(old: [Paths, Metadata?], now: [Paths, Metadata?]): string[] {
  const tables = ([paths, metadata]: [Paths, Metadata?]): ManifestTables =>
    buildTables(treeOf({ '/same': file('same'), ...paths }, metadata));
  return diff(tables(old), tables(now)).map(({ kind, old: before, new: after, what, below }) => {
    if (kind === 'added') return `A ${after}`;
    if (kind === 'removed') return `D ${before}`;
    if (kind === 'renamed') return `R ${before} ${after} ${what?.join()} ${below}`;
    return `M ${before === after ? after : `${before} ${after}`} ${what?.join()}`;
  });
}

describe('diffTables() for one name', () => {
  test('reports each changed field with its aspect', () => {
    const one = (from: Partial<Attributes>, to: Partial<Attributes>): string[] =>
      lines([{ '/f': file('a') }, { '/f': from }], [{ '/f': file('a') }, { '/f': to }]);
    expect(one({ mode: 0o644 }, { mode: 0o4644 })).toEqual(['M /f mode']);
    expect(one({ uid: 1 }, { uid: 2 })).toEqual(['M /f owner']);
    expect(one({ gid: 1 }, { gid: 2 })).toEqual(['M /f owner']);
    expect(one({ mtime: -1 }, { mtime: 2 ** 32 - 1 }), 'the same low word').toEqual(['M /f mtime']);
    expect(one({ mtimeNsec: 1 }, { mtimeNsec: 2 })).toEqual(['M /f mtime']);
    expect(one({ xattrs: [xattr('user.a', '1')] }, { xattrs: [xattr('user.a', '2')] })).toEqual(['M /f xattrs']);
    expect(one({ xattrs: [xattr('user.a', 'b')] }, { xattrs: [xattr('user.ab', '')] })).toEqual(['M /f xattrs']);
    expect(one({ xattrs: [xattr('user.a', '1')] }, {})).toEqual(['M /f xattrs']);
    expect(one({ mode: 0o600, uid: 1, mtime: 1 }, {})).toEqual(['M /f mode,owner,mtime']);
  });

  test('compares content as the bytes of a file, the target of a link, the number of a device', () => {
    const one = (from: Body, to: Body): string[] => lines([{ '/f': from }], [{ '/f': to }]);
    expect(one(file('a'), file('b'))).toEqual(['M /f content']);
    expect(one(file('a'), file('aa'))).toEqual(['M /f content']);
    expect(one(file('a'), file(''))).toEqual(['M /f content']);
    expect(one(inline('a'), inline('b'))).toEqual(['M /f content']);
    expect(one(inline('a'), file('b'))).toEqual(['M /f content']);
    expect(one(symlink('a'), symlink('b'))).toEqual(['M /f content']);
    expect(one({ type: 'block', device: 1 }, { type: 'block', device: 2 })).toEqual(['M /f content']);
    expect(one({ type: 'block', device: 1 }, { type: 'character', device: 2 })).toEqual(['M /f type']);
    expect(one(file('a'), symlink('a'))).toEqual(['M /f type']);
    expect(one({ type: 'fifo' }, { type: 'socket' })).toEqual(['M /f type']);
  });

  test('ignores the place of a content', () => {
    expect(lines([{ '/f': file('a'), '/g': inline('b') }], [{ '/f': inline('a'), '/g': file('b') }])).toEqual([]);
  });

  test('reports the entries of a directory that becomes a file as removed', () => {
    const old: Paths = { '/d': directory, '/d/x': file('x'), '/e': file('e') };
    expect(lines([old], [{ '/d': file('d'), '/e': directory, '/e/y': file('y') }])).toEqual([
      'M /d type',
      'D /d/x',
      'M /e type',
      'A /e/y',
    ]);
  });

  test('can report a changed root', () => {
    expect(lines([{}, { '/': { mode: 0o700 } }], [{}, { '/': { mode: 0o755 } }])).toEqual(['M / mode']);
  });

  test('lists added and removed entries one by one, in path order, with exact names', () => {
    const old: Paths = { '/b': directory, '/b/x': file('1'), '/b!': file('2') };
    const bytes = (name: string): Buffer => Buffer.from(name, 'latin1');
    const build = (name: Buffer, content: string): ManifestTables => {
      const tree = treeOf({ '/x': file(content) });
      const [root, x] = tree.inodes as [(typeof tree.inodes)[0], (typeof tree.inodes)[0]];
      return buildTables({ ...tree, inodes: [root, { ...x, links: [{ parent: 0, name }] }] });
    };
    expect(diff(build(bytes('\xff'), 'a'), build(bytes('\xfe'), 'b'))).toEqual([
      { kind: 'added', new: '/\xfe' },
      { kind: 'removed', old: '/\xff' },
    ]);
    expect(lines([old], [{}])).toEqual(['D /b', 'D /b/x', 'D /b!']);
    expect(lines([{}], [old])).toEqual(['A /b', 'A /b/x', 'A /b!']);
  });
});

describe('diffTables() for hard links', () => {
  test('names that are one inode on one side only have other links', () => {
    expect(lines([{ '/a': file('x'), '/b': '/a' }], [{ '/a': file('x'), '/b': file('x') }])).toEqual([
      'M /a links',
      'M /b links',
    ]);
  });

  test('a new name of an inode changes the links of its other names', () => {
    expect(lines([{ '/a': file('x') }], [{ '/a': file('x'), '/b': '/a' }])).toEqual(['M /a links', 'A /b']);
    expect(lines([{ '/a': file('x'), '/b': '/a' }], [{ '/b': file('x') }])).toEqual(['D /a', 'M /b links']);
  });

  test('detects a different grouping of names even if every link count is the same', () => {
    const old: Paths = { '/a': file('x'), '/b': '/a', '/c': file('x'), '/d': '/c' };
    const now: Paths = { '/a': file('x'), '/c': '/a', '/b': file('x'), '/d': '/b' };
    expect(lines([old], [now])).toEqual(['M /a links', 'M /b links', 'M /c links', 'M /d links']);
  });

  test('a renamed name still counts as the same', () => {
    expect(lines([{ '/a': file('x'), '/b': '/a' }], [{ '/a': file('x'), '/c': '/a' }])).toEqual(['R /b /c  0']);
    expect(lines([{ '/a': file('x'), '/b': '/a' }], [{ '/a': file('x'), '/c': file('x') }])).toEqual([
      'M /a links',
      'R /b /c links 0',
    ]);
  });
});

describe('diffTables() reports as renamed', () => {
  const x = file('content x');
  const y = file('content y');

  test('a file that is the same except for its path, if no other file is', () => {
    expect(lines([{ '/a': x }], [{ '/b': x }])).toEqual(['R /a /b  0']);
    expect(lines([{ '/a': x }], [{ '/d': directory, '/d/b': x }])).toEqual(['A /d', 'R /a /d/b  0']);
    expect(lines([{ '/l': symlink('t') }], [{ '/m': symlink('t') }])).toEqual(['R /l /m  0']);
    expect(lines([{ '/a': file('z') }], [{ '/b': inline('z') }]), 'wherever it lies').toEqual(['R /a /b  0']);
    expect(lines([{ '/a': x }], [{ '/b': y }])).toEqual(['D /a', 'A /b']);
    expect(lines([{ '/a': x }], [{ '/b': x }, { '/b': { mtimeNsec: 6 } }])).toEqual(['D /a', 'A /b']);
    expect(lines([{ '/a': x, '/b': x }], [{ '/c': x }]), 'two could be it').toEqual(['D /a', 'D /b', 'A /c']);
    expect(lines([{ '/a': x, '/b': x }], [{ '/b': x, '/c': x }]), 'only one of two equal ones went').toEqual([
      'R /a /c  0',
    ]);
  });

  test('the one with the same last name, among several that are the same', () => {
    const old: Paths = { '/d': directory, '/d/a': x, '/d/b': x, '/d/c': y, '/d/e': y };
    const now: Paths = { '/q': directory, '/q/a': x, '/q/z': directory, '/q/z/b': x };
    expect(lines([old], [now])).toEqual([
      'D /d',
      'D /d/c',
      'D /d/e',
      'A /q',
      'R /d/a /q/a  0',
      'A /q/z',
      'R /d/b /q/z/b  0',
    ]);
  });

  test('a directory with its whole content', () => {
    const inside = (top: string): Paths => ({
      [top]: directory,
      [`${top}/a`]: x,
      [`${top}/d`]: directory,
      [`${top}/d/b`]: x,
      [`${top}/d/empty`]: directory,
    });
    expect(lines([inside('/old')], [inside('/new')])).toEqual(['R /old /new  4']);
    expect(lines([inside('/old')], [inside('/same-name')])).toEqual(['R /old /same-name  4']);
  });

  test('a directory with most of its content, and then the differences in it', () => {
    const old: Paths = { '/old': directory, '/old/a': x, '/old/b': y, '/old/c': file('c'), '/old/gone': file('gone') };
    const now: Paths = { '/new': directory, '/new/a': x, '/new/b': y, '/new/c': file('C'), '/new/came': file('came') };
    const more: Paths = { '/old/d': file('d') };
    const metadata: Metadata = { '/new': { mtime: 5 }, '/new/c': { mode: 0o600 } };
    expect(lines([{ ...old, ...more }], [{ ...now, '/new/d': file('d') }, metadata])).toEqual([
      'R /old /new mtime 4',
      'M /old/c /new/c content,mode',
      'A /new/came',
      'D /old/gone',
    ]);
    expect(lines([old], [now]), 'two of four are not most').toEqual([
      'A /new',
      'R /old/a /new/a  0',
      'R /old/b /new/b  0',
      'A /new/c',
      'A /new/came',
      'D /old',
      'D /old/c',
      'D /old/gone',
    ]);
  });

  test('from the inside out', () => {
    const tree = (top: string, content: string): Paths => ({
      [top]: directory,
      [`${top}/bin`]: directory,
      [`${top}/bin/x`]: x,
      [`${top}/bin/y`]: y,
      [`${top}/bin/version`]: file(content),
      [`${top}/etc`]: directory,
      [`${top}/etc/version`]: file(`${content} of etc`),
    });
    // most entries of bin were renamed, so bin was too; but bin is only one of the two entries of the directory above
    // it
    expect(lines([tree('/1', '1')], [tree('/2', '2')])).toEqual([
      'D /1',
      'D /1/etc',
      'D /1/etc/version',
      'A /2',
      'R /1/bin /2/bin  3',
      'M /1/bin/version /2/bin/version content',
      'A /2/etc',
      'A /2/etc/version',
    ]);
    const lib: Paths = { '/1/lib': directory, '/1/lib/z': file('z') };
    expect(
      lines([{ ...tree('/1', '1'), ...lib }], [{ ...tree('/2', '2'), '/2/lib': directory, '/2/lib/z': file('z') }]),
    ).toEqual(['R /1 /2  8', 'M /1/bin/version /2/bin/version content', 'M /1/etc/version /2/etc/version content']);
  });

  test('a file that left a renamed directory, and a file that is equal to another in it', () => {
    const old: Paths = { '/old': directory, '/old/a': x, '/old/b': y, '/old/c': file('c'), '/g': x };
    const now: Paths = { '/new': directory, '/new/a': x, '/new/b': y, '/moved': file('c'), '/h': x };
    expect(lines([old], [now])).toEqual(['R /g /h  0', 'R /old/c /moved  0', 'R /old /new  2']);
  });

  test('a file whose old name now belongs to a file of another type', () => {
    const old: Paths = { '/bash': directory, '/bash/a': x, '/bash/b': y, '/tool': x };
    const now: Paths = { '/bash-5': directory, '/bash-5/a': x, '/bash-5/b': y, '/bash': symlink('bash-5') };
    expect(lines([old], [{ ...now, '/tool': symlink('/bin/wrap'), '/tool.real': x }])).toEqual([
      'A /bash',
      'R /bash /bash-5  2',
      'A /tool',
      'R /tool /tool.real  0',
    ]);
    expect(lines([{ '/a': x, '/b': symlink('t') }], [{ '/b': x, '/a': symlink('t') }])).toEqual([
      'R /b /a  0',
      'R /a /b  0',
    ]);
    const retyped = lines(
      [{ '/old': directory, '/old/a': x, '/old/b': y, '/old/c': directory, '/old/c/d': file('d') }],
      [{ '/new': directory, '/new/a': x, '/new/b': y, '/new/c': symlink('c') }],
    );
    expect(retyped).toEqual(['R /old /new  2', 'M /old/c /new/c type', 'D /old/c/d']);
  });

  test('a file that moved out of a renamed directory or into it, though the other directory has a file of its name', () => {
    const old: Paths = { '/old': directory, '/old/a': x, '/old/b': y, '/old/c': file('c') };
    const now: Paths = { '/new': directory, '/new/a': x, '/new/b': y, '/new/c': file('C') };
    expect(lines([old], [{ ...now, '/moved': file('c') }])).toEqual([
      'R /old/c /moved  0',
      'R /old /new  2',
      'A /new/c',
    ]);
    expect(lines([{ ...old, '/g': file('C') }], [now])).toEqual(['R /old /new  2', 'R /g /new/c  0', 'D /old/c']);
  });

  test('a directory that is equal to one in a renamed directory', () => {
    const both = (top: string, other: string): Paths => ({
      [top]: directory,
      [`${top}/a`]: file('a'),
      [`${top}/d`]: directory,
      [`${top}/d/x`]: x,
      [other]: directory,
      [`${other}/x`]: x,
    });
    expect(lines([both('/old', '/one')], [both('/new', '/two')])).toEqual(['R /old /new  3', 'R /one /two  1']);
  });

  test('a directory with changed links, which it lists', () => {
    const old: Paths = { '/old': directory, '/old/a': x, '/old/b': '/old/a', '/old/c': y };
    const now: Paths = { '/new': directory, '/new/a': x, '/new/b': x, '/new/c': y };
    expect(lines([old], [now])).toEqual(['R /old /new  3', 'M /old/a /new/a links', 'M /old/b /new/b links']);
    expect(lines([old], [{ '/new': directory, '/new/a': x, '/new/b': '/new/a', '/new/c': y }])).toEqual([
      'R /old /new  3',
    ]);
  });
});

describe('diffTables() for images of different hash', () => {
  const paths: Paths = {
    '/empty': file(''),
    '/inline': inline('inline'),
    '/small': file('small'),
    '/block': file(new Uint8Array(65536).fill(1)),
    '/large': file(new Uint8Array(200_000).fill(2)),
    '/last': file(new Uint8Array(200_000).fill(3)),
  };

  test('compares contents by their blocks', () => {
    const changed = new Uint8Array(200_000).fill(3);
    changed[199_999] = 4;
    const old = buildTables(treeOf(paths, {}, 'blake3'));
    expect(diff(old, buildTables(treeOf(paths, {}, 'fsverity-sha256')))).toEqual([]);
    const other = treeOf(
      { ...paths, '/inline': file('inline'), '/small': inline('small'), '/last': file(changed) },
      {},
      'fsverity-sha256',
    );
    const now = buildTables(other);
    const last = { kind: 'changed', old: '/last', new: '/last', what: ['content'] };
    expect(diff(old, now)).toEqual([last]);
    expect(diff(now, old)).toEqual([last]);
  });

  test('finds renamed files', () => {
    const moved = Object.fromEntries(Object.entries(paths).map(([path, body]) => [`/d${path}`, body]));
    const old = buildTables(treeOf(paths, {}, 'fsverity-sha256'));
    const now = buildTables(treeOf({ '/d': directory, ...moved }, {}, 'blake3'));
    expect(diff(old, now).map(({ kind }) => kind)).toEqual(['added', ...Object.keys(paths).map(() => 'renamed')]);
  });
});

describe('diffTables() at the limits', () => {
  const DEPTH = 4_000;
  const metadata: InodeMetadata = { mode: 0o40755, uid: 0, gid: 0, mtime: 0, mtimeNsec: 0, rdev: 0, xattrs: [] };

  /** Nested directories and a file in the innermost one. The first directory has a name of its own. */
  function deep(first: string, content: string, depth = DEPTH): ManifestTables {
    const builder = new ManifestBuilder('blake3', metadata);
    let parent = 0;
    for (let i = 0; i < depth; i++) {
      const inode = builder.addInode(metadata);
      builder.link(parent, Buffer.from(i === 0 ? first : 'd'), inode);
      parent = inode;
    }
    const leaf = builder.addInode({ ...metadata, mode: 0o100644 });
    builder.link(parent, Buffer.from('f'), leaf);
    builder.setObject(leaf, digestContent('blake3', Buffer.from(content)));
    return builder.finish();
  }

  test('a path of 4,000 levels', () => {
    const path = `/a${'/d'.repeat(DEPTH - 1)}/f`;
    expect(diff(deep('a', '1'), deep('a', '2'))).toEqual([
      { kind: 'changed', old: path, new: path, what: ['content'] },
    ]);
    expect(diff(deep('a', '1'), deep('b', '1'))).toEqual([
      { kind: 'renamed', old: '/a', new: '/b', what: [], below: DEPTH },
    ]);
    const changes = diffTables(deep('a', '1'), deep('b', '2'));
    expect(Array.from({ length: 3 }, () => changes.next().value?.kind)).toEqual(['removed', 'removed', 'removed']);
    expect([...diffTables(deep('a', '1', 1), deep('a', '1', 500))], 'the file is renamed').toHaveLength(500);
  });

  test('30,000 equal entries that went and came, and 15,000 directories with one counterpart', () => {
    const COUNT = 30_000;
    const many = (prefix: string): ManifestTables => {
      const builder = new ManifestBuilder('blake3', metadata);
      for (let i = 0; i < COUNT; i++) builder.link(0, Buffer.from(`${prefix}${i}`), builder.addInode(metadata));
      return builder.finish();
    };
    expect([...diffTables(many('a'), many('b'))]).toHaveLength(2 * COUNT);
    const spread = (each: boolean): ManifestTables => {
      const builder = new ManifestBuilder('blake3', metadata);
      let parent = 0;
      for (let i = 0; i < COUNT / 2; i++) {
        if (each || i === 0) {
          parent = builder.addInode(metadata);
          builder.link(0, Buffer.from(each ? `d${i}` : 'all'), parent);
        }
        builder.link(parent, Buffer.from(`f${i}`), builder.addInode({ ...metadata, mode: 0o100644, mtime: i }));
      }
      return builder.finish();
    };
    const kinds = [...diffTables(spread(false), spread(true))].map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'renamed')).toHaveLength(COUNT / 2);
    expect(kinds.filter((kind) => kind === 'added')).toHaveLength(COUNT / 2);
  });
});
