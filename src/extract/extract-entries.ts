/**
 * The work of a thread that extracts: it takes one job after another, until there are no more. The main thread takes
 * jobs, too, from the end of the list, and only small ones: it also has to receive signals.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import { printable } from '../base/bytes.ts';
import { EDQUOT, ENOSPC, EROFS, type Errno, isErrno } from '../base/errno.ts';
import { CfsError, type ErrorKind } from '../base/error.ts';
import { direntName } from '../manifest/lookup.ts';
import { attachTables, type ManifestTables, type SharedTables, u64 } from '../manifest/tables.ts';
import type { Repository } from '../objects/repository.ts';
import { errnoText } from '../system/libc.ts';
import { type AttributeRules, setAttributes } from './attributes.ts';
import { FileContent } from './file-content.ts';
import { ImageContents } from './image-contents.ts';
import { isPrivilege, isRegular, NewFiles } from './new-files.ts';
import { type ExtractPlan, pathInPlan } from './plan.ts';
import { TargetTree } from './target-tree.ts';

/** Bits of a directory's state. */
export const MADE = 1;
/** It hands group or ACL on to new files. */
export const INHERITS = 2;
/** It cannot be used: nothing is extracted into it. */
export const UNUSABLE = 4;

/** What all threads share. Plain data. */
export interface ExtractSettings {
  readonly tables: SharedTables;
  readonly plan: ExtractPlan;
  /** Of each directory: MADE and so on; complete before entries are extracted. */
  readonly states: Uint8Array;
  /** Three numbers for each job: the directory, the first of its entries, and the one after the last. */
  readonly jobs: Uint32Array;
  /** In shared memory: `TURNS` numbers, at TAKEN, STOP and FRONT. */
  readonly turn: Int32Array;
  /** In shared memory, `COUNTS` numbers for each thread. */
  readonly counts: Float64Array;
  /** A descriptor of the target, which is open in the whole process. */
  readonly target: number;
  /** Of temporary names; unique to this run. */
  readonly prefix: string;
  readonly rules: AttributeRules;
  /** The image's name in messages. */
  readonly image: string;
}

/** Numbers in `ExtractSettings.turn`. */
export const TURNS = 3;
/** How often a job was requested: as long as that is not more than there are, beginning and end do not meet. */
const TAKEN = 0;
/** 1 requests a stop. */
export const STOP = 1;
/** How many were taken from the beginning. */
const FRONT = 2;
const NUMBERS_OF_JOB = 3;
/** Bytes of a job that the main thread takes. */
const MOST_OF_MAIN = 8 << 20;

/** Numbers of each thread in `ExtractSettings.counts`. */
export const COUNTS = 5;
export const ENTRIES = 0;
export const BYTES = 1;
export const OWNERS_LEFT_OUT = 2;
export const XATTRS_LEFT_OUT = 3;
export const DEVICES_LEFT_OUT = 4;

/** A file that was not extracted completely, or not at all. */
export interface ExtractProblem {
  /** The bytes of its path in the image, absolute. */
  readonly path: Uint8Array;
  readonly kind: ErrorKind;
  readonly message: string;
  readonly hint?: string | undefined;
  /** Its dirent, if there is no file. */
  readonly missing?: number;
}

/** Receives what happens; `fatal` ends the work of all threads. */
export interface ExtractReport {
  problem(problem: ExtractProblem): void;
  warning(line: string): void;
  fatal(errno: Errno): void;
}

/** Errors that the next file would meet, too. */
const FATAL: ReadonlySet<Errno> = new Set([ENOSPC, EDQUOT, EROFS]);

/** Thrown between two pieces of a file if a stop was requested. */
class StoppedError extends Error {}

/** Extracts entries until no job is left. @param thread number of the thread */
export function extractEntries(
  settings: ExtractSettings,
  thread: number,
  repositories: readonly Repository[],
  report: ExtractReport,
): void {
  const worker = new EntryWorker(settings, thread, repositories, report);
  try {
    for (let job = nextJob(settings); job >= 0; job = nextJob(settings)) worker.run(job);
  } catch (error) {
    if (!(error instanceof StoppedError)) throw error;
  } finally {
    worker.close();
  }
}

/** As `extractEntries`, for the main thread. @param isAlone whether there is no other thread, so that it takes all */
export async function extractInMain(
  settings: ExtractSettings,
  thread: number,
  repositories: readonly Repository[],
  report: ExtractReport,
  isAlone: boolean,
): Promise<void> {
  const worker = new EntryWorker(settings, thread, repositories, report);
  const total = jobCount(settings);
  try {
    // from the end: those that it leaves to others are taken from the beginning
    for (let job = total - 1; job >= 0 && (isAlone || worker.bytesOf(job) <= MOST_OF_MAIN); job--) {
      if (Atomics.add(settings.turn, TAKEN, 1) >= total) break;
      worker.run(job);
      await breathe();
    }
  } catch (error) {
    if (!(error instanceof StoppedError)) throw error;
  } finally {
    worker.close();
  }
}

const jobCount = ({ jobs }: ExtractSettings): number => jobs.length / NUMBERS_OF_JOB;

/** Takes a job from the beginning; -1 if none is left. */
function nextJob(settings: ExtractSettings): number {
  const { turn } = settings;
  return Atomics.add(turn, TAKEN, 1) < jobCount(settings) ? Atomics.add(turn, FRONT, 1) : -1;
}

class EntryWorker {
  readonly #settings: ExtractSettings;
  readonly #tables: ManifestTables;
  readonly #report: ExtractReport;
  readonly #tree: TargetTree;
  readonly #files: NewFiles;
  readonly #contents: ImageContents;
  readonly #content: FileContent;
  readonly #counts: Float64Array;
  readonly #leftOut = { owners: 0, xattrs: 0 };

  constructor(settings: ExtractSettings, thread: number, repositories: readonly Repository[], report: ExtractReport) {
    const { target, plan, image, prefix, counts } = settings;
    this.#settings = settings;
    this.#report = report;
    this.#tables = attachTables(settings.tables);
    this.#tree = new TargetTree(target, this.#tables, plan);
    this.#files = new NewFiles(this.#tables, `${prefix}.${thread}`);
    this.#contents = new ImageContents(this.#tables, image, repositories, { warn: (line) => report.warning(line) });
    this.#content = new FileContent(this.#tables, this.#contents, repositories);
    this.#counts = counts.subarray(thread * COUNTS, (thread + 1) * COUNTS);
  }

  run(job: number): void {
    const { jobs, plan, states } = this.#settings;
    const at = job * NUMBERS_OF_JOB;
    const directory = jobs[at] as number;
    if (((states[directory] as number) & UNUSABLE) !== 0) return;
    for (let i = jobs[at + 1] as number; i < (jobs[at + 2] as number); i++) {
      this.#throwIfStopped();
      this.#extract(directory, plan.entries[i] as number);
    }
  }

  /** The sizes of the files of a job. */
  bytesOf(job: number): number {
    const { jobs, plan } = this.#settings;
    const { dirents, inodes } = this.#tables;
    const at = job * NUMBERS_OF_JOB;
    let bytes = 0;
    for (let i = jobs[at + 1] as number; i < (jobs[at + 2] as number); i++) {
      bytes += u64(inodes.size, dirents.inode[plan.entries[i] as number] as number);
    }
    return bytes;
  }

  close(): void {
    this.#counts[OWNERS_LEFT_OUT] = this.#leftOut.owners;
    this.#counts[XATTRS_LEFT_OUT] = this.#leftOut.xattrs;
    this.#contents.close();
    this.#tree.close();
  }

  #throwIfStopped(): void {
    if (Atomics.load(this.#settings.turn, STOP) !== 0) throw new StoppedError('stopped');
  }

  #count(what: number, n: number): void {
    this.#counts[what] = (this.#counts[what] as number) + n;
  }

  #extract(directory: number, dirent: number): void {
    const row = this.#tables.dirents.inode[dirent] as number;
    const path = (): Buffer =>
      Buffer.concat([Buffer.from('/'), pathInPlan(this.#tables, this.#settings.plan, directory, dirent)]);
    try {
      const made = this.#make(directory, dirent, row, path);
      if (!isErrno(made)) this.#count(ENTRIES, 1);
      else if (isPrivilege(this.#tables, row, made) && this.#settings.rules.uid !== 0) this.#count(DEVICES_LEFT_OUT, 1);
      else this.#failed(path(), dirent, made);
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      const { kind, message, hint } = error;
      this.#report.problem({ path: path(), kind, message, hint, missing: dirent });
    }
  }

  #failed(path: Uint8Array, dirent: number, errno: Errno): void {
    const message = `Cannot extract ${printable(path)}: ${errnoText(errno)}`;
    this.#report.problem({ path, kind: 'system', message, missing: dirent });
    if (FATAL.has(errno)) this.#report.fatal(errno);
  }

  #make(directory: number, dirent: number, row: number, path: () => Buffer): 0 | Errno {
    const dir = this.#tree.open(directory);
    if (isErrno(dir)) return dir;
    const name = direntName(this.#tables, dirent);
    const inherits = ((this.#settings.states[directory] as number) & INHERITS) !== 0;
    const dress = (at: number, under: Uint8Array): void => {
      const problems = setAttributes(this.#tables, row, at, under, this.#settings.rules, inherits, this.#leftOut);
      if (problems.length > 0) this.#report.problem(attributeProblem(path(), problems));
    };
    if (!isRegular(this.#tables, row)) return this.#files.makeSpecial(dir, name, row, dress);
    return this.#files.makeFile(dir, name, (fd) => {
      const filled = this.#content.fill(
        row,
        fd,
        () => printable(path()),
        (length) => {
          this.#throwIfStopped();
          this.#count(BYTES, length);
        },
      );
      if (!isErrno(filled)) dress(fd, WHOLE_FILE);
      return filled;
    });
  }
}

/** As a name: the open file itself. */
const WHOLE_FILE: Uint8Array = Uint8Array.of();

/** Attributes that could not be set: the file is there without them. */
export const attributeProblem = (path: Uint8Array, problems: readonly string[]): ExtractProblem => ({
  path,
  kind: 'system',
  message: `Cannot set attributes of ${printable(path)}: ${problems.join('; ')}`,
});
