/** What the caller of `packImage` sets. */
import type { RepositoryHint } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import type { OpenFilesPlan } from './open-files-plan.ts';

export interface PackSettings {
  readonly repository: LocalRepository;
  /** The path of the image. It is replaced as a whole at the end, or not touched. */
  readonly image: string;
  readonly inlineMax: number;
  /** Only hash: nothing is stored, and the repository need not exist. */
  readonly hashOnly?: boolean;
  readonly threads: number;
  /** The number of files that may be open at a time. Default: the fastest. */
  readonly openFiles?: Omit<OpenFilesPlan, 'threads' | 'sourceDirectories'>;
  /** fsync objects and image. */
  readonly durable: boolean;
  readonly repositories: readonly RepositoryHint[];
  /** Returns the signature to store in the image file, if it is to have one. `id` has 32 bytes. */
  readonly signature?: (id: Uint8Array) => Uint8Array;
  /** Read every file, including unchanged files that an earlier run has read. */
  readonly rehash: boolean;
  /** Register the image in the repository, so that its objects are kept; else they are kept for a while. */
  readonly register: boolean;
  /** For tests: `FileCacheOptions.settledMs`. */
  readonly settledMs?: number;
  readonly signal?: AbortSignal;
  /** Receives a line for people if another program keeps the store locked for long. */
  readonly onWait?: (line: string) => void;
  readonly onProgress?: (progress: PackProgress) => void;
}

/** Called often and must be cheap. `entries` is the final number once `scanned` is true. */
export interface PackProgress {
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
  readonly filesDone: number;
  readonly bytesDone: number;
  readonly scanned: boolean;
}
