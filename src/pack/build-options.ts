/** What an image is packed with. */
import type { RepositoryHint } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import type { OpenFilesPlan } from './open-files-plan.ts';

export interface BuildOptions {
  readonly repository: LocalRepository;
  /** Where the image goes. Replaced as a whole when everything else is done, or not touched. */
  readonly image: string;
  readonly inlineMax: number;
  readonly threads: number;
  /** How many files may be open at a time. Default: what is fastest. */
  readonly openFiles?: Omit<OpenFilesPlan, 'threads' | 'sourceDirectories'>;
  /** fsync objects and image. */
  readonly durable: boolean;
  readonly repositories: readonly RepositoryHint[];
  /** The signature that is to lie in the image file, where one is. `id` has 32 bytes. */
  readonly signature?: (id: Uint8Array) => Uint8Array;
  /** Read every file, also those that an earlier run has read and that did not change. */
  readonly rehash: boolean;
  /** Register the image in the repository, so that its objects are kept; else they are kept for a while. */
  readonly register: boolean;
  /** For tests: `FileCacheOptions.settledMs`. */
  readonly settledMs?: number;
  readonly signal?: AbortSignal;
  /** Told, as a line for people, when another program keeps the store locked for long. */
  readonly onWait?: (line: string) => void;
  readonly onProgress?: (progress: BuildProgress) => void;
}

/** Called often and must be cheap. `entries` is the final number once `scanned` is true. */
export interface BuildProgress {
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
  readonly filesDone: number;
  readonly bytesDone: number;
  readonly scanned: boolean;
}
