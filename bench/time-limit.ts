/** A slow system gets fewer rounds, and a turn that takes far too long is ended: one cell must not cost an hour. */
import type { Bench } from './contract.ts';

/** A turn is ended when it has taken this many times the limit of the cell. */
const DEADLINE_FACTOR = 5;

/**
 * The number of rounds that fit into the time limit after a warm-up turn that took `turnNs`. With 0 the warm-up itself
 * is the only sample.
 */
export function affordableRounds(
  turnNs: number,
  { rounds, timeLimit }: Pick<Bench, 'rounds' | 'timeLimit'>,
): { readonly rounds: number; readonly limited?: string } {
  const fitting = Math.floor((timeLimit - turnNs) / turnNs);
  if (fitting >= rounds) return { rounds };
  const took = `a turn took ${(turnNs / 1e9).toPrecision(3)} s`;
  return fitting < 1
    ? { rounds: 0, limited: `only the warm-up turn: ${took}` }
    : { rounds: fitting, limited: `${fitting} of ${rounds} rounds: ${took}` };
}

/** Does `turn` with a signal that also ends it at the deadline. @throws Error at the deadline */
export async function withDeadline<T>(bench: Bench, turn: (bench: Bench) => Promise<T>): Promise<T> {
  bench.signal.throwIfAborted();
  const ms = Math.ceil((bench.timeLimit * DEADLINE_FACTOR) / 1e6);
  const controller = new AbortController();
  const abort = (): void => controller.abort(bench.signal.reason);
  const timer = setTimeout(() => {
    controller.abort(new Error(`it was ended after ${ms / 1000} s (${DEADLINE_FACTOR} times --time-limit)`));
  }, ms);
  bench.signal.addEventListener('abort', abort, { once: true });
  try {
    return await turn({ ...bench, signal: controller.signal });
  } finally {
    clearTimeout(timer);
    bench.signal.removeEventListener('abort', abort);
  }
}
