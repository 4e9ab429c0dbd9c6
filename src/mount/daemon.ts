/**
 * Starting the process behind a mount. It is told what to mount on its standard input, mounts, says on
 * descriptor 3 that the mount answers or why not, and serves until the mount ends; daemon-main.ts is its
 * program. Nothing that only a server needs is loaded here: whoever waits for the mount waits for two starts of node.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { CfsError, type ErrorKind } from '../base/error.ts';
import { programPath } from '../base/installation.ts';
import { serverEnvironment, serverFlags } from '../survival/server-process.ts';
import type { MountedImage, MountOptions } from './mount.ts';

/** What a daemon is to mount; plain data. All paths are absolute. */
export interface DaemonSettings extends Omit<MountOptions, 'log'> {
  /** The log is appended to this file; syslog where it is undefined. */
  readonly logFile?: string;
}

/** What was mounted, as `cfs-mount --json` prints it. */
export type MountSummary = Omit<
  MountedImage,
  'unmount' | 'tellParked' | 'tellWritten' | 'ending' | 'ended' | 'parked'
> & { readonly pid: number };

/** What the daemon says, one line of JSON. */
export type Ready =
  | { readonly mounted: MountSummary }
  | { readonly error: { readonly kind: ErrorKind; readonly message: string } };

export const READY_FD = 3;

/** A daemon that is being started, and does not know yet what it is to mount. */
export class StartingDaemon {
  readonly #child: ChildProcess;
  #isTold = false;

  /**
   * Starting takes long enough to read the command line meanwhile.
   * @param words the command line, for who looks at the list of processes
   */
  constructor(words: readonly string[]) {
    const program = programPath('src/mount/daemon-main');
    this.#child = spawn(process.execPath, [...serverFlags(), program, ...words], {
      env: serverEnvironment(),
      detached: true,
      // what goes wrong before the mount is there, and is no CfsError, shows on this terminal
      stdio: ['pipe', 'ignore', 'inherit', 'pipe'],
    });
    // told by `mount`, where there is one
    this.#child.on('error', () => undefined);
    (this.#child.stdin as Writable).on('error', () => undefined);
  }

  /**
   * Says what to mount and waits until the mount answers.
   * @throws CfsError with the daemon's own reason where it could not mount
   */
  async mount(settings: DaemonSettings): Promise<MountSummary> {
    const child = this.#child;
    this.#isTold = true;
    const readiness = waitReady(child);
    (child.stdin as Writable).end(JSON.stringify(settings));
    const ready = await readiness;
    if ('error' in ready) throw new CfsError(ready.error.kind, ready.error.message);
    child.unref();
    return ready.mounted;
  }

  /** Where nothing was said to mount: the daemon reads the end of its settings, and ends. */
  cancel(): void {
    if (this.#isTold) return;
    (this.#child.stdin as Writable).end();
    (this.#child.stdio[READY_FD] as Readable).destroy();
    this.#child.unref();
  }
}

function waitReady(child: ChildProcess): Promise<Ready> {
  return new Promise((resolve, reject) => {
    const pipe = child.stdio[READY_FD] as Readable;
    let text = '';
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    pipe.on('end', () => {
      if (text !== '') resolve(JSON.parse(text) as Ready);
    });
    if (child.pid === undefined) reject(new CfsError('system', `Cannot start ${process.execPath}`));
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (text !== '') return;
      reject(new CfsError('mount', `the daemon ended before the mount was there (${signal ?? `status ${code}`})`));
    });
  });
}
