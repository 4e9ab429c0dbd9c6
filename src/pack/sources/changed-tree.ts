/** The changes of a writable mount as a tree, by the names that they have now. Pure. */
import { latin1 } from '../../base/bytes.ts';
import type { ChangeRecord } from '../../mount-info/change-records.ts';

/** Changes in one directory, and below. */
export interface ChangedDirectory {
  /** By names in latin1. */
  readonly names: ReadonlyMap<string, ChangedName>;
}

export interface ChangedName {
  readonly bytes: Uint8Array;
  /** The file that is there now, if it is not that of the image. */
  readonly record: ChangeRecord | undefined;
  /** The image's name is gone. */
  readonly isGone: boolean;
  readonly below: ChangedDirectory | undefined;
}

interface MutableDirectory {
  readonly names: Map<string, MutableName>;
}

interface MutableName {
  readonly bytes: Uint8Array;
  record: ChangeRecord | undefined;
  isGone: boolean;
  below: MutableDirectory | undefined;
}

const SLASH = 0x2f;

/** @returns the root's own record, if it has one, and the changes of its names */
export function changedTree(records: readonly ChangeRecord[]): {
  readonly root: ChangeRecord | undefined;
  readonly tree: ChangedDirectory;
} {
  const tree: MutableDirectory = { names: new Map() };
  let root: ChangeRecord | undefined;
  for (const record of records) {
    const name = nameAt(tree, record.path);
    if (name === undefined) root = record;
    else if (record.kind === 'removed') name.isGone = true;
    else name.record = record;
  }
  return { root, tree };
}

/** Undefined for the root. */
function nameAt(tree: MutableDirectory, path: Uint8Array): MutableName | undefined {
  let directory = tree;
  let name: MutableName | undefined;
  for (let from = 1; from < path.length; ) {
    const slash = path.indexOf(SLASH, from);
    const bytes = path.subarray(from, slash < 0 ? path.length : slash);
    from = slash < 0 ? path.length : slash + 1;
    if (name !== undefined) {
      name.below ??= { names: new Map() };
      directory = name.below;
    }
    const key = latin1(bytes);
    name = directory.names.get(key);
    if (name === undefined) {
      name = { bytes, record: undefined, isGone: false, below: undefined };
      directory.names.set(key, name);
    }
  }
  return name;
}
