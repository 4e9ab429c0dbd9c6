/** Signals that end a program: work that takes long stops, cleans up, and rejects. */
import { InterruptedError } from './cli.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs `work` so that SIGINT, SIGTERM and SIGHUP abort its signal with an InterruptedError.
 * @param left what is left after that, for the message
 */
export async function withSignals<T>(left: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    controller.abort(new InterruptedError(signal, `stopped by ${signal}; ${left}`));
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    return await work(controller.signal);
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}
