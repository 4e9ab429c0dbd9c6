import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type ComparedField,
  type CompareOptions,
  compareTrees,
  type Difference,
} from '../../../tools/compare/compare.ts';
import { makeDevice, mknod, removeXattr, setTime, setXattr } from '../../support/libc.ts';
import { generateTree, removeTree } from '../../support/tree-generator.ts';

const root = process.getuid?.() === 0;
let base = '';
let counter = 0;

beforeAll(() => {
  base = mkdtempSync(`${tmpdir()}/cfs-compare-`);
});
afterAll(() => removeTree(base));

/** A small tree with an inode of each type, with the same bytes and times at each call. */
function smallTree(): string {
  const tree = `${base}/small-${counter++}`;
  mkdirSync(`${tree}/directory/empty`, { recursive: true });
  writeFileSync(`${tree}/directory/file`, 'some content\n');
  writeFileSync(`${tree}/other`, 'other content\n');
  writeFileSync(`${tree}/linked`, 'linked content\n');
  linkSync(`${tree}/linked`, `${tree}/directory/link`);
  symlinkSync('directory/file', `${tree}/symlink`);
  mknod(`${tree}/fifo`, 0o010600);
  if (root) mknod(`${tree}/device`, 0o020600, makeDevice(1, 3));
  setXattr(`${tree}/directory/file`, 'user.comment', Buffer.from('hello'));
  settleTimes(tree);
  return tree;
}

/** Sets the same time on every name again, after a change of something else. */
function settleTimes(tree: string): void {
  const paths = execFileSync('find', [tree, '-depth', '-print0']).toString().split('\0');
  for (const path of paths.filter((p) => p !== '')) setTime(path, 1_700_000_000, 123_456_789);
}

/** Compares two small trees after `change` was applied to the right one. */
function compareChanged(
  change: (tree: string) => void,
  options?: CompareOptions,
  settle = true,
): readonly Difference[] {
  const right = smallTree();
  change(right);
  if (settle) settleTimes(right);
  const { differences, differenceCount } = compareTrees(smallTree(), right, options);
  expect(differenceCount).toBe(differences.length);
  return differences;
}

const short = (differences: readonly Difference[]): string[] => differences.map((d) => `${d.field} ${d.path}`);

describe('compareTrees() finds nothing', () => {
  it('if two trees are the same', () => {
    const result = compareTrees(smallTree(), smallTree());
    expect(result.differences).toEqual([]);
    expect(result.entries).toBe(root ? 10 : 9);
    expect(result.files).toBe(3);
    expect(result.bytes).toBe('some content\nother content\nlinked content\n'.length);
  });

  it('if links of a file are outside of the left tree', () => {
    const left = smallTree();
    linkSync(`${left}/other`, `${base}/outside-${counter++}`);
    expect(compareTrees(left, smallTree()).differences).toEqual([]);
  });

  it('in a path longer than PATH_MAX, a directory of 3,000 entries and all oddities, made twice', () => {
    const options = { seed: 11, files: 60, directories: 8, oddities: root, hugeDirectory: 3000, deep: 2500 };
    const left = generateTree(`${base}/left`, options);
    generateTree(`${base}/right`, options);
    if (root) expect(left.skipped).toEqual([]);
    const result = compareTrees(`${base}/left`, `${base}/right`);
    expect(result.differences).toEqual([]);
    expect(result.entries).toBeGreaterThan(root ? 5800 : 5500);
    if (root) {
      // the path of the file at the bottom is too long for any call
      execFileSync('find', [`${base}/right/deep`, '-name', 'bottom', '-execdir', 'sh', '-c', 'echo x >> bottom', ';']);
      const [size] = compareTrees(`${base}/left`, `${base}/right`, { ignore: new Set(['mtime']) }).differences;
      expect(size).toMatchObject({ field: 'size', left: '11', right: '13' });
      expect(size?.path.length).toBeGreaterThan(5000);
    }
    removeTree(`${base}/left`);
    removeTree(`${base}/right`);
    expect(existsSync(`${base}/right`)).toBe(false);
  });
});

describe('compareTrees() finds', () => {
  const changes: readonly (readonly [what: string, found: string, change: (tree: string) => void])[] = [
    ['another mode', 'mode /other', (t) => chmodSync(`${t}/other`, 0o755)],
    ['a setuid bit', 'mode /other', (t) => chmodSync(`${t}/other`, 0o4644)],
    ['another mode of the root', 'mode /', (t) => chmodSync(t, 0o700)],
    ['another target', 'target /symlink', (t) => replace(`${t}/symlink`, (p) => symlinkSync('directory/fil_', p))],
    ['an attribute too many', 'xattrs /other', (t) => setXattr(`${t}/other`, 'user.x', Buffer.alloc(0))],
    ['an attribute of a directory', 'xattrs /directory', (t) => setXattr(`${t}/directory`, 'user.x', Buffer.from('1'))],
    ['an attribute too few', 'xattrs /directory/file', (t) => removeXattr(`${t}/directory/file`, 'user.comment')],
    [
      "another attribute's value",
      'xattrs /directory/file',
      (t) => setXattr(`${t}/directory/file`, 'user.comment', Buffer.from('hellp')),
    ],
    ['another byte', 'content /other', (t) => writeFileSync(`${t}/other`, 'other cOntent\n')],
    ['a byte too many', 'size /other', (t) => appendFileSync(`${t}/other`, 'x')],
    ['another type', 'type /fifo', (t) => replace(`${t}/fifo`, (p) => mknod(p, 0o140600))],
    ['a name too many', 'names /more', (t) => writeFileSync(`${t}/more`, '')],
    ['a name too few', 'names /other', (t) => unlinkSync(`${t}/other`)],
    ['a name below another one', 'names /directory/more', (t) => writeFileSync(`${t}/directory/more`, '')],
  ];
  for (const [what, found, change] of changes) {
    it(what, () => expect(short(compareChanged(change))).toEqual([found]));
  }

  it.runIf(root)('another owner, group and device number', () => {
    expect(short(compareChanged((t) => chownSync(`${t}/other`, 5, 0)))).toEqual(['uid /other']);
    expect(short(compareChanged((t) => chownSync(`${t}/other`, 0, 5)))).toEqual(['gid /other']);
    const change = (t: string): void => replace(`${t}/device`, (p) => mknod(p, 0o020600, makeDevice(1, 5)));
    expect(compareChanged(change)).toMatchObject([{ field: 'rdev', left: '0x103', right: '0x105' }]);
  });

  it('a nanosecond and a second', () => {
    const nanosecond = (t: string): void => setTime(`${t}/symlink`, 1_700_000_000, 123_456_788);
    expect(short(compareChanged(nanosecond, {}, false))).toEqual(['mtimeNsec /symlink']);
    const second = (t: string): void => setTime(`${t}/directory/empty`, 1_700_000_001, 123_456_789);
    expect(short(compareChanged(second, {}, false))).toEqual(['mtime /directory/empty']);
    const before = (t: string): void => setTime(`${t}/other`, -1, 123_456_789);
    expect(compareChanged(before, {}, false)).toMatchObject([{ field: 'mtime', right: '-1 s + 123456789 ns' }]);
  });

  it('two names that should be one file', () => {
    const change = (t: string): void => replace(`${t}/linked`, (p) => writeFileSync(p, 'linked content\n'));
    const found = compareChanged(change);
    expect(short(found)).toEqual(['inode /directory/link', 'nlink /linked']);
    expect(found[0]).toMatchObject({ left: 'the same inode as /linked', right: 'another inode' });
  });

  it('one file that should be two', () => {
    const left = smallTree();
    writeFileSync(`${left}/twin`, 'other content\n');
    settleTimes(left);
    const right = smallTree();
    linkSync(`${right}/other`, `${right}/twin`);
    settleTimes(right);
    expect(short(compareTrees(left, right).differences)).toEqual(['inode /twin', 'nlink /other', 'nlink /twin']);
  });

  it('a link that the right side has outside of its tree', () => {
    const right = smallTree();
    linkSync(`${right}/other`, `${base}/outside-${counter++}`);
    expect(short(compareTrees(smallTree(), right).differences)).toEqual(['nlink /other']);
  });

  it('another byte after the first chunk, and its place', () => {
    const [left, right] = [smallTree(), smallTree()];
    for (const tree of [left, right]) truncateSync(`${tree}/other`, 5_000_000);
    const bytes = readFileSync(`${right}/other`);
    bytes[4_321_000] = 1;
    writeFileSync(`${right}/other`, bytes);
    for (const tree of [left, right]) settleTimes(tree);
    const { differences } = compareTrees(left, right);
    const found = { path: '/other', field: 'content', left: '0x00 at byte 4321000', right: '0x01 at byte 4321000' };
    expect(differences).toEqual([found]);
  });

  it('more than a hundred differences, of which it keeps a hundred', () => {
    const [left, right] = [smallTree(), smallTree()];
    for (let i = 0; i < 150; i++) writeFileSync(`${right}/more-${i}`, '');
    settleTimes(right);
    const result = compareTrees(left, right);
    expect(result.differenceCount).toBe(150);
    expect(result.differences).toHaveLength(100);
  });

  it('a directory in place of a file without entering it, and extra subdirectories', () => {
    const change = (t: string): void => replace(`${t}/other`, (p) => mkdirSync(`${p}/inside`, { recursive: true }));
    expect(short(compareChanged(change, { ignore: new Set(['mode']) }))).toEqual(['type /other']);
    const more = (t: string): void => void mkdirSync(`${t}/directory/empty/more`);
    expect(short(compareChanged(more))).toEqual(['names /directory/empty/more']);
  });

  it('a renamed directory as two names, and not its links as wrong', () => {
    const change = (t: string): void => renameSync(`${t}/directory`, `${t}/Directory`);
    expect(short(compareChanged(change))).toEqual(['names /Directory', 'names /directory']);
  });
});

describe('compareTrees() with options', () => {
  it('leaves out the fields that are ignored', () => {
    const change = (t: string): void => {
      chmodSync(`${t}/other`, 0o600);
      setXattr(`${t}/other`, 'user.x', Buffer.alloc(0));
      writeFileSync(`${t}/other`, 'other cOntent\n');
      writeFileSync(`${t}/more`, '');
      replace(`${t}/linked`, (p) => writeFileSync(p, 'linked content\n'));
    };
    const ignore: ComparedField[] = ['mode', 'xattrs', 'content', 'names', 'inode', 'nlink'];
    expect(compareChanged(change, { ignore: new Set(ignore) })).toEqual([]);
    for (const field of ignore) {
      const found = compareChanged(change, { ignore: new Set(ignore.filter((f) => f !== field)) });
      expect(new Set(found.map((d) => d.field))).toEqual(new Set([field]));
    }
  });

  it('compares milliseconds if nanoseconds are ignored, and no time if times are', () => {
    const nanosecond = (t: string): void => setTime(`${t}/other`, 1_700_000_000, 123_000_001);
    const millisecond = (t: string): void => setTime(`${t}/other`, 1_700_000_000, 122_999_999);
    const ignore = new Set<ComparedField>(['mtimeNsec']);
    expect(compareChanged(nanosecond, { ignore }, false)).toEqual([]);
    expect(short(compareChanged(millisecond, { ignore }, false))).toEqual(['mtime /other']);
    expect(compareChanged(millisecond, { ignore: new Set(['mtime']) }, false)).toEqual([]);
  });

  it('passes over names that are not UTF-8, and counts them', () => {
    const left = smallTree();
    const name = (text: string): Buffer => Buffer.from(`${left}/${text}`, 'latin1');
    writeFileSync(name('file-\xff'), '');
    linkSync(`${left}/other`, name('link-\xff'));
    const right = smallTree();
    linkSync(`${right}/other`, `${base}/outside-${counter++}`);
    for (const tree of [left, right]) setTime(tree, 1, 1);
    expect(compareTrees(left, right).differenceCount).toBe(2);
    expect(compareTrees(left, right, { skipNonUtf8: true })).toMatchObject({ differences: [], skipped: 2 });
    mkdirSync(name('directory-\xff'));
    setTime(left, 1, 1);
    // a directory that is skipped still counts as a link of the directory above it
    expect(short(compareTrees(left, right, { skipNonUtf8: true }).differences)).toEqual(['nlink /']);
  });

  it('compares bytes of names, not text', () => {
    const [left, right] = [smallTree(), smallTree()];
    writeFileSync(Buffer.from(`${left}/\xfe`, 'latin1'), '');
    writeFileSync(Buffer.from(`${right}/\xff`, 'latin1'), '');
    for (const tree of [left, right]) setTime(tree, 1, 1);
    expect(compareTrees(left, right).differences).toEqual([
      { path: '/\\xfe', field: 'names', left: 'present', right: 'missing' },
      { path: '/\\xff', field: 'names', left: 'missing', right: 'present' },
    ]);
  });

  it('throws if a root does not exist', () => {
    expect(() => compareTrees(`${base}/nowhere`, base)).toThrow('ENOENT');
    expect(() => compareTrees(base, `${base}/nowhere`)).toThrow('ENOENT');
  });
});

describe('generateTree()', () => {
  it('makes another tree from another seed', () => {
    for (const seed of [1, 2])
      generateTree(`${base}/seed-${seed}`, { seed, files: 20, directories: 2, sparse: 1 << 22 });
    expect(compareTrees(`${base}/seed-1`, `${base}/seed-2`).differenceCount).toBeGreaterThan(20);
    const { size, blocks } = statSync(`${base}/seed-1/sparse`);
    expect(size).toBe(1 << 22);
    expect(blocks * 512).toBeLessThan(1 << 17);
  });
});

function replace(path: string, make: (path: string) => void): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) rmdirSync(path);
  else rmSync(path);
  make(path);
}
