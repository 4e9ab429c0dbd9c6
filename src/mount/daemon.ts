/**
 * Starting the process behind a mount. It is told what to mount on its standard input, mounts, says on
 * descriptor 3 that the mount answers or why not, and serves until the mount ends; daemon-main.ts is its
 * program. Nothing that only a server needs is loaded here: whoever waits for the mount waits for two starts of node.
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

/** What a daemon is to mount; plain data. All paths are absolute. */
export interface DaemonSettings extends MountSettings {
  /** The log is appended to this file; syslog where it is undefined. */
  readonly logFile?: string;
}

/** What the daemon says, one line of JSON. */
export type Ready =
  | { readonly mounted: MountSummary }
  | { readonly error: { readonly kind: ErrorKind; readonly message: string; readonly hint?: string } };

export const READY_FD = 3;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** For a daemon to unmount what it has just mounted. One that hangs as node starts, for want of threads, hears no signal but SIGKILL. */
const PATIENCE_MS = 5_000;

/** A daemon that is being started, and does not know yet what it is to mount. */
export class StartingDaemon {
  /** Undefined where it could not be started. */
  readonly #child: ChildProcess | undefined;
  /** What it says. */
  #ready: Promise<Ready | undefined> = Promise.resolve(undefined);
  /** Why it will not say that it has mounted. */
  readonly #failure: Promise<CfsError>;
  #isTold = false;

  /**
   * Starting takes long enough to read the command line meanwhile.
   * @param words the command line, for who looks at the list of processes
   */
  constructor(words: readonly string[]) {
    let fail: (error: CfsError) => void = () => undefined;
    this.#failure = new Promise((resolve) => {
      fail = resolve;
    });
    try {
      const child = startDaemon(words);
      this.#child = child;
      // also where it ends before it was told anything
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
   * Says what to mount and waits until the mount answers. A signal that comes meanwhile ends the daemon, then this process.
   * @param abort in place of signals of the process: ends the daemon, and its reason is thrown
   * @throws CfsError with the daemon's own reason where it could not mount
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

  /** Where nothing was said to mount: the daemon reads the end of its settings, and ends. */
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
    // what goes wrong before the mount is there, and is no CfsError, shows on this terminal
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
    SIGKILL: '. Somebody has killed it; the kernel does where memory is short, and says so in its log.',
    SIGABRT: `. node ends so where it can start no threads: ${limitReason(Object.assign(new Error(), { code: 'EAGAIN' }))}`,
  };
  const how = signal ?? `status ${code}`;
  return new CfsError(
    'mount',
    `the daemon ended before the mount was there (${how})${(signal && advice[signal]) ?? ''}`,
  );
}

/** Undefined where the daemon ended, or was not started, before it had written it. */
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
    return undefined; // the daemon says what is wrong with it
  }
}

/** What a daemon has mounted that was killed before it could say so: it may be dead, or served by one that took over. */
async function takeAway(mountpoint: string, before: MountThere | undefined): Promise<void> {
  const path = before?.path ?? mountpoint;
  const there = mountAt(path);
  if (there?.type !== 'fuse.cfs' || there.device === before?.device) return;
  const { unmountKernel } = await import('../fuse/kernel-mount.ts');
  unmountKernel(path, there.device, process.geteuid?.() !== 0);
}
