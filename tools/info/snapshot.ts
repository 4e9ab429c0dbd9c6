/** `cfs-info snapshot`: a consistent copy of the directories of a writable mount. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exactUtf8 } from '../../src/base/bytes.ts';
import { ENOENT, errnoOf } from '../../src/base/errno.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { pathBytes } from '../../src/base/path-text.ts';
import { askMountAt } from '../../src/mount-info/ask-mount-at.ts';
import type { SourceKind, SourceRecord } from '../../src/mount-info/source-record.ts';
import { requireUnchanged, settledChanges } from '../../src/pack/sources/mount-state.ts';
import type { Output } from './output.ts';

const MOST_TRIES = 5;

/**
 * Copies the upper layer of a mount, so that it can be mounted with the copy: `DIR/upper`, and `DIR/work` with the
 * index and the claims of checkpoints. Nothing is frozen: if files change meanwhile, it is tried again.
 * @throws CfsError: `usage` if it is no writable mount, or `directory` has entries; `system` if a copy fails; `source`
 *   with the paths if files change in every try
 */
export function snapshot(mount: string, directory: string, json: boolean, out: Output): void {
  const { sources } = askMountAt(mount);
  const upper = placeOf(sources, 'upperdir', mount);
  const work = placeOf(sources, 'workdir', mount);
  const isNew = makeDirectory(directory);
  const root = openSync(pathBytes(mount), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const tries = copyUntilConsistent(root, mount, { upper, work, directory });
    const result = { upper: join(directory, 'upper'), work: join(directory, 'work'), tries };
    out.text(json ? `${JSON.stringify(result)}\n` : `upperdir=${result.upper},workdir=${result.work}\n`);
  } catch (error) {
    removeCopies(directory);
    if (isNew) rmdirSync(directory);
    throw error;
  } finally {
    closeSync(root);
  }
}

interface Places {
  readonly upper: string;
  readonly work: string;
  readonly directory: string;
}

/** @returns the number of tries */
function copyUntilConsistent(root: number, mount: string, places: Places): number {
  for (let tries = 1; ; tries++) {
    const asked = settledChanges(root);
    if (asked === undefined) throw new CfsError('system', `Cannot copy ${mount}: it does not list its changes`);
    const failed = copyAll(places);
    try {
      // first: a file that vanished is no failure of cp
      requireUnchanged({ root, path: pathBytes(mount), ...asked }, 'copy', 'copied');
      if (failed === '') return tries;
    } catch (error) {
      if (tries === MOST_TRIES || !(error instanceof CfsError)) throw error;
      removeCopies(places.directory);
      continue;
    }
    throw new CfsError('system', `Cannot copy to ${places.directory}: ${failed}`);
  }
}

function placeOf(sources: readonly SourceRecord[], kind: SourceKind, mount: string): string {
  const source = sources.find((one) => one.kind === kind);
  if (source === undefined) {
    throw new CfsError('usage', `The mount at ${mount} has no upper layer that could be copied`);
  }
  const path = source.path && exactUtf8(source.path);
  if (path === undefined) throw new CfsError('system', `Cannot copy ${mount}: its ${kind} has no path here`);
  return path;
}

/** @returns whether it was made */
function makeDirectory(directory: string): boolean {
  try {
    if (readdirSync(directory).length === 0) return false;
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw new CfsError('system', `Cannot use ${directory}: ${reasonOf(error)}`);
    mkdirSync(directory, 0o700);
    return true;
  }
  throw new CfsError('usage', `Cannot copy to ${directory}: it has entries`);
}

function removeCopies(directory: string): void {
  for (const name of ['upper', 'work', 'index', 'claims'])
    rmSync(join(directory, name), { recursive: true, force: true });
}

/** One cp(1) for all: hard links between the upper directory and the index stay. @returns its errors, '' for none */
function copyAll({ upper, work, directory }: Places): string {
  const links = mkdtempSync(join(tmpdir(), 'cfs-snapshot-'));
  try {
    const parts = { upper, index: join(work, 'index'), claims: join(work, 'cfs/claims') };
    const named = Object.entries(parts).flatMap(([name, path]) => {
      if (name !== 'upper' && !isDirectory(path)) return [];
      symlinkSync(path, join(links, name));
      return [join(links, name)];
    });
    const { status, stderr } = spawnSync('cp', ['-a', '-H', '--reflink=auto', '--', ...named, directory]);
    if (status !== 0) return `${stderr}`.trim() || 'cp(1) cannot be run';
    const copy = join(directory, 'work');
    mkdirSync(join(copy, 'cfs'), { recursive: true, mode: 0o700 });
    if (isDirectory(join(directory, 'index'))) renameSync(join(directory, 'index'), join(copy, 'index'));
    if (isDirectory(join(directory, 'claims'))) renameSync(join(directory, 'claims'), join(copy, 'cfs/claims'));
    return '';
  } finally {
    rmSync(links, { recursive: true });
  }
}

function isDirectory(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch {
    return false;
  }
}
