/** Where a remote repository is written to: a directory that a web server shows, or a server that takes PUT. */
import { mkdirSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { errnoName, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { HttpError } from '../remote/http-answer.ts';
import { HttpClient, type HttpOptions } from '../remote/http-client.ts';
import { isRemote, parseRemoteAddress } from '../remote/remote-url.ts';
import { replaceFile } from '../system/durable-file.ts';

/** Names are relative to the repository. Errors of the target are CfsErrors (store). */
export interface PushTarget {
  /** For messages. */
  readonly text: string;
  /** The file; undefined if there is none. @param most a longer one is refused */
  get(name: string, most: number, signal?: AbortSignal): Promise<Uint8Array | undefined>;
  /**
   * Whether there is a file of this name. A file that is named by its digest is never replaced. In a directory its time
   * of modification becomes now, so that `pruneTree` leaves it until a name leads to it.
   */
  has(name: string, signal?: AbortSignal): Promise<boolean>;
  /** Makes or replaces a file: readers see the old one or the new one. */
  put(name: string, bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface TargetOptions extends HttpOptions {
  readonly insecure: boolean;
  /** Of a directory: whether files are on the disk when `put` is done. */
  readonly durable: boolean;
}

/** @throws CfsError (usage) if the word is a URL that cannot be used */
export function openTarget(word: string, options: TargetOptions): PushTarget {
  if (!isRemote(word)) return new DirectoryTarget(resolve(word), options.durable);
  const { mirrors, text, ref, id } = parseRemoteAddress(word, options.insecure);
  if (ref !== undefined || id !== undefined) {
    throw new CfsError('usage', `Cannot push to ${word}: give the URL without the name of an image`);
  }
  if (mirrors.length > 1) throw new CfsError('usage', `Cannot push to ${text}: give one URL`);
  return new HttpTarget(text, mirrors[0] as URL, new HttpClient(options));
}

class DirectoryTarget implements PushTarget {
  readonly text: string;
  readonly #durable: boolean;

  constructor(path: string, durable: boolean) {
    this.text = path;
    this.#durable = durable;
  }

  async get(name: string, most: number): Promise<Uint8Array | undefined> {
    return this.#guarded(name, () => {
      const path = join(this.text, name);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (stat === undefined) return undefined;
      if (!stat.isFile() || stat.size > most) throw this.#error(name, 'it is not a file that belongs here');
      return readFileSync(path);
    });
  }

  async has(name: string): Promise<boolean> {
    return this.#guarded(name, () => {
      const path = join(this.text, name);
      return statSync(path, { throwIfNoEntry: false })?.isFile() === true && touched(path);
    });
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    this.#guarded(name, () => {
      const path = join(this.text, name);
      mkdirSync(dirname(path), { recursive: true });
      replaceFile(path, bytes, this.#durable);
    });
  }

  async close(): Promise<void> {}

  #guarded<T>(name: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined) throw error;
      const hint =
        errnoName(errno) === 'ENOSPC' ? 'What was written before is complete, and the next run uses it.' : undefined;
      throw this.#error(name, reasonOf(error), hint);
    }
  }

  #error(name: string, reason: string, hint?: string): CfsError {
    return new CfsError('store', `Cannot write to ${this.text}: ${name}: ${reason}`, { hint });
  }
}

/** False if it was deleted, or belongs to another user: it is written again then. */
function touched(path: string): boolean {
  const now = new Date();
  try {
    utimesSync(path, now, now);
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

class HttpTarget implements PushTarget {
  readonly text: string;
  readonly #url: URL;
  readonly #client: HttpClient;

  constructor(text: string, url: URL, client: HttpClient) {
    this.text = text;
    this.#url = url;
    this.#client = client;
  }

  async get(name: string, most: number, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    return await this.#guarded(async () => {
      try {
        return (await this.#client.get(new URL(name, this.#url), { most, signal })).bytes;
      } catch (error) {
        if (error instanceof HttpError && error.problem === 'absent') return undefined;
        throw error;
      }
    });
  }

  async has(name: string, signal?: AbortSignal): Promise<boolean> {
    return await this.#guarded(() => this.#client.has(new URL(name, this.#url), signal));
  }

  async put(name: string, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#guarded(() => this.#client.put(new URL(name, this.#url), bytes, signal));
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      throw new CfsError('store', `Cannot write to ${this.text}: ${error.message}`, { cause: error });
    }
  }
}
