/** The objects that the rows of a writable mount work on. */
import type { WritableAttributes, WritableFilesystem, Writer } from '../fs/writable-filesystem.ts';
import type { Opened } from './open-files.ts';
import type { ReadingContext } from './reading-rows.ts';
import type { WritableReply } from './reply-writable.ts';
import type { RequestBuffer } from './request.ts';
import type { WritableOpenFiles } from './writable-open-files.ts';

/** Requests that were begun and may have been carried out, in memory that outlives the server: those of one thread. */
export interface IntentLog {
  /** Replaces the thread's last one. `uniqueHigh` is without bit 63. */
  begin(uniqueLow: number, uniqueHigh: number, a: number, b: number): void;
  /** The numbers that an earlier server passed to `begin` for the request; undefined if none began it. */
  find(uniqueLow: number, uniqueHigh: number): { readonly a: number; readonly b: number } | undefined;
}

export interface WritableContext extends ReadingContext<WritableAttributes> {
  readonly fs: WritableFilesystem;
  readonly openFiles: WritableOpenFiles;
  readonly reply: WritableReply;
  readonly writer: RequestWriter;
}

const NOTHING_NOTED: Writer['noted'] = [0, 0];
const WITHOUT_RESENT = 0x7fff_ffff;

/** The process behind the current request. One object serves all requests of a thread. */
export class RequestWriter implements Writer {
  readonly #request: RequestBuffer;
  readonly #intents: IntentLog;
  #umask = 0;
  #again = false;
  #noted = NOTHING_NOTED;

  constructor(request: RequestBuffer, intents: IntentLog) {
    this.#request = request;
    this.#intents = intents;
  }

  /**
   * For a request that must not be carried out twice: records it, and finds out whether an earlier server did. Called
   * when the request is known to be complete, and before anything changes.
   */
  begin(umask = 0): this {
    const { uniqueLow, uniqueHigh, isResent } = this.#request;
    const found = isResent ? this.#intents.find(uniqueLow, uniqueHigh & WITHOUT_RESENT) : undefined;
    this.#umask = umask;
    this.#again = found !== undefined;
    this.#noted = found === undefined ? NOTHING_NOTED : [found.a, found.b];
    // with the recorded numbers: this server may be killed, too
    this.note(...this.#noted);
    return this;
  }

  /** For a request that may be carried out twice. */
  repeatable(): this {
    this.#umask = 0;
    this.#again = this.#request.isResent;
    this.#noted = NOTHING_NOTED;
    return this;
  }

  get uid(): number {
    return this.#request.uid;
  }

  get gid(): number {
    return this.#request.gid;
  }

  get pid(): number {
    return this.#request.pid;
  }

  get umask(): number {
    return this.#umask;
  }

  get again(): boolean {
    return this.#again;
  }

  get noted(): Writer['noted'] {
    return this.#noted;
  }

  note(a: number, b: number): void {
    const { uniqueLow, uniqueHigh } = this.#request;
    this.#intents.begin(uniqueLow, uniqueHigh & WITHOUT_RESENT, a, b);
  }
}

/** fuse_open_out */
export const openReply = (d: WritableContext, { low, high, flags, backingId }: Opened): number =>
  d.reply.open(low, high, flags, backingId);
