/** The requests that the thread that fetches has not answered yet: if it fails, somebody else must answer them. */
import { EIO, type Errno } from '../../base/errno.ts';
import type { AnsweredRequest, DeferredRequest } from './mount-message.ts';

/** The place of `unique` in a request. */
const UNIQUE = 8;

/** The words of the number by which the kernel knows a request. */
export function uniqueOf(request: Uint8Array): { readonly uniqueLow: number; readonly uniqueHigh: number } {
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  return { uniqueLow: view.getUint32(UNIQUE, true), uniqueHigh: view.getUint32(UNIQUE + 4, true) };
}

type Send = (fd: number, uniqueLow: number, uniqueHigh: number, error: Errno) => void;

export class WaitingRequests {
  readonly #send: Send;
  readonly #descriptors = new Map<string, { readonly fd: number } & ReturnType<typeof uniqueOf>>();

  /** @param send sends an error as the answer to a request; ineffective if it was answered */
  constructor(send: Send) {
    this.#send = send;
  }

  add({ fd, bytes }: Pick<DeferredRequest, 'fd' | 'bytes'>): void {
    const unique = uniqueOf(bytes);
    this.#descriptors.set(keyOf(unique), { fd, ...unique });
  }

  answered(request: Pick<AnsweredRequest, 'uniqueLow' | 'uniqueHigh'>): void {
    this.#descriptors.delete(keyOf(request));
  }

  /** Answers all of them with EIO. */
  fail(): void {
    for (const { fd, uniqueLow, uniqueHigh } of this.#descriptors.values()) this.#send(fd, uniqueLow, uniqueHigh, EIO);
    this.#descriptors.clear();
  }
}

const keyOf = ({ uniqueLow, uniqueHigh }: ReturnType<typeof uniqueOf>): string => `${uniqueHigh}:${uniqueLow}`;
