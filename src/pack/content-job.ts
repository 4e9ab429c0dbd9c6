/**
 * Messages between main thread and content workers. A batch is a few typed arrays, not an object per file: copying
 * objects between threads cost more than reading the files.
 */
import { concatBytes } from '../base/bytes.ts';
import { BLOCK_SIZE, blockCount, type ContentDigest, DIGEST_SIZE, type HashAlgorithm } from '../base/digest.ts';
import type { ErrorKind } from '../base/error.ts';
import type { Meta } from '../store/local-repository.ts';
import type { WriterStatistics } from '../store/object-writer.ts';
import type { Place } from '../store/store-directory.ts';
import type { ObjectCheck } from './object-check.ts';
import type { OpenContent } from './source.ts';

export interface WorkerSettings {
  /** Path of the repository, and the identity of its directory. */
  readonly store: string;
  readonly meta: Meta;
  readonly place: Place | undefined;
  readonly durable: boolean;
  readonly prefix: string;
  readonly inlineMax: number;
  /** Only hash: nothing is stored, and there need not be a repository. */
  readonly hashOnly?: boolean;
  /** The number of directories of the repository that the worker keeps open. */
  readonly storeDirectories: number;
  /** One word in shared memory: 1 asks the worker to stop immediately. */
  readonly stop: Int32Array;
}

/** A job in `Batch.jobs`: the descriptor, and these fields of `FileState`. */
const STATE_FIELDS = ['size', 'device', 'inodeHigh', 'inodeLow', 'ctime', 'ctimeNsec'] as const;
const JOB_FIELDS = STATE_FIELDS.length + 1;

/** Regular files to read, hash and store. The thread that works on it closes the descriptors. */
export interface Batch {
  readonly serial: number;
  readonly jobs: Float64Array;
}

export function packJobs(serial: number, contents: readonly OpenContent[]): Batch {
  const jobs = new Float64Array(contents.length * JOB_FIELDS);
  let at = 0;
  for (const { fd, state } of contents) {
    jobs[at++] = fd;
    for (const field of STATE_FIELDS) jobs[at++] = state[field];
  }
  return { serial, jobs };
}

export function unpackJobs({ jobs }: Batch): OpenContent[] {
  return Array.from({ length: jobs.length / JOB_FIELDS }, (_, i) => {
    const [fd, size, device, inodeHigh, inodeLow, ctime, ctimeNsec] = jobs.subarray(i * JOB_FIELDS) as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    return { fd, state: { size, device, inodeHigh, inodeLow, ctime, ctimeNsec } };
  });
}

export interface ContentResult {
  readonly content: ContentDigest;
  /** The bytes themselves, if they go into the manifest. */
  readonly inline?: Uint8Array;
}

/** Results of a batch, in the order of its jobs. */
export interface BatchResults {
  readonly serial: number;
  readonly sizes: Float64Array;
  /** 32 bytes each. */
  readonly digests: Uint8Array;
  /** All block hashes, file after file; their number follows from the size. */
  readonly blockHashes: Uint8Array;
  /** 1 if the content is in `inlineBytes`. */
  readonly inline: Uint8Array;
  readonly inlineBytes: Uint8Array;
}

export function packResults(serial: number, results: readonly ContentResult[]): BatchResults {
  return {
    serial,
    sizes: Float64Array.from(results, ({ content }) => content.size),
    digests: concatBytes(...results.map(({ content }) => content.digest)),
    blockHashes: concatBytes(...results.map(({ content }) => content.blockHashes)),
    inline: Uint8Array.from(results, ({ inline }) => (inline === undefined ? 0 : 1)),
    inlineBytes: concatBytes(...results.flatMap(({ inline }) => inline ?? [])),
  };
}

/** @param hash the algorithm of the repository, which determines the number of block hashes */
export function unpackResults(results: BatchResults, hash: HashAlgorithm): ContentResult[] {
  let hashAt = 0;
  let inlineAt = 0;
  return Array.from(results.sizes, (size, i) => {
    const digest = results.digests.subarray(i * DIGEST_SIZE, (i + 1) * DIGEST_SIZE);
    const hashLength = blockCount(hash, size) * DIGEST_SIZE;
    const content = { digest, size, blockHashes: results.blockHashes.subarray(hashAt, hashAt + hashLength) };
    hashAt += hashLength;
    if (results.inline[i] === 0) return { content };
    // a copy: a view would keep the whole batch in memory for a few bytes
    const inline = results.inlineBytes.slice(inlineAt, inlineAt + size);
    inlineAt += size;
    return { content, inline };
  });
}

export type ToWorker =
  | { readonly type: 'check'; readonly check: ObjectCheck; readonly thread: number; readonly threads: number }
  | { readonly type: 'batch'; readonly batch: Batch }
  | { readonly type: 'finish' }
  | { readonly type: 'exit' };

export type FromWorker =
  | { readonly type: 'done'; readonly results: BatchResults }
  | { readonly type: 'finished'; readonly statistics: WriterStatistics }
  | Failed;

export interface Failed {
  readonly type: 'failed';
  readonly kind: ErrorKind | 'bug';
  /** For kind `source` only the reason: the main thread knows the path. */
  readonly message: string;
  readonly hint: string | undefined;
  readonly stack?: string;
  /** The batch and job that failed. */
  readonly serial?: number;
  readonly job?: number;
}

/** A batch is full with contents of this many bytes, or with this many files. */
export const BATCH_BYTES: number = 64 * BLOCK_SIZE;
export const BATCH_FILES = 64;
