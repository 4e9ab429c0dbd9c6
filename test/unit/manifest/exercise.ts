/** Uses tables in every way that a mount may: for tables decoded from hostile bytes. */
import { expect } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import { S_IFLNK, S_IFMT, S_IFREG } from '../../../src/base/stat-bits.ts';
import { decodeManifest } from '../../../src/manifest/decode.ts';
import {
  blockHashIndex,
  directoryOfDirent,
  direntName,
  inlineContent,
  isDirectory,
  linkTarget,
  lookupName,
  lookupPath,
  objectDigest,
  parentOfDirectory,
  pathOfRow,
  rowOfId,
  walkTree,
  xattrsOf,
} from '../../../src/manifest/lookup.ts';
import {
  attachTables,
  inodeCount,
  type ManifestTables,
  NONE,
  objectCount,
  PAYLOAD_INLINE,
  shareTables,
  u64,
} from '../../../src/manifest/tables.ts';

/** Throws instead of calling `expect`, which is too slow for a hundred thousand calls. */
function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(`the tables were accepted, but ${what}`);
}

/** Every lookup on every row. Throws if a lookup finds nothing, or if two lookups disagree. */
export function exercise(tables: ManifestTables): void {
  const rows = inodeCount(tables);
  let links = 0;
  const seen = new Uint8Array(rows);
  walkTree(tables, ({ row, path }) => {
    must(++links <= tables.dirents.inode.length + 1, 'the walk visits more links than there are');
    must(row < rows, `the walk visits row ${row} of ${rows}`);
    must(lookupPath(tables, path) === row, `the path of row ${row} leads elsewhere`);
    seen[row] = 1;
  });
  must(links === tables.dirents.inode.length + 1, 'the walk misses links');
  must(!seen.includes(0), 'the walk misses inodes');
  for (let row = 0; row < rows; row++) exerciseRow(tables, row);
  tables.dirents.inode.forEach((row, dirent) => {
    const parent = directoryOfDirent(tables, dirent);
    must(lookupName(tables, parent, direntName(tables, dirent)) === row, `dirent ${dirent} is not found`);
  });
  const index = blockHashIndex(tables);
  must(index[objectCount(tables)] === tables.objects.blockHashes.length / 32, 'the block hashes do not add up');
  must(inodeCount(attachTables(shareTables(tables))) === rows, 'shared tables have other rows');
}

function exerciseRow(tables: ManifestTables, row: number): void {
  const size = u64(tables.inodes.size, row);
  must(Number.isSafeInteger(size), `row ${row} has the size ${size}`);
  must(rowOfId(tables, u64(tables.inodes.id, row)) === row, `row ${row} is not found by its id`);
  must(lookupPath(tables, pathOfRow(tables, row)) === row, `row ${row} has a path that leads elsewhere`);
  for (const [name] of xattrsOf(tables, row)) must(name.length > 0, `row ${row} has an attribute without a name`);
  if (isDirectory(tables, row))
    must(isDirectory(tables, parentOfDirectory(tables, row)), `row ${row} lies in no directory`);
  const type = (tables.inodes.mode[row] as number) & S_IFMT;
  if (type === S_IFLNK) must(linkTarget(tables, row).length === size, `row ${row} has another target`);
  const payload = tables.inodes.payload[row] as number;
  if (type !== S_IFREG || payload === NONE) return;
  if (payload >= PAYLOAD_INLINE) {
    must(inlineContent(tables, payload - PAYLOAD_INLINE).length === size, `row ${row} has another inline content`);
  } else {
    must(objectDigest(tables, payload).length === 32, `row ${row} has no digest`);
    must(u64(tables.objects.size, payload) === size, `row ${row} has another size than its object`);
  }
}

/** True if the bytes were accepted, and passed `exercise`; false if they were refused as they should be. */
export function refusedOrServes(bytes: Uint8Array): boolean {
  let tables: ManifestTables;
  try {
    tables = decodeManifest(bytes);
  } catch (error) {
    if (error instanceof CfsError && error.kind === 'image') return false;
    throw error;
  }
  exercise(tables);
  return true;
}

/** The message with which the bytes are refused. Fails if they are accepted, or refused for another reason. */
export function refusal(bytes: Uint8Array): string {
  try {
    decodeManifest(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    expect((error as CfsError).kind).toBe('image');
    expect((error as CfsError).message).toMatch(/^malformed manifest: /);
    return (error as CfsError).message;
  }
  throw new Error('the image was accepted');
}
