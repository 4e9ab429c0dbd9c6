/**
 * The loop body of a thread that serves requests: a request goes in as bytes and comes out as the bytes of its reply.
 * It knows no opcode: a table has one row for each, and the rows define the objects that they work on.
 */
import { DEFERRED, EIO, ENOSYS, type Errno, isErrno } from '../base/errno.ts';
import type { Log } from '../base/log.ts';
import * as abi from './abi.ts';
import type { ReplyBuffer } from './reply.ts';
import type { RequestBuffer } from './request.ts';

/** In place of a payload length: the kernel expects no reply at all. */
export const NO_REPLY: unique symbol = Symbol('no reply');
/** The length of a payload that was written into the reply, or an error. */
export type Answer = number | Errno | typeof NO_REPLY;

/** The objects that all rows work on. One per thread. */
export interface Context {
  readonly request: RequestBuffer;
  readonly reply: ReplyBuffer;
  readonly waiting: Waiting;
}

export interface Row<C> {
  readonly name: string;
  readonly answer: (context: C) => Answer;
  /** Undoes the count that a successful answer causes in the kernel, because the answer is not sent. */
  readonly undo?: (context: C) => void;
}

export type Rows<C> = Readonly<Record<number, Row<C>>>;

/** Notifications about requests that may have to wait. */
export interface Waiting {
  /** Called before an answer that accesses a repository. */
  begin(request: RequestBuffer): void;
  /**
   * Called before reading and hashing much, about `bytes`, or waiting for a disk: time for another thread to take over.
   */
  beforeWork(bytes: number): void;
  /** The kernel reports a signal for the caller that waits for the request with this `unique`. */
  interrupt(uniqueLow: number, uniqueHigh: number): void;
}

/** Counts requests and their results. */
export interface RequestCounters {
  request(opcode: number): void;
  error(errno: Errno): void;
  bytesRead(bytes: number): void;
}

export const NO_WAITING: Waiting = {
  begin: () => undefined,
  beforeWork: () => undefined,
  interrupt: () => undefined,
};

/** A dispatcher with any context. */
export type RequestServer = Pick<Dispatcher<Context>, 'request' | 'reply' | 'serve' | 'abandon' | 'isDeferred'>;

/** Serves requests one after another. One per thread. */
export class Dispatcher<C extends Context> {
  readonly request: RequestBuffer;
  readonly reply: C['reply'];
  readonly #rows: Rows<C>;
  readonly #context: C;
  readonly #log: Log;
  readonly #counters: RequestCounters | undefined;
  /** The opcode of the last request, if it was answered and did not fail. */
  #answered = 0;
  #isDeferred = false;

  constructor(rows: Rows<C>, context: C, log: Log, counters?: RequestCounters) {
    this.#rows = rows;
    this.#context = context;
    this.request = context.request;
    this.reply = context.reply;
    this.#log = log;
    this.#counters = counters;
  }

  /**
   * Answers the request whose `length` bytes were read into `request.bytes`.
   * @returns the length of the reply in `reply.bytes`; 0 if none is to be sent
   */
  serve(length: number): number {
    const { request, reply } = this;
    const malformed = request.accept(length);
    this.#answered = 0;
    this.#isDeferred = false;
    if (malformed !== undefined) {
      this.#log(`ignored bytes that are not a FUSE request: ${malformed}`);
      return 0;
    }
    const row = this.#rows[request.opcode];
    this.#counters?.request(request.opcode);
    let answer: Answer;
    try {
      answer = row === undefined ? ENOSYS : row.answer(this.#context);
    } catch (error) {
      this.#log(
        `${row?.name ?? request.opcode} of inode ${request.nodeid} failed, EIO: ${describe(error)}`,
        'error',
        undefined,
        'request-failed',
      );
      answer = EIO;
    }
    if (answer === NO_REPLY) return 0;
    if (answer === DEFERRED) {
      this.#isDeferred = true;
      return 0;
    }
    if (isErrno(answer)) {
      this.#counters?.error(answer);
      return reply.header(request.uniqueLow, request.uniqueHigh, 0, answer);
    }
    this.#answered = request.opcode;
    if (request.opcode === abi.FUSE_READ) this.#counters?.bytesRead(answer);
    return reply.header(request.uniqueLow, request.uniqueHigh, answer, 0);
  }

  /** Whether the last request is to be answered later: nothing was done, and `serve` returned 0. */
  get isDeferred(): boolean {
    return this.#isDeferred;
  }

  /** Undoes the effects of the last reply, because it is not sent. */
  abandon(): void {
    this.#rows[this.#answered]?.undo?.(this.#context);
  }
}

/** The place of a bug belongs in the log: it cannot be determined later. */
const describe = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message).replaceAll('\n', ' |') : String(error);
