/** `cfs-info diff`. */
import { type Change, diffTables, type Entry } from '../../src/manifest/diff/diff.ts';
import type { ManifestTables } from '../../src/manifest/tables.ts';
import { EXIT, type ExitStatus, printError } from '../cli.ts';
import { type ColorWhen, painter } from '../color.ts';
import { LETTERS, lineOf } from './diff-lines.ts';
import { DiffSummary, textOfCounts } from './diff-summary.ts';
import { DiffTree } from './diff-tree.ts';
import { type InodeJson, jsonOfInode } from './inode.ts';
import { tryEach } from './operands.ts';
import type { Output } from './output.ts';
import { findPathInEither, type NamedTables } from './paths.ts';

export interface DiffOptions {
  /** Counts instead of the changes. */
  readonly stat: boolean;
  /** Changes in their directories. */
  readonly tree: boolean;
  /** Four fields per change, each ended by NUL. */
  readonly null: boolean;
  readonly json: boolean;
  readonly color: ColorWhen;
}

/**
 * Writes the differences between two images.
 * @param paths only entries at, below, or renamed from these; everything if there is none
 * @param onChange called for each change, before it is written: the reader of the output may end this process
 * @returns the status of the first path that neither image has, else whether there are differences
 * @throws CfsError (usage) for a path that neither image has, if it is the only one, or --json has no list for it
 */
export function diff(
  old: NamedTables,
  now: NamedTables,
  paths: readonly string[],
  options: DiffOptions,
  onChange: () => void,
  out: Output,
): ExitStatus {
  noteHashes(old, now);
  const selected: Uint8Array[] = [];
  const find = (path: string): void => void selected.push(findPathInEither(now, old, path));
  let status: ExitStatus = EXIT.ok;
  if (options.stat && options.json) paths.forEach(find);
  else status = tryEach(paths, options.json, out, find);
  if (paths.length > 0 && selected.length === 0) {
    if (options.json) out.jsonEnd();
    return status;
  }
  const summary = new DiffSummary(old.tables, now.tables);
  const tree = new DiffTree(old.tables, now.tables);
  const paint = painter(options.color);
  for (const change of diffTables(old.tables, now.tables)) {
    if (selected.length > 0 && !selected.some((path) => concerns(change, path))) continue;
    onChange();
    if (status === EXIT.ok) status = EXIT.found;
    if (options.stat) summary.add(change);
    else if (options.tree) tree.add(change);
    else if (options.json) out.jsonElement(jsonOf(change, old.tables, now.tables));
    else if (options.null) writeFields(change, out);
    else out.text(lineOf(change, paint));
  }
  if (options.tree) {
    if (options.json) tree.writeJson(out);
    else tree.write(paint, out);
  }
  if (options.stat) {
    const counts = summary.counts(selected);
    out.text(options.json ? `${JSON.stringify(counts)}\n` : textOfCounts(counts));
  } else if (options.json) out.jsonEnd();
  return status;
}

function noteHashes(old: NamedTables, now: NamedTables): void {
  const [a, b] = [old.tables.header.hash, now.tables.header.hash];
  if (a === b) return;
  const how = 'they are compared by the hashes of their 64 KiB blocks';
  printError('cfs-info', `${old.name} names contents by ${a} and ${now.name} by ${b}: ${how}`);
}

/** True if a change is at or below `path`, in either image, or of a directory above it that was renamed. */
function concerns(change: Change, path: Uint8Array): boolean {
  const ends = [oldOf(change), newOf(change)].filter((entry) => entry !== undefined);
  return ends.some((end) => isWithin(end.path, path) || (change.kind === 'renamed' && isWithin(path, end.path)));
}

const oldOf = (change: Change): Entry | undefined => (change.kind === 'added' ? undefined : change.old);
const newOf = (change: Change): Entry | undefined => (change.kind === 'removed' ? undefined : change.new);

const SLASH = 0x2f;

/** True if `path` is `above` or below it. */
function isWithin(path: Uint8Array, above: Uint8Array): boolean {
  if (above.length === 1) return true;
  if (path.length < above.length) return false;
  for (let i = 0; i < above.length; i++) if (path[i] !== above[i]) return false;
  return path.length === above.length || path[above.length] === SLASH;
}

const NUL = '\0';

/** Letter, aspects, path in the old image, path in the new one; fields that do not apply are empty. */
function writeFields(change: Change, out: Output): void {
  out.text(`${LETTERS[change.kind]}${NUL}${'what' in change ? change.what.join(',') : ''}${NUL}`);
  for (const entry of [oldOf(change), newOf(change)]) {
    if (entry !== undefined) out.bytes(entry.path);
    out.text(NUL);
  }
}

/** A change in --json. Keys without a value are omitted. */
export interface ChangeJson {
  readonly change: Change['kind'];
  readonly what: Extract<Change, { kind: 'changed' }>['what'] | undefined;
  readonly below: number | undefined;
  /** The inode in the old image, with its path there. */
  readonly old: InodeJson | undefined;
  readonly new: InodeJson | undefined;
}

function jsonOf(change: Change, old: ManifestTables, now: ManifestTables): ChangeJson {
  const before = oldOf(change);
  const after = newOf(change);
  return {
    change: change.kind,
    what: 'what' in change ? change.what : undefined,
    below: 'below' in change ? change.below : undefined,
    old: before === undefined ? undefined : jsonOfInode(old, before.row, before.path),
    new: after === undefined ? undefined : jsonOfInode(now, after.row, after.path),
  };
}
