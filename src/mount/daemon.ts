/**
 * Starts the process behind a mount. It reads its settings from standard input, mounts, reports on descriptor 3 that
 * the mount answers or why not, and serves until the mount ends; daemon-main.ts is its program. Modules that only a
 * server needs are not loaded here, because the user waits for two starts of node.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { realpathSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { CfsError, type ErrorKind, reasonOf } from '../base/error.ts';
import { programPath } from '../base/installation.ts';
import { limitReason } from '../base/limits.ts';
import { serverEnvironment, serverFlags } from '../survival/server-process.ts';
import { mountAt } from '../system/mount-table.ts';
import type { MountSummary } from './mounted-image.ts';
import type { MountSettings } from './options.ts';

/** The settings of a daemon; plain data. All paths are absolute. */
export interface DaemonSettings extends MountSettings {
  /** The log is appended to this file; syslog if undefined. */
  readonly logFile?: string;
}

/** A message of the daemon, one line of JSON. */
export type Ready =
  | { readonly mounted: MountSummary }
  | { readonly error: { readonly kind: ErrorKind; readonly message: string; readonly hint?: string } };

export const READY_FD = 3;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/**
 * Time for a daemon to unmount a fresh mount. One that hangs while node starts, for lack of threads, reacts only to
 * SIGKILL.
 */
const PATIENCE_MS = 5_000;

/** A daemon that is being started, and has no settings yet. */
export class StartingDaemon {
  /** Undefined if it could not be started. */
  readonly #child: ChildProcess | undefined;
  /** Its messages. */
  #ready: Promise<Ready | undefined> = Promise.resolve(undefined);
  /** Why it will not report a mount. */
  readonly #failure: Promise<CfsError>;
  #isTold = false;

  /**
   * Starting takes long enough to read the command line in the meantime.
   * @param words the command line, for the list of processes
   */
  constructor(words: readonly string[]) {
    let fail: (error: CfsError) => void = () => undefined;
    this.#failure = new Promise((resolve) => {
      fail = resolve;
    });
    try {
      const child = startDaemon(words);
      this.#child = child;
      // also if it ends before it received its settings
      const pipe = child.stdio[READY_FD] as Readable | null | undefined;
      if (pipe != null) this.#ready = firstLine(pipe);
      child.once('error', (error) => fail(cannotStart(error)));
      child.once('exit', (code, signal) => fail(endedEarly(code, signal)));
      child.stdin?.on('error', () => undefined);
    } catch (error) {
      fail(cannotStart(error));
    }
  }

  /**
   * Sends the settings and waits until the mount answers. A signal that arrives while waiting ends the daemon, then
   * this process.
   * @param abort in place of signals of the process: ends the daemon, and its reason is thrown
   * @throws CfsError with the daemon's own reason if it could not mount
   */
  async mount(settings: DaemonSettings, abort?: AbortSignal): Promise<MountSummary> {
    const child = this.#child;
    this.#isTold = true;
    if (child?.stdin == null || child.pid === undefined) throw await this.#failure;
    const before = mountThere(settings.mountpoint);
    const stop = (signal: NodeJS.Signals): void => {
      this.#end();
      this.#failure.then(() => process.kill(process.pid, signal));
    };
    const end = (): void => this.#end();
    if (abort === undefined) for (const signal of SIGNALS) process.once(signal, stop);
    else abort.addEventListener('abort', end);
    try {
      abort?.throwIfAborted();
      child.stdin.end(JSON.stringify(settings));
      const outcome = (await this.#ready) ?? (await this.#failure);
      if (outcome instanceof CfsError) {
        await takeAway(settings.mountpoint, before);
        throw abort?.aborted ? abort.reason : outcome;
      }
      if ('error' in outcome) {
        // it may have had no descriptor left for that
        await takeAway(settings.mountpoint, before);
        const { kind, message, hint } = outcome.error;
        throw new CfsError(kind, message, { hint });
      }
      child.unref();
      return outcome.mounted;
    } finally {
      for (const signal of SIGNALS) process.off(signal, stop);
      abort?.removeEventListener('abort', end);
    }
  }

  #end(): void {
    const child = this.#child as ChildProcess;
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS).unref();
  }

  /** If there is nothing to mount: the daemon reads the end of its settings, and exits. */
  cancel(): void {
    if (this.#isTold || this.#child === undefined) return;
    this.#child.stdin?.end();
    (this.#child.stdio?.[READY_FD] as Readable | undefined)?.destroy();
    this.#child.unref();
  }
}

function startDaemon(words: readonly string[]): ChildProcess {
  return spawn(process.execPath, [...serverFlags(), programPath('cfs-serve.js'), ...words], {
    env: serverEnvironment(),
    detached: true,
    // unexpected errors before the mount is ready show on this terminal
    stdio: ['pipe', 'ignore', 'inherit', 'pipe'],
  });
}

function cannotStart(error: unknown): CfsError {
  const reason = limitReason(error) ?? reasonOf(error);
  return new CfsError('mount', `Cannot start the daemon of the mount (${process.execPath}): ${reason}`, {
    cause: error,
  });
}

function endedEarly(code: number | null, signal: NodeJS.Signals | null): CfsError {
  const advice: Partial<Record<NodeJS.Signals, string>> = {
    SIGKILL: '. It was killed; the kernel does that if memory is short, and says so in its log.',
    SIGABRT: `. node aborts like this if it cannot start threads: ${limitReason(Object.assign(new Error(), { code: 'EAGAIN' }))}`,
  };
  const how = signal ?? `status ${code}`;
  return new CfsError(
    'mount',
    `the daemon ended before the mount was there (${how})${(signal && advice[signal]) ?? ''}`,
  );
}

/** Undefined if the daemon ended, or was not started, before it had written it. */
function firstLine(pipe: Readable): Promise<Ready | undefined> {
  return new Promise((resolve) => {
    let text = '';
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    pipe.on('close', () => resolve(text.endsWith('\n') ? (JSON.parse(text) as Ready) : undefined));
  });
}

interface MountThere {
  readonly path: string;
  readonly device: string | undefined;
}

function mountThere(mountpoint: string): MountThere | undefined {
  try {
    const path = realpathSync(mountpoint);
    return { path, device: mountAt(path)?.device };
  } catch {
    return undefined; // the daemon reports the problem
  }
}

/** The mount of a daemon that was killed before it could report it: it may be dead, or served by one that took over. */
async function takeAway(mountpoint: string, before: MountThere | undefined): Promise<void> {
  const path = before?.path ?? mountpoint;
  const there = mountAt(path);
  if (there?.type !== 'fuse.cfs' || there.device === before?.device) return;
  const { unmountKernel } = await import('../fuse/kernel-mount.ts');
  unmountKernel(path, there.device, process.geteuid?.() !== 0);
}
