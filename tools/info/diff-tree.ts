/** `cfs-info diff --tree`: changes in their directories, with the bytes that each of these has gained and lost. */
import { printable } from '../../src/base/bytes.ts';
import { jsonText } from '../../src/base/json-text.ts';
import { S_IFREG } from '../../src/base/stat-bits.ts';
import type { Change, Entry } from '../../src/manifest/diff/diff.ts';
import { isDirectory } from '../../src/manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../src/manifest/tables.ts';
import type { Paint } from '../color.ts';
import { formatBytes } from '../format.ts';
import { LETTER_COLORS, LETTERS, notesOf } from './diff-lines.ts';
import { typeOf } from './inode.ts';
import type { Output } from './output.ts';

type Kind = Change['kind'];

/** A name with a change, or with one below it. */
interface Node {
  /** By their names, bytes as latin1 text. */
  readonly children: Map<string, Node>;
  /** Several if the name was given to another file. */
  readonly changes: { readonly kind: Kind; readonly notes: string }[];
  isDirectory: boolean;
  /** Of the changes of this name; for the root and other directories all below are added later. */
  gained: number;
  lost: number;
}

const newNode = (): Node => ({ children: new Map(), changes: [], isDirectory: false, gained: 0, lost: 0 });

/** The object of one directory in `--tree --json`. */
export interface DiffDirectoryJson extends Readonly<Record<Kind, number>> {
  readonly path: string;
  readonly pathBase64: string | undefined;
  /** Bytes of files at and below it that were added, or have another content. */
  readonly gained: number;
  /** Bytes of files that were removed, or had another content. */
  readonly lost: number;
}

export class DiffTree {
  readonly #old: ManifestTables;
  readonly #new: ManifestTables;
  readonly #root = newNode();
  #isEmpty = true;

  constructor(old: ManifestTables, now: ManifestTables) {
    this.#old = old;
    this.#new = now;
    this.#root.isDirectory = true;
  }

  add(change: Change): void {
    this.#isEmpty = false;
    const place = change.kind === 'removed' ? change.old : change.new;
    const node = this.#nodeOf(place.path);
    node.changes.push({ kind: change.kind, notes: notesOf(change) });
    node.isDirectory ||= isDirectory(change.kind === 'removed' ? this.#old : this.#new, place.row);
    const isOther =
      change.kind === 'changed' && change.what.some((aspect) => aspect === 'content' || aspect === 'type');
    if (change.kind === 'added' || isOther) node.gained += sizeOf(this.#new, change.new);
    if (change.kind === 'removed' || isOther) node.lost += sizeOf(this.#old, change.old);
  }

  #nodeOf(path: Uint8Array): Node {
    let node = this.#root;
    for (const name of Buffer.from(path).toString('latin1').split('/')) {
      if (name === '') continue;
      node.isDirectory = true;
      let child = node.children.get(name);
      if (child === undefined) {
        child = newNode();
        node.children.set(name, child);
      }
      node = child;
    }
    return node;
  }

  /** Lines for people; none without changes. */
  write(paint: Paint, out: Output): void {
    if (this.#isEmpty) return;
    sumUp(this.#root);
    out.text(`${lineOf(this.#root, '/', paint)}\n`);
    writeBelow(this.#root, '', paint, out);
  }

  /** An element for each directory that was changed, or in which something was, the outer ones first. */
  writeJson(out: Output): void {
    if (this.#isEmpty) return;
    sumUp(this.#root);
    const visit = (node: Node, path: string): void => {
      const { text, base64 } = jsonText(Buffer.from(path || '/', 'latin1'));
      const { gained, lost } = node;
      out.jsonElement({ path: text, pathBase64: base64, gained, lost, ...countsOf(node) } satisfies DiffDirectoryJson);
      for (const [name, child] of sorted(node)) if (child.isDirectory) visit(child, `${path}/${name}`);
    };
    visit(this.#root, '');
  }
}

/** The number of changes of each kind, at and below a name. */
function countsOf(node: Node): Record<Kind, number> {
  const counts = { added: 0, removed: 0, changed: 0, renamed: 0 };
  const stack = [node];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    for (const { kind } of top.changes) counts[kind]++;
    stack.push(...top.children.values());
  }
  return counts;
}

const sizeOf = (tables: ManifestTables, { row }: Entry): number =>
  typeOf(tables, row) === S_IFREG ? u64(tables.inodes.size, row) : 0;

/** In the order of the bytes of their names. */
const sorted = ({ children }: Node): [string, Node][] => [...children].sort(([a], [b]) => (a < b ? -1 : 1));

/** Adds to each directory the bytes of all below it. A path has at most 2,048 names: the stack is deep enough. */
function sumUp(node: Node): void {
  for (const child of node.children.values()) {
    sumUp(child);
    node.gained += child.gained;
    node.lost += child.lost;
  }
}

function writeBelow(node: Node, indent: string, paint: Paint, out: Output): void {
  const entries = sorted(node);
  for (const [i, [first, outer]] of entries.entries()) {
    const isLast = i === entries.length - 1;
    // directories without a change of their own, and with one entry, share a line with that
    let [name, child] = [first, outer];
    while (child.changes.length === 0 && child.children.size === 1) {
      const [[inner, next]] = child.children as unknown as [[string, Node]];
      [name, child] = [`${name}/${inner}`, next];
    }
    out.text(`${indent}${isLast ? '└── ' : '├── '}${lineOf(child, name, paint)}\n`);
    writeBelow(child, `${indent}${isLast ? '    ' : '│   '}`, paint, out);
  }
}

/** "M name/  notes  +1.2 kB  -300 B" */
function lineOf({ changes, isDirectory, gained, lost }: Node, name: string, paint: Paint): string {
  const letters = changes.map(({ kind }) => paint(LETTER_COLORS[kind], LETTERS[kind]));
  const shown = `${printable(Buffer.from(name, 'latin1'))}${isDirectory && name !== '/' ? '/' : ''}`;
  const [only] = changes;
  const color = changes.length === 1 && (only?.kind === 'added' || only?.kind === 'removed') ? only.kind : undefined;
  return [
    [...letters, color === undefined ? shown : paint(LETTER_COLORS[color], shown)].join(' '),
    ...changes.flatMap(({ notes }) => (notes === '' ? [] : [notes])),
    ...(gained > 0 ? [paint('green', `+${formatBytes(gained)}`)] : []),
    ...(lost > 0 ? [paint('red', `-${formatBytes(lost)}`)] : []),
  ].join('  ');
}
