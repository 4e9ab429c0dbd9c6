/**
 * The changes between two trees as docs/diff.md defines them, with maps of paths. Tests compare `diffTables` with it.
 */
import { compareBytes } from '../../../src/base/bytes.ts';
import { deviceOf, type Inode, linksInOrder, type Tree } from './model.ts';

/** A change as text: paths as latin1, so that each byte counts. */
export interface NaiveChange {
  readonly kind: 'added' | 'removed' | 'changed' | 'renamed';
  readonly old?: string;
  readonly new?: string;
  readonly what?: readonly string[];
  readonly below?: number;
}

/** Everything about an inode except its names, by aspect. */
interface Facts {
  readonly type: string;
  readonly content: string;
  readonly mode: string;
  readonly owner: string;
  readonly mtime: string;
  readonly xattrs: string;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

function factsOf(inode: Inode): Facts {
  const { attributes, body } = inode;
  const xattrs = attributes.xattrs.toSorted((a, b) => compareBytes(a[0], b[0]));
  const content = body.type === 'file' ? latin1(body.content) : body.type === 'symlink' ? latin1(body.target) : '';
  return {
    type: body.type,
    content: `${content} ${deviceOf(inode)}`,
    mode: `${attributes.mode}`,
    owner: `${attributes.uid}:${attributes.gid}`,
    mtime: `${attributes.mtime}.${attributes.mtimeNsec}`,
    xattrs: JSON.stringify(xattrs.map((pair) => pair.map(latin1))),
  };
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';
const isInside = (path: string, directory: string): boolean => path.startsWith(`${directory}/`);

class Names {
  /** Inode numbers by path, in path order. */
  readonly inodes: Map<string, number>;
  readonly #tree: Tree;

  constructor(tree: Tree) {
    this.#tree = tree;
    this.inodes = new Map(linksInOrder(tree).map(({ path, inode }) => [latin1(path), inode]));
  }

  facts(path: string): Facts {
    return factsOf(this.#tree.inodes[this.inodes.get(path) as number] as Inode);
  }

  children(path: string): string[] {
    return [...this.inodes.keys()].filter((other) => other !== '/' && parentOf(other) === path);
  }

  /** Equal for two entries if they and everything below them are the same. */
  identity(path: string): string {
    const children = this.children(path);
    return JSON.stringify([this.facts(path), children.map((child) => [nameOf(child), this.identity(child)])]);
  }

  /** All paths of the inode at `path`. */
  group(path: string): string[] {
    return [...this.inodes].filter(([, inode]) => inode === this.inodes.get(path)).map(([other]) => other);
  }
}

/** Paths that the other tree lacks, or has with another type. */
const only = (one: Names, other: Names): string[] => [...one.inodes.keys()].filter((path) => !isIn(other, path, one));

const isIn = (names: Names, path: string, other: Names): boolean =>
  names.inodes.has(path) && names.facts(path).type === other.facts(path).type;

/**
 * Rule 1 of renames.ts: the outermost of these entries that are the same with everything below; old path by new path.
 */
function sameEntries(old: Names, now: Names, oldPaths: string[], newPaths: string[]): Map<string, string> {
  const went = oldPaths.map((path) => ({ path, identity: old.identity(path) }));
  const came = newPaths.map((path) => ({ path, identity: now.identity(path) }));
  const renames = new Map<string, string>();
  for (const { path, identity } of came) {
    if ([...renames.keys()].some((directory) => isInside(path, directory))) continue;
    const theirs = went.filter((other) => other.identity === identity);
    const ours = came.filter((other) => other.identity === identity);
    const alone = theirs.length === 1 && ours.length === 1;
    const namesake = (other: { path: string }): boolean => alone || nameOf(other.path) === nameOf(path);
    const [first, second] = theirs.filter(namesake);
    if (first !== undefined && second === undefined && ours.filter(namesake).length === 1)
      renames.set(path, first.path);
  }
  return renames;
}

/** Rule 2: adds the directories that have most of their entries in common. */
function addDirectories(renames: Map<string, string>, old: Names, now: Names): void {
  const went = new Set(only(old, now));
  for (const path of only(now, old).reverse()) {
    if (renames.has(path)) continue;
    const entries = now.children(path);
    const origins = entries.flatMap((entry) => {
      const origin = renames.get(entry);
      return origin !== undefined && nameOf(origin) === nameOf(entry) ? [parentOf(origin)] : [];
    });
    const candidate = origins.find((origin) => {
      const votes = origins.filter((other) => other === origin).length;
      return votes * 2 > entries.length && votes * 2 > old.children(origin).length;
    });
    if (candidate !== undefined && went.has(candidate) && ![...renames.values()].includes(candidate)) {
      renames.set(path, candidate);
    }
  }
}

/** Rule 3: adds to `counterparts` the entries that moved with the directory `path`, and returns them. */
function addWithin(
  counterparts: Map<string, string>,
  retyped: (readonly [string, string])[],
  old: Names,
  now: Names,
  path: string,
  oldPath: string,
): readonly string[] {
  return now.children(path).flatMap((entry) => {
    const origin = `${oldPath}/${nameOf(entry)}`;
    if (!old.inodes.has(origin)) return [];
    const free = !counterparts.has(entry) && ![...counterparts.values()].includes(origin);
    if (!free && counterparts.get(entry) !== origin) return [];
    if (old.facts(origin).type !== now.facts(entry).type) {
      retyped.push([origin, entry]);
      return [];
    }
    counterparts.set(entry, origin);
    return [entry, ...addWithin(counterparts, retyped, old, now, entry, origin)];
  });
}

export function naiveDiff(oldTree: Tree, newTree: Tree): NaiveChange[] {
  const old = new Names(oldTree);
  const now = new Names(newTree);
  const renames = sameEntries(old, now, only(old, now), only(now, old));
  addDirectories(renames, old, now);
  const common = [...now.inodes.keys()].filter((path) => old.inodes.has(path)).map((path) => [path, path] as const);
  /** Old path by new path, for all entries that are in both trees. */
  const counterparts = new Map(common.filter(([path]) => isIn(old, path, now)));
  /** Old and new path of entries that may have changed their type: equal, or of one name in renamed directories. */
  const retyped = [...common];
  /** How many entries moved with each entry that has a line of its own. */
  const below = new Map<string, number>();
  const along = new Set<string>();
  const addAll = (pairs: ReadonlyMap<string, string>): void => {
    for (const [path, oldPath] of pairs) counterparts.set(path, oldPath);
    for (const path of now.inodes.keys()) {
      const oldPath = pairs.get(path);
      if (oldPath === undefined || along.has(path)) continue;
      const entries = addWithin(counterparts, retyped, old, now, path, oldPath);
      below.set(path, entries.length);
      for (const entry of entries) along.add(entry);
    }
  };
  addAll(renames);
  const found = new Set(counterparts.values());
  const leftOld = only(old, now).filter((path) => !found.has(path));
  const leftNew = only(now, old).filter((path) => !counterparts.has(path));
  addAll(sameEntries(old, now, leftOld, leftNew));
  const gone = new Set(counterparts.values());
  for (const [oldPath, path] of retyped) {
    if (gone.has(oldPath) || counterparts.has(path)) continue;
    counterparts.set(path, oldPath);
    gone.add(oldPath);
  }
  const whatOf = (oldPath: string, newPath: string): string[] => {
    const a = old.facts(oldPath);
    const b = now.facts(newPath);
    const what: string[] = (Object.keys(a) as (keyof Facts)[]).filter((key) => a[key] !== b[key]);
    const directory = a.type === 'directory' || b.type === 'directory';
    const names = now.group(newPath).map((path) => counterparts.get(path) ?? `${path} of the new tree only`);
    if (!directory && names.toSorted().join() !== old.group(oldPath).toSorted().join()) what.push('links');
    return what.filter((aspect) => aspect !== 'content' || a.type === b.type);
  };
  const changes: NaiveChange[] = [];
  for (const path of old.inodes.keys()) if (!gone.has(path)) changes.push({ kind: 'removed', old: path });
  for (const path of now.inodes.keys()) {
    const oldPath = counterparts.get(path);
    if (oldPath === undefined) {
      changes.push({ kind: 'added', new: path });
      continue;
    }
    const what = whatOf(oldPath, path);
    const own = below.get(path);
    if (own !== undefined) {
      changes.push({ kind: 'renamed', old: oldPath, new: path, what, below: own });
    } else if (what.length > 0) changes.push({ kind: 'changed', old: oldPath, new: path, what });
  }
  const key = ({ old: a, new: b }: NaiveChange): Buffer =>
    Buffer.from(((b ?? a) as string).replaceAll('/', '\0'), 'latin1');
  // of two unrelated entries with one path, a directory comes last, with everything below it
  const rank = ({ kind, old: path }: NaiveChange): number =>
    kind !== 'removed' ? 0 : old.facts(path as string).type === 'directory' ? 1 : -1;
  return changes.sort((a, b) => compareBytes(key(a), key(b)) || rank(a) - rank(b));
}
