/**
 * How `cfs-mount --rebase` and the next server of a mount talk to each other: by two files in the private directory
 * `cfs` of its workdir. A process that can write there can change everything in the mount.
 */
import { errnoOf, isFull } from '../base/errno.ts';
import { unlinkAt } from '../system/directory-calls.ts';
import { isProcessIdentity, isRunning, type ProcessIdentity } from '../system/process-identity.ts';
import { readPrivate, writePrivate } from '../upper/private-files.ts';

/** A file of the upper layer whose content the new image has at its path. */
export type VerifiedContent = readonly [inode: number, size: number, ctime: number, ctimeNsec: number];

export interface RebaseRequest {
  /** The process that waits for it: without it, nobody wants it any more. */
  readonly by: ProcessIdentity;
  /** Absolute, and as it was given. */
  readonly image: string;
  readonly given: string;
  /** Of the image. */
  readonly id: string;
  readonly contents: readonly VerifiedContent[];
  /** For tests: of fail-points.ts, in the server. */
  readonly fault?: string;
}

export interface RebaseAnswer {
  /** Why the mount is as before; undefined if it is not. */
  readonly error?: string;
  readonly hint?: string;
  /** Files of the upper layer that stay there. */
  readonly kept?: number;
}

const REQUEST = 'rebase.request';
const ANSWER = 'rebase.answer';

/** Advice for an error of a system call. */
export const hintFor = (error: unknown): string | undefined =>
  isFull(errnoOf(error)) ? 'Make room on the file system of the upper layer, and try it again.' : undefined;

const remove = (cfs: number, name: string): void => {
  unlinkAt(cfs, Buffer.from(name));
};

/** @param cfs W/cfs, an open directory. Throws a `systemError`. */
export function sendRequest(cfs: number, request: RebaseRequest): void {
  remove(cfs, ANSWER);
  writePrivate(cfs, REQUEST, request);
}

/** The process that asked goes on without an answer. */
export const withdrawRequest = (cfs: number): void => remove(cfs, REQUEST);

/** Undefined if there is none, or the process that wrote it has ended. */
function waitingRequest(cfs: number): RebaseRequest | undefined {
  try {
    const request = readPrivate(cfs, REQUEST) as RebaseRequest | undefined;
    return request !== undefined && isProcessIdentity(request.by) && isRunning(request.by) ? request : undefined;
  } catch {
    // it was cut off
    return undefined;
  }
}

/** Whether another process waits for a rebase. */
export const isRequested = (cfs: number): boolean => waitingRequest(cfs) !== undefined;

/** The request that waits, which is removed: none is tried twice. Undefined if nobody wants it any more. */
export function takeRequest(cfs: number): RebaseRequest | undefined {
  const request = waitingRequest(cfs);
  remove(cfs, REQUEST);
  return request;
}

/** Without effect on a full disk: the process that asked sees which image the mount has. */
export function sendAnswer(cfs: number, answer: RebaseAnswer): void {
  try {
    writePrivate(cfs, ANSWER, answer);
  } catch {
    // the log has the reason
  }
}

/** Undefined if the server was killed before it could answer, or had no room for it. */
export function takeAnswer(cfs: number): RebaseAnswer | undefined {
  try {
    return readPrivate(cfs, ANSWER) as RebaseAnswer | undefined;
  } catch {
    // it was cut off
    return undefined;
  } finally {
    remove(cfs, ANSWER);
  }
}
