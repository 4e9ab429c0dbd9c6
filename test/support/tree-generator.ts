/** Makes directory trees for tests: the same options make the same tree. */
import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, constants, lstatSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTime } from './libc.ts';
import { Random } from './random.ts';
import { writeOddities } from './tree-oddities.ts';
import { TreeWriter } from './tree-writer.ts';

export interface TreeOptions {
  readonly seed: number;
  /** Regular files of random sizes, mostly small, some of equal content; in `tree/`. 0 by default. */
  readonly files?: number;
  /** Directories for them to lie in. 0 by default: all in one. */
  readonly directories?: number;
  /** Every file type, odd names, modes, owners, times, attributes, sizes, links; in `odd/`. */
  readonly oddities?: boolean;
  /** Entries of the directory `huge/`. */
  readonly hugeDirectory?: number;
  /** Levels below `deep/`. From 2,000 its path is longer than PATH_MAX. */
  readonly deep?: number;
  /** Bytes of the file `sparse`, which has data at three places. */
  readonly sparse?: number;
}

export interface GeneratedTree {
  readonly root: string;
  /** The omissions, because this user or file system does not allow them. Empty for root on ext4. */
  readonly skipped: readonly string[];
}

/** Makes the tree in the directory `root`, which must be empty or not exist. */
export function generateTree(root: string, options: TreeOptions): GeneratedTree {
  const tree = new TreeWriter(root, new Random(options.seed));
  if (options.files !== undefined || options.directories !== undefined) {
    writeRandomTree(tree, options.files ?? 0, options.directories ?? 0);
  }
  if (options.oddities === true) writeOddities(tree);
  if (options.hugeDirectory !== undefined) writeHugeDirectory(tree, options.hugeDirectory);
  if (options.deep !== undefined) writeDeepPath(tree, options.deep);
  if (options.sparse !== undefined) writeSparseFile(tree, options.sparse);
  tree.finish();
  return { root, skipped: tree.skipped };
}

/** Removes a tree of any depth and with any modes. */
export function removeTree(root: string): void {
  if (lstatSync(root, { throwIfNoEntry: false }) === undefined) return;
  // only root may remove the entries of a directory of mode 0
  if (process.getuid?.() !== 0) execFileSync('chmod', ['-R', 'u+rwx', '--', root]);
  execFileSync('rm', ['-rf', '--', root]);
}

/** Sizes as in a root file system: half below 1 KiB, one in fifty up to 400 KiB. */
function randomSize(random: Random): number {
  const kind = random.integer(0, 49);
  if (kind < 3) return 0;
  if (kind < 25) return random.integer(1, 1024);
  if (kind < 49) return random.integer(1024, 20_000);
  return random.integer(20_000, 400_000);
}

function writeRandomTree(tree: TreeWriter, files: number, directories: number): void {
  const { random } = tree;
  tree.directory('tree');
  const paths = ['tree'];
  for (let i = 0; i < directories; i++) {
    const path = `${random.pick(paths)}/d${i}`;
    tree.directory(path, { mode: random.pick([0o755, 0o700, 0o2775, 0o1777]) });
    paths.push(path);
  }
  const contents: Buffer[] = [];
  const names: string[] = [];
  for (let i = 0; i < files; i++) {
    const path = `${random.pick(paths)}/f${i}`;
    const kind = random.integer(0, 29);
    if (kind === 0 && names.length > 0) tree.link(path, random.pick(names));
    else if (kind === 1) tree.symlink(path, random.pick(names) ?? 'nothing');
    else {
      const content = kind < 5 && contents.length > 0 ? random.pick(contents) : random.bytes(randomSize(random));
      if (contents.length < 100) contents.push(content);
      tree.file(path, content, { mode: random.pick([0o644, 0o600, 0o755, 0o4755]) });
      names.push(path);
    }
  }
}

function writeHugeDirectory(tree: TreeWriter, entries: number): void {
  tree.directory('huge');
  for (let i = 0; i < entries; i++) {
    // most are empty: the directory is what is large
    const content = i % 100 === 0 ? `entry ${i % 7}\n` : '';
    tree.file(`huge/entry-${((i * 7919) % entries).toString().padStart(7, '0')}-${i}`, Buffer.from(content));
  }
}

const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;

/** A path that no single system call accepts: each directory is made relative to the open one above it. */
function writeDeepPath(tree: TreeWriter, levels: number): void {
  tree.directory('deep');
  let fd = openSync(tree.absolute('deep'), OPEN_DIRECTORY);
  for (let level = 1; level <= levels; level++) {
    const here = `/proc/self/fd/${fd}`;
    const below = `${here}/l${level % 10}`;
    mkdirSync(below);
    chmodSync(below, 0o755); // with any umask
    if (level % 1000 === 0) writeDated(tree, `${here}/file`, `at level ${level}\n`);
    const next = openSync(below, OPEN_DIRECTORY);
    // the directory above is complete now; of `deep` itself the writer sets the time
    if (level > 1) setTime(`${here}/.`, tree.random.integer(0, 2_000_000_000), level);
    closeSync(fd);
    fd = next;
  }
  const bottom = `/proc/self/fd/${fd}`;
  writeDated(tree, `${bottom}/bottom`, 'the bottom\n');
  symlinkSync('bottom', `${bottom}/symlink`);
  setTime(`${bottom}/symlink`, tree.random.integer(0, 2_000_000_000), 1);
  setTime(`${bottom}/.`, tree.random.integer(0, 2_000_000_000), 2);
  closeSync(fd);
}

function writeDated(tree: TreeWriter, path: string, content: string): void {
  writeFileSync(path, content);
  chmodSync(path, 0o644);
  setTime(path, tree.random.integer(0, 2_000_000_000), 3);
}

function writeSparseFile(tree: TreeWriter, size: number): void {
  const middle = Math.floor(size / 3);
  const islands: [number, Buffer][] = [];
  for (const offset of [0, middle, size - 1000]) {
    if (offset >= 0 && offset + 1000 <= size) islands.push([offset, tree.random.bytes(1000)]);
  }
  tree.sparseFile('sparse', size, islands);
}
