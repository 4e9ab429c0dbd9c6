/**
 * The main thread's handling of slow requests: a repository may be slow, or never answer. It takes the turn from a
 * blocked thread, starts another thread when all are blocked, and replies EINTR for callers that are being killed.
 *
 * It checks only while there is work in progress, some 20 times a second.
 */
import { readFileSync } from 'node:fs';
import { EINTR, type Errno } from '../../base/errno.ts';
import { type Work, WorkTable } from './requests-in-progress.ts';
import { TurnWatch } from './serving-turn.ts';

const LOOK_MS = 50;
/** A request that takes longer counts as slow. */
export const SLOW_MS = 1_000;
/** After this many checks without any work it stops. */
const QUIET_LOOKS = 20;

export interface MonitorActions {
  /** Starts one more thread, if the limit allows. */
  startThread(): void;
  /** A request takes longer than a second. */
  countSlow(): void;
  /** Answers a request instead of thread `work.thread`. */
  answer(work: Work, error: Errno): void;
}

export class MountMonitor {
  readonly #table: WorkTable;
  readonly #turn: TurnWatch;
  readonly #actions: MonitorActions;
  #timer: NodeJS.Timeout | undefined;
  #quiet = 0;
  /** The state word of each thread's request that was last counted as slow. */
  readonly #slow: number[] = [];
  /** No thread waited for requests at the last check. */
  #wasUnattended = false;

  constructor(table: SharedArrayBuffer, turn: SharedArrayBuffer, actions: MonitorActions) {
    this.#table = new WorkTable(table);
    this.#turn = new TurnWatch(turn);
    this.#actions = actions;
  }

  /** A thread has begun something that may take long, and the monitor is not running. */
  wake(): void {
    this.#quiet = 0;
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
  }

  #countSlow({ thread, age, state }: Work): void {
    if (age < SLOW_MS || this.#slow[thread] === state) return;
    this.#slow[thread] = state;
    this.#actions.countSlow();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    const working = this.#table.working();
    this.#quiet = working.length === 0 ? this.#quiet + 1 : 0;
    if (this.#quiet > QUIET_LOOKS) {
      if (this.#table.unwatch()) this.stop();
      return;
    }
    const slow = working.filter(({ age }) => age >= LOOK_MS);
    const holder = this.#turn.thread;
    if (slow.some(({ thread }) => thread === holder)) this.#turn.takeFrom(holder);
    const isUnattended = holder < 0 && slow.length > 0;
    if (isUnattended && this.#wasUnattended) this.#actions.startThread();
    this.#wasUnattended = isUnattended;
    for (const work of slow) {
      this.#countSlow(work);
      if (work.isInterrupted && isBeingKilled(work.pid) && this.#table.takeOver(work))
        this.#actions.answer(work, EINTR);
    }
  }
}

const SIGKILL_BIT = 1n << 8n;

/**
 * Whether the process has been sent a fatal signal: the kernel then has SIGKILL pending for each of its threads. A
 * signal with a handler does not end its waiting: few programs expect EINTR from a file.
 */
export function isBeingKilled(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    return [...status.matchAll(/^(?:SigPnd|ShdPnd):\t([0-9a-f]+)$/gm)].some(
      ([, mask]) => (BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n,
    );
  } catch {
    return true; // it is gone
  }
}
