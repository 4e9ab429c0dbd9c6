/**
 * The last problems of a mount, for queries after they happened: if there is no syslog, or it is not readable. In
 * memory that all threads share, so that a reader that just got EIO finds the reason.
 */
import { oneLine } from '../base/bytes.ts';
import { type ObjectProblem, type Severity, shortened } from '../base/log.ts';
import { shownText } from '../base/path-text.ts';
import { SharedMutex } from '../system/shared-mutex.ts';

/** A problem, as `cfs-info log --json` shows it. */
export interface Problem extends Partial<ObjectProblem> {
  /** ISO 8601, with milliseconds. */
  readonly time: string;
  readonly severity: Severity;
  readonly message: string;
}

export const MOST_PROBLEMS = 100;
/** The total size; an xattr can hold 64 KiB. */
const ROOM = 60_000;
const LONGEST_MESSAGE = 1_024;
const LONGEST_REASON = 256;
/** Answers of further repositories are left out. */
const MOST_COPIES = 16;
const HEADER_WORDS = 3;
const MUTEX = 0;
const LENGTH = 1;
/** The total number so far. */
const TOTAL = 2;
const LINE_FEED = '\n';

export const allocateProblemMemory = (): SharedArrayBuffer => new SharedArrayBuffer(HEADER_WORDS * 4 + ROOM);

export class ProblemMemory {
  readonly #header: Int32Array;
  readonly #mutex: SharedMutex;
  /** One JSON value per line, the oldest first. */
  readonly #bytes: Buffer;

  constructor(memory: SharedArrayBuffer) {
    this.#header = new Int32Array(memory, 0, HEADER_WORDS);
    this.#mutex = new SharedMutex(this.#header, MUTEX);
    this.#bytes = Buffer.from(memory, HEADER_WORDS * 4);
  }

  /** Problems since the server started. One word, read without the mutex: it may be about to grow. */
  get total(): number {
    return this.#header[TOTAL] as number;
  }

  record(message: string, severity: Severity, about?: ObjectProblem): void {
    if (severity === 'info') return;
    const problem: Problem = {
      time: new Date().toISOString(),
      severity,
      message: shortened(oneLine(shownText(message)), LONGEST_MESSAGE),
      ...(about && { ...about, copies: about.copies.slice(0, MOST_COPIES).map(withShortReason) }),
    };
    const line = JSON.stringify(problem);
    this.#mutex.hold(() => {
      const lines = [...this.#lines(), line].slice(-MOST_PROBLEMS);
      while (Buffer.byteLength(lines.join(LINE_FEED)) > ROOM) lines.shift();
      this.#header[LENGTH] = this.#bytes.write(lines.join(LINE_FEED));
      this.#header[TOTAL] = (this.#header[TOTAL] as number) + 1;
    });
  }

  /** A JSON array of `Problem`s, the oldest first. */
  json(): string {
    return `[${this.#mutex.hold(() => this.#lines()).join(',')}]`;
  }

  /** The last one about an object, by its index. */
  lastAbout(index: number): Problem | undefined {
    if (this.total === 0) return undefined;
    return (JSON.parse(this.json()) as Problem[]).findLast((problem) => problem.index === index);
  }

  #lines(): string[] {
    const text = this.#bytes.toString('utf8', 0, this.#header[LENGTH] as number);
    return text === '' ? [] : text.split(LINE_FEED);
  }
}

const withShortReason = <T extends { readonly reason: string }>(copy: T): T => ({
  ...copy,
  reason: shortened(oneLine(shownText(copy.reason)), LONGEST_REASON),
});
