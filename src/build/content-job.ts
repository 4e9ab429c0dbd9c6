/** What main thread and content workers say to each other. Plain data that can be posted. */
import type { ContentDigest } from '../digest.ts';
import type { ErrorKind } from '../error.ts';
import type { WriterStatistics } from '../store/object-writer.ts';
import type { OpenContent } from './source.ts';

/** One regular file to read, hash and store. The worker closes its descriptor. */
export interface ContentJob extends OpenContent {
  /** For error messages. */
  readonly path: Uint8Array;
}

export interface WorkerSettings {
  readonly store: string;
  readonly durable: boolean;
  readonly prefix: string;
  readonly inlineMax: number;
}

export interface ContentResult {
  readonly content: ContentDigest;
  /** The bytes themselves, where they go into the manifest. */
  readonly inline?: Uint8Array;
}

export type ToWorker =
  | { readonly type: 'batch'; readonly serial: number; readonly jobs: readonly ContentJob[] }
  | { readonly type: 'finish' };

export type FromWorker =
  | { readonly type: 'done'; readonly serial: number; readonly results: readonly ContentResult[] }
  | { readonly type: 'finished'; readonly statistics: WriterStatistics }
  | { readonly type: 'failed'; readonly kind: ErrorKind | 'bug'; readonly message: string; readonly stack?: string };
