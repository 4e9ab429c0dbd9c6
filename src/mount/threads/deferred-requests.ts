/**
 * Requests that wait for objects from the network. Serving threads hand them over; each is answered as soon as its
 * object has come, by the code that would have answered it then. Nothing waits for anything else.
 */
import { EINTR, type Errno } from '../../base/errno.ts';
import type { RequestServer } from '../../fuse/dispatcher.ts';
import type { ObjectName } from '../../objects/repository.ts';

/** How often a caller that got a signal is looked at, in milliseconds. */
const LOOK_MS = 50;
/** How often an object is fetched for one request, if it is always gone again when it is opened. */
const FETCHES = 3;
/** Signals whose requests have not come yet: another thread hands them over. */
const EARLY = 64;

/** What requests wait for, and how they are answered. */
export interface DeferredActions {
  /** Fetches an object. @returns why it did not come */
  fetch(object: ObjectName): Promise<string | undefined>;
  /** Sends an answer of the server. @returns false if the caller no longer waits for it */
  reply(fd: number, bytes: Uint8Array, length: number): boolean;
  answer(fd: number, uniqueLow: number, uniqueHigh: number, error: Errno): void;
  isBeingKilled(pid: number): boolean;
  /** A request was answered, this many milliseconds after it had come. */
  answered(ms: number): void;
}

interface Deferred {
  readonly fd: number;
  readonly bytes: Uint8Array;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly pid: number;
  isInterrupted: boolean;
  isAnswered: boolean;
}

const keyOf = (uniqueLow: number, uniqueHigh: number): string => `${uniqueHigh >>> 0}:${uniqueLow >>> 0}`;

export class DeferredRequests {
  readonly #server: RequestServer;
  readonly #actions: DeferredActions;
  readonly #requests = new Map<string, Deferred>();
  readonly #early = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  /** The object that the server asked for last, */
  #wanted: ObjectName | undefined;
  /** and why it will not come. */
  #problem: string | undefined;

  /** @param makeServer makes the server, whose contents call the given function for objects that no repository has */
  constructor(
    makeServer: (elsewhere: (object: ObjectName) => string | undefined) => RequestServer,
    actions: DeferredActions,
  ) {
    this.#actions = actions;
    this.#server = makeServer((object) => {
      this.#wanted = object;
      return this.#problem;
    });
  }

  /** Answers a request when its object has come. Rejects only for a bug. */
  async begin(fd: number, bytes: Uint8Array): Promise<void> {
    const { request } = this.#server;
    request.bytes.set(bytes);
    if (request.accept(bytes.length) !== undefined) return;
    const { uniqueLow, uniqueHigh, pid } = request;
    const key = keyOf(uniqueLow, uniqueHigh);
    const deferred: Deferred = { fd, bytes, uniqueLow, uniqueHigh, pid, isInterrupted: false, isAnswered: false };
    this.#requests.set(key, deferred);
    if (this.#early.delete(key)) this.#watch(deferred);
    const began = performance.now();
    try {
      await this.#answer(deferred);
    } finally {
      if (this.#requests.get(key) === deferred) this.#requests.delete(key);
      this.#actions.answered(performance.now() - began);
    }
  }

  /** The kernel reports a signal for the caller of some request. */
  interrupt(uniqueLow: number, uniqueHigh: number): void {
    const key = keyOf(uniqueLow, uniqueHigh);
    const deferred = this.#requests.get(key);
    if (deferred !== undefined) {
      this.#watch(deferred);
      return;
    }
    this.#early.add(key);
    const [oldest] = this.#early;
    if (this.#early.size > EARLY && oldest !== undefined) this.#early.delete(oldest);
  }

  async #answer(deferred: Deferred): Promise<void> {
    let problem: string | undefined;
    for (let fetches = 0; !deferred.isAnswered; fetches++) {
      if (fetches === FETCHES) problem ??= 'it was deleted from the cache as soon as it was there';
      const wanted = this.#serve(deferred, problem);
      if (wanted === undefined) return;
      problem = await this.#actions.fetch(wanted);
    }
  }

  /** @returns the object that is still missing; undefined if the request was answered */
  #serve({ fd, bytes }: Deferred, problem: string | undefined): ObjectName | undefined {
    const server = this.#server;
    this.#problem = problem;
    server.request.bytes.set(bytes);
    const length = server.serve(bytes.length);
    if (server.isDeferred) return this.#wanted;
    if (length > 0 && !this.#actions.reply(fd, server.reply.bytes, length)) server.abandon();
    return undefined;
  }

  /** Few programs expect EINTR from a file: only those that are being killed get it. */
  #watch(deferred: Deferred): void {
    deferred.isInterrupted = true;
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
    this.#look();
  }

  #look(): void {
    let left = 0;
    for (const [key, deferred] of this.#requests) {
      if (!deferred.isInterrupted) continue;
      if (this.#actions.isBeingKilled(deferred.pid)) {
        deferred.isAnswered = true;
        this.#requests.delete(key);
        this.#actions.answer(deferred.fd, deferred.uniqueLow, deferred.uniqueHigh, EINTR);
      } else left++;
    }
    if (left > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
