/** Extracts the tree of an image, or parts of it, into a directory. */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import { printable } from '../base/bytes.ts';
import { EEXIST, ENODATA, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { direntName } from '../manifest/lookup.ts';
import { type ManifestTables, shareTables } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { makeDirectoryAt, unlinkAt } from '../system/directory-calls.ts';
import { mkdirSync } from '../system/file-calls.ts';
import { emptyFileStatus, type FileStatus, statusOf } from '../system/file-status.ts';
import { errnoText, O_PATH } from '../system/libc.ts';
import { getXattrAt } from '../system/xattr-calls.ts';
import { type AttributeRules, setAttributes } from './attributes.ts';
import {
  attributeProblem,
  BYTES,
  COUNTS,
  DEVICES_LEFT_OUT,
  ENTRIES,
  type ExtractProblem,
  type ExtractSettings,
  INHERITS,
  MADE,
  OWNERS_LEFT_OUT,
  STOP,
  TURNS,
  UNUSABLE,
  XATTRS_LEFT_OUT,
} from './extract-entries.ts';
import { extractAll } from './extract-pool.ts';
import { NewFiles } from './new-files.ts';
import { type ExtractPlan, pathInPlan, planOf } from './plan.ts';
import { TargetTree } from './target-tree.ts';

export interface ExtractProgress {
  /** Files, links and directories that are complete, and how many there are. */
  readonly entries: number;
  readonly allEntries: number;
  /** Of contents. */
  readonly bytes: number;
}

export interface ExtractOptions {
  /** The image's name in messages. */
  readonly image: string;
  /** Searched in this order. */
  readonly repositories: readonly LocalRepository[];
  /** Absolute paths that the image has; "/" for all of it. */
  readonly paths: readonly Uint8Array[];
  readonly threads: number;
  /** Whether files get owner and group of the image. */
  readonly owners: boolean;
  readonly xattrs: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Receives each file that was not extracted completely. */
  readonly onProblem: (problem: ExtractProblem) => void;
  /** Receives a line if a bad copy of an object was passed over. */
  readonly onWarning?: (line: string) => void;
  readonly onProgress?: (progress: ExtractProgress) => void;
}

export interface ExtractResult {
  /** Files, further names of files, and directories. */
  readonly entries: number;
  readonly bytes: number;
  /** Files with some problem. */
  readonly problems: number;
  /** What a user without privileges may not set or make. */
  readonly leftOut: { readonly owners: number; readonly xattrs: number; readonly devices: number };
}

const ENTRIES_OF_JOB = 64;
const PROGRESS_MS = 100;
/** Directories and links between two looks at the signal. */
const BREATHE = 256;
const PRIVATE_MODE = 0o700;
const SET_GID = 0o2000;
const ITSELF: Uint8Array = Uint8Array.of();
const DEFAULT_ACL: Uint8Array = Buffer.from('system.posix_acl_default');

/**
 * Extracts into `target`, which is created if it is missing; only then it gets the attributes of the image's root.
 * Files that are there are replaced, one by one and in one step each; directories are kept. A link in the target is
 * replaced, and never followed. If the work is stopped, or the process killed, each name is that of a complete file.
 * @throws CfsError: `system` if `target` cannot be opened; the reason of the signal
 */
export async function extractTree(
  tables: ManifestTables,
  target: string,
  options: ExtractOptions,
): Promise<ExtractResult> {
  const plan = planOf(tables, options.paths);
  const { fd, made } = openTarget(target);
  try {
    return await new Extraction(tables, plan, fd, made, options).run();
  } finally {
    closeSync(fd);
  }
}

function openTarget(target: string): { readonly fd: number; readonly made: boolean } {
  let made = true;
  try {
    try {
      mkdirSync(target, PRIVATE_MODE);
    } catch (error) {
      if (errnoOf(error) !== EEXIST) throw error;
      made = false;
    }
    return { fd: openSync(target, O_PATH | constants.O_DIRECTORY), made };
  } catch (error) {
    throw new CfsError('system', `Cannot extract to ${target}: ${reasonOf(error)}`, { cause: error });
  }
}

class Extraction {
  readonly #tables: ManifestTables;
  readonly #plan: ExtractPlan;
  readonly #options: ExtractOptions;
  readonly #settings: ExtractSettings;
  readonly #tree: TargetTree;
  readonly #files: NewFiles;
  readonly #status: FileStatus = emptyFileStatus();
  readonly #leftOut = { owners: 0, xattrs: 0 };
  /** Dirents of files that do not exist. */
  readonly #missing = new Set<number>();
  #entries = 0;
  #problems = 0;

  constructor(tables: ManifestTables, plan: ExtractPlan, target: number, made: boolean, options: ExtractOptions) {
    this.#tables = tables;
    this.#plan = plan;
    this.#options = options;
    this.#tree = new TargetTree(target, tables, plan);
    const prefix = `${process.pid}.${randomBytes(4).toString('hex')}`;
    this.#files = new NewFiles(tables, `${prefix}.main`);
    const rules: AttributeRules = {
      owners: options.owners,
      xattrs: options.xattrs,
      uid: process.geteuid?.() ?? 0,
      gid: process.getegid?.() ?? 0,
    };
    this.#settings = {
      tables: shareTables(tables),
      plan,
      states: new Uint8Array(new SharedArrayBuffer(plan.row.length)),
      jobs: jobsOf(plan),
      turn: new Int32Array(new SharedArrayBuffer(4 * TURNS)),
      counts: new Float64Array(new SharedArrayBuffer(8 * COUNTS * options.threads)),
      target,
      prefix,
      rules,
      image: options.image,
    };
    this.#settings.states[0] = (made ? MADE : 0) | this.#inheritance(target);
  }

  async run(): Promise<ExtractResult> {
    const { signal, repositories, threads, onProgress } = this.#options;
    const { turn } = this.#settings;
    const stop = (): void => void Atomics.store(turn, STOP, 1);
    signal?.addEventListener('abort', stop);
    const timer = setInterval(() => onProgress?.(this.#progress()), PROGRESS_MS);
    try {
      await this.#eachDirectory(1, 1, (directory) => this.#makeDirectory(directory));
      await extractAll(this.#settings, repositories, threads, {
        problem: (problem) => this.#report(problem),
        warning: (line) => this.#options.onWarning?.(line),
      });
      if (Atomics.load(turn, STOP) === 0) await this.#link();
      // also if the work was stopped: what is there has its attributes
      await this.#eachDirectory(this.#plan.row.length - 1, -1, (directory) => this.#finishDirectory(directory), false);
    } finally {
      clearInterval(timer);
      signal?.removeEventListener('abort', stop);
      this.#tree.close();
    }
    signal?.throwIfAborted();
    const { entries, bytes } = this.#progress();
    return {
      entries,
      bytes,
      problems: this.#problems,
      leftOut: {
        owners: this.#leftOut.owners + this.#sum(OWNERS_LEFT_OUT),
        xattrs: this.#leftOut.xattrs + this.#sum(XATTRS_LEFT_OUT),
        devices: this.#sum(DEVICES_LEFT_OUT),
      },
    };
  }

  #sum(what: number): number {
    return this.#settings.counts.reduce((sum, n, i) => (i % COUNTS === what ? sum + n : sum), 0);
  }

  #progress(): ExtractProgress {
    const { row, entries, links } = this.#plan;
    return {
      entries: this.#entries + this.#sum(ENTRIES),
      allEntries: row.length + entries.length + links.length / 4,
      bytes: this.#sum(BYTES),
    };
  }

  #report(problem: ExtractProblem): void {
    this.#problems++;
    if (problem.missing !== undefined) this.#missing.add(problem.missing);
    this.#options.onProblem(problem);
  }

  #failed(path: Uint8Array, reason: string): void {
    this.#report({ path, kind: 'system', message: `Cannot extract ${printable(path)}: ${reason}` });
  }

  #pathOf(directory: number, dirent?: number): Buffer {
    return Buffer.concat([Buffer.from('/'), pathInPlan(this.#tables, this.#plan, directory, dirent)]);
  }

  /** Calls `work` for each directory, from `start` on; signals are handled in between. */
  async #eachDirectory(start: number, step: 1 | -1, work: (directory: number) => void, stops = true): Promise<void> {
    const { length } = this.#plan.row;
    for (let directory = start; directory >= 0 && directory < length; directory += step) {
      if (stops && Atomics.load(this.#settings.turn, STOP) !== 0) return;
      work(directory);
      if (directory % BREATHE === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Parents come first. */
  #makeDirectory(directory: number): void {
    const { states } = this.#settings;
    const parent = this.#plan.parent[directory] as number;
    if (((states[parent] as number) & UNUSABLE) !== 0) {
      states[directory] = UNUSABLE;
      return;
    }
    const made = this.#makeAt(parent, direntName(this.#tables, this.#plan.dirent[directory] as number));
    const opened = isErrno(made) ? made : this.#tree.open(directory);
    if (isErrno(opened)) {
      states[directory] = UNUSABLE;
      this.#failed(this.#pathOf(directory), errnoText(opened));
      return;
    }
    this.#entries++;
    states[directory] = made | this.#inheritance(opened);
  }

  /** Returns MADE, or 0 if the directory is there. Any other file in its place is removed. */
  #makeAt(parent: number, name: Uint8Array): number | Errno {
    const dir = this.#tree.open(parent);
    if (isErrno(dir)) return dir;
    const made = makeDirectoryAt(dir, name, PRIVATE_MODE);
    if (made !== EEXIST) return isErrno(made) ? made : MADE;
    // fails if it is a directory: EISDIR
    const removed = unlinkAt(dir, name);
    if (isErrno(removed)) return 0;
    const again = makeDirectoryAt(dir, name, PRIVATE_MODE);
    return isErrno(again) ? again : MADE;
  }

  /** INHERITS, if new files in the directory may get an ACL, or another group than this process has. */
  #inheritance(fd: number): number {
    const looked = statusOf(fd, this.#status);
    if (isErrno(looked)) return INHERITS;
    const { mode, gid } = this.#status;
    if ((mode & SET_GID) !== 0 || gid !== this.#settings.rules.gid) return INHERITS;
    const acl = getXattrAt(fd, ITSELF, DEFAULT_ACL);
    return acl === ENODATA || isErrno(acl) ? 0 : INHERITS;
  }

  /** Gives files their further names. */
  async #link(): Promise<void> {
    const { links } = this.#plan;
    const { states } = this.#settings;
    for (let i = 0; i < links.length && Atomics.load(this.#settings.turn, STOP) === 0; i += 4) {
      const [directory, dirent, fromDirectory, from] = links.subarray(i, i + 4) as unknown as number[] & {
        length: 4;
      };
      if (i % (4 * BREATHE) === 0) await new Promise((resolve) => setImmediate(resolve));
      if (((states[directory as number] as number) & UNUSABLE) !== 0) continue;
      if (this.#missing.has(from as number) || ((states[fromDirectory as number] as number) & UNUSABLE) !== 0) {
        const first = printable(this.#pathOf(fromDirectory as number, from));
        this.#failed(this.#pathOf(directory as number, dirent), `it is another name of ${first}`);
        continue;
      }
      const linked = this.#linkOne(directory as number, dirent as number, fromDirectory as number, from as number);
      if (isErrno(linked)) this.#failed(this.#pathOf(directory as number, dirent), errnoText(linked));
      else this.#entries++;
    }
  }

  #linkOne(directory: number, dirent: number, fromDirectory: number, from: number): 0 | Errno {
    // the first descriptor stays open: opening another directory closes older ones only
    const fromDir = this.#tree.open(fromDirectory);
    if (isErrno(fromDir)) return fromDir;
    const dir = this.#tree.open(directory);
    if (isErrno(dir)) return dir;
    return this.#files.link(fromDir, direntName(this.#tables, from), dir, direntName(this.#tables, dirent));
  }

  /** Sets the attributes of a directory; what is in it is complete. */
  #finishDirectory(directory: number): void {
    const state = this.#settings.states[directory] as number;
    const isMade = (state & MADE) !== 0;
    const isWanted = isMade || (directory !== 0 && this.#plan.selected[directory] === 1);
    if ((state & UNUSABLE) !== 0 || !isWanted) return;
    const fd = this.#tree.open(directory);
    if (isErrno(fd)) {
      this.#failed(this.#pathOf(directory), errnoText(fd));
      return;
    }
    const inherits = isMade && ((state & INHERITS) !== 0 || directory === 0);
    const row = this.#plan.row[directory] as number;
    const { rules } = this.#settings;
    // of a directory that is kept the owner may be any
    const problems = setAttributes(this.#tables, row, fd, ITSELF, rules, inherits || !isMade, this.#leftOut);
    if (problems.length > 0) this.#report(attributeProblem(this.#pathOf(directory), problems));
  }
}

/** Jobs of up to 64 entries of one directory each. */
function jobsOf({ first }: ExtractPlan): Uint32Array {
  const jobs: number[] = [];
  for (let directory = 0; directory + 1 < first.length; directory++) {
    const end = first[directory + 1] as number;
    for (let from = first[directory] as number; from < end; from += ENTRIES_OF_JOB) {
      jobs.push(directory, from, Math.min(end, from + ENTRIES_OF_JOB));
    }
  }
  const shared = new Uint32Array(new SharedArrayBuffer(jobs.length * 4));
  shared.set(jobs);
  return shared;
}
