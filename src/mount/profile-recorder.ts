/** Writes the profile of a mount: the paths of its files in the order in which they were opened first. */
import { readFileSync, statSync } from 'node:fs';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { bytesInProfile, encodeProfile, PROFILE_LIMIT, parseProfile, pathsOfRows } from '../manifest/profile.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { replaceFile } from '../system/durable-file.ts';
import { OpeningOrder } from './opening-order.ts';

/** How often the file is written, if there is something new. */
const WRITE_MS = 2000;

/** Bytes of a profile after which nothing is added: all of it is written each time. */
const RECORDED_BYTES = 8 << 20;

const textOf = (path: Uint8Array): string => Buffer.from(path).toString('latin1');

/** The paths that a profile has so far. @throws CfsError (usage) if it is another file */
function readSoFar(path: string): Uint8Array[] {
  try {
    const stat = statSync(path);
    // another file stays as it is, and a pipe is not waited for
    if (!stat.isFile() || stat.size > PROFILE_LIMIT) throw new CfsError('usage', `${path} is not a profile`);
    return parseProfile(readFileSync(path), path);
  } catch (error) {
    if (error instanceof CfsError) throw error;
    if (errnoOf(error) === ENOENT) return [];
    throw new CfsError('usage', `Cannot read the profile ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Refuses a file that cannot be written, or is no profile. @throws CfsError (usage) */
export function requireProfile(path: string): void {
  const before = readSoFar(path);
  try {
    replaceFile(path, encodeProfile(before), false);
  } catch (error) {
    throw new CfsError('usage', `Cannot write the profile ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

export class ProfileRecorder {
  readonly #path: string;
  readonly #tables: ManifestTables;
  readonly #order: OpeningOrder;
  readonly #log: Log;
  readonly #paths: Uint8Array[] = [];
  readonly #known = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #bytes = 0;
  #isFull = false;
  /** Rows that are in `#paths`. */
  #rows = 0;
  #isWritten = true;
  #problem: string | undefined;

  /**
   * What the file has comes first: a server that died, or an earlier mount, has written it.
   * @param memory of `allocateOpeningOrder`
   */
  constructor(path: string, tables: ManifestTables, memory: SharedArrayBuffer, log: Log) {
    this.#path = path;
    this.#tables = tables;
    this.#order = new OpeningOrder(memory);
    this.#log = log;
    try {
      this.#add(readSoFar(path));
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      // another file has taken its place since the mount was made, and stays
      this.#tell(error.message);
    }
    this.#timer = setInterval(() => this.#write(), WRITE_MS);
    this.#timer.unref();
  }

  /** Writes what is new. */
  end(): void {
    clearInterval(this.#timer);
    this.#write();
  }

  #add(paths: readonly Uint8Array[]): void {
    for (const path of paths) {
      const text = textOf(path);
      if (this.#known.has(text)) continue;
      this.#bytes += bytesInProfile(path);
      if (this.#bytes > RECORDED_BYTES) {
        if (!this.#isFull) this.#log(`the profile ${this.#path} is full: no other files are recorded`);
        this.#isFull = true;
        return;
      }
      this.#known.add(text);
      this.#paths.push(path);
    }
  }

  #write(): void {
    const rows = this.#order.after(this.#rows);
    if (rows.length > 0) {
      this.#add(pathsOfRows(this.#tables, rows));
      this.#rows += rows.length;
      this.#isWritten = false;
    }
    if (this.#isWritten) return;
    try {
      // another mount may have written it
      this.#add(readSoFar(this.#path));
      replaceFile(this.#path, encodeProfile(this.#paths), false);
      this.#isWritten = true;
      this.#problem = undefined;
    } catch (error) {
      if (!(error instanceof CfsError) && errnoOf(error) === undefined) throw error;
      this.#tell(`cannot write the profile ${this.#path}: ${reasonOf(error)}`);
    }
  }

  /** Once, until it can be written. */
  #tell(problem: string): void {
    if (problem !== this.#problem) this.#log(problem);
    this.#problem = problem;
  }
}
