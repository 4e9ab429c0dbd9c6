/** Limits the log of a mount: readers may cause any number of lines. */
import { type Severity, shortened } from '../base/log.ts';

/** The number of lines that may come at once, and per second after that. */
const BURST = 100;
const A_SECOND = 5;
/** The maximum length of a line, in characters. */
const LONGEST = 4_096;
const SUMMARY_MS = 1_000;

type Write<T> = (line: string, severity: Severity, data: T | undefined) => void;

/** `T`: further data of a line. */
export class LineLimiter<T = never> {
  readonly #write: Write<T>;
  #tokens = BURST;
  #filledAt = Date.now();
  #leftOut = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(write: Write<T>) {
    this.#write = write;
  }

  /**
   * Writes the line, truncated if it is very long; or counts it, if there were too many. Lines of `debug` were
   * requested: all are written.
   */
  line(text: string, severity: Severity = 'warning', data?: T): void {
    if (severity !== 'debug' && !this.#take()) {
      this.#leftOut++;
      this.#timer ??= setTimeout(() => this.flush(), SUMMARY_MS).unref();
      return;
    }
    this.flush();
    this.#write(shortened(text, LONGEST), severity, data);
  }

  /** Reports how many lines were left out since the last report. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#leftOut === 0) return;
    const count = this.#leftOut.toLocaleString('en');
    this.#leftOut = 0;
    this.#write(`… ${count} more like this`, 'warning', undefined);
  }

  #take(): boolean {
    const now = Date.now();
    // a clock that was set back adds nothing
    this.#tokens = Math.min(BURST, this.#tokens + (Math.max(now - this.#filledAt, 0) / 1_000) * A_SECOND);
    this.#filledAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
