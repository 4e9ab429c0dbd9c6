/** The handling of signals and bugs in a process that serves a mount. */
import { oneLine } from '../base/bytes.ts';
import { reasonOf } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import type { MountedImage } from './mounted-image.ts';

/** Starts another server when this one dies. */
export interface Successor {
  /** Reports that the mount has ended normally: no server is to take over. */
  dismiss(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Keeps a mount from outliving its server by accident. Made before anything is mounted: a signal that comes
 * while the mount is made unmounts it as soon as it is there.
 */
export class MountKeeper {
  readonly #log: Log;
  #mounted: MountedImage | undefined;
  #supervisor: Successor | undefined;
  #signals = 0;

  constructor(log: Log) {
    this.#log = log;
    for (const signal of SIGNALS) process.on(signal, () => this.#onSignal(signal));
    process.on('uncaughtException', (error) => this.#onBug(error));
  }

  /** Serves until it is unmounted, or a signal arrives. */
  async serve(mounted: MountedImage, supervisor?: Successor): Promise<void> {
    this.#mounted = mounted;
    this.#supervisor = supervisor;
    if (this.#signals > 0) this.#unmount();
    await mounted.ending;
    supervisor?.dismiss();
    await mounted.ended;
  }

  /**
   * The first signal unmounts, and open files are still served; the second does not wait for processes that have them
   * open.
   */
  #onSignal(signal: NodeJS.Signals): void {
    if (++this.#signals === 1) this.#unmount();
    else {
      this.#supervisor?.dismiss();
      this.#die(signal);
    }
  }

  #unmount(): void {
    this.#mounted?.unmount().catch((error: unknown) => this.#log(`cannot unmount: ${reasonOf(error)}`, 'error'));
  }

  #onBug(error: Error): void {
    const what = this.#supervisor === undefined ? 'unmounting' : 'another server takes over';
    const line = `internal error, ${what}: ${(error.stack ?? error.message).replaceAll('\n', ' |')}`;
    this.#log(line, 'error');
    // a daemon that has not mounted yet still has its starter's terminal
    process.stderr.write(`cfs-mount: ${oneLine(line)}\n`);
    if (this.#supervisor === undefined) this.#unmount();
    this.#die('SIGKILL');
  }

  /** Ends the process by a signal: process.exit() would wait for threads that wait for requests. */
  #die(signal: NodeJS.Signals): void {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
}
