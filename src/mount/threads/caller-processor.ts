/**
 * Keeps a thread that answers requests on the processor of the process that sends them.
 *
 * While a process waits for its answer, its processor has nothing to do. If the server runs on another one, each answer
 * has to wake that processor up, and each request the server's. In a virtual machine a processor that sleeps is left
 * to others, and waking it costs more than most requests. Measured on two processors, a stat(2) took 14 µs with both on
 * one processor and 21 to 40 with the server on the other. The scheduler moves neither: it sees two processors that are
 * busy by half.
 *
 * The process is asked for its processor after a number of its requests in a row, because that costs as much as a
 * request. A server that serves several processes at a time stays where it is.
 *
 * A move costs as much as some requests, up to 150 µs. Where the scheduler takes a process that wakes up to an idle
 * processor each time, as it does with those of real-time priority, no move helps: each further one is made after twice
 * as many requests.
 */
import { currentProcessor, moveToProcessor, processorOf } from '../../system/processors.ts';

/** Requests of one process in a row before it is asked first, and then each time, if moves help. */
const FIRST = 16;
const EACH = 64;
const MOST = 65_536;

export interface Processors {
  /** The processor of this thread. */
  current(): number;
  /** That of another one; -1 if it is unknown. */
  of(thread: number): number;
  move(processor: number): unknown;
}

const SYSTEM: Processors = { current: currentProcessor, of: processorOf, move: moveToProcessor };

/** One per thread. */
export class CallerProcessor {
  readonly #processors: Processors;
  #caller = 0;
  /** Requests until it is asked. */
  #left = FIRST;
  /** From one question to the next. */
  #interval = EACH;

  constructor(processors: Processors = SYSTEM) {
    this.#processors = processors;
  }

  /** Called after a request was answered. @param caller the thread that sent it; 0 for the kernel: RELEASE, FORGET */
  answered(caller: number): void {
    if (caller === 0) return;
    if (caller !== this.#caller) {
      this.#caller = caller;
      this.#left = this.#interval === EACH ? FIRST : this.#interval;
      return;
    }
    if (--this.#left > 0) return;
    const processor = this.#processors.of(caller);
    const isBeside = processor < 0 || processor === this.#processors.current();
    if (!isBeside) this.#processors.move(processor);
    this.#interval = isBeside ? EACH : Math.min(this.#interval * 2, MOST);
    this.#left = this.#interval;
  }
}
