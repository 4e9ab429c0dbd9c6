/**
 * The process that starts another server when this one dies: libexec/cfs-supervisor, a shell script that takes two
 * megabytes of memory. The first server starts it when its mount answers, so that nothing waits for it; it holds the
 * parked files from then on. In turn the server watches it, and starts another one when it dies: only killing both ends
 * the mount.
 */
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { installedPath } from '../base/installation.ts';
import type { Log } from '../base/log.ts';
import { hasEscapes } from '../base/path-text.ts';
import { SOCK_STREAM, socketpair } from '../system/descriptor-passing.ts';
import { setInherit } from '../system/descriptors.ts';
import { exactCommand } from '../system/exact-words.ts';
import { errnoText } from '../system/libc.ts';
import { escapedMountpoint } from '../system/mount-table.ts';
import { signalAtParentsEnd } from '../system/process-end.ts';
import { write } from '../system/reading-writing.ts';
import { ANSWERED, LOG_FILE, PARKED_ENDS, SUPERVISOR } from './handover.ts';
import { unpark } from './parking.ts';

/** Older scripts ignore it. */
const PARENT_ENDED = 'SIGURG';
const PARENT_ENDED_NUMBER = 23;
const MOST_SHORT = 3;

/** How the script is started. */
export interface SupervisorProgram {
  readonly script: string;
  /** One that lives shorter dies of something that the next one will die of, too. */
  readonly longMs: number;
  /** The pause before the next one, if several lived shorter. */
  readonly pauseMs: number;
}
const PROGRAM: SupervisorProgram = {
  script: installedPath('libexec/cfs-supervisor'),
  longMs: 1_000,
  pauseMs: 5_000,
};

/** The supervised mount. */
export interface SupervisedMount {
  readonly mountpoint: string;
  /** major:minor. */
  readonly device: string | undefined;
  /** The file for the messages of the script; syslog if undefined. */
  readonly logFile: string | undefined;
}

export class Supervisor {
  readonly #ends: readonly [number, number];
  readonly #mount: SupervisedMount;
  readonly #log: Log;
  readonly #program: SupervisorProgram;
  /**
   * Our end of the pipe to the script, if this server started it; a script that is our parent learns the same from the
   * exit status.
   */
  #pipe = -1;
  /** Process id of the script if it started this process. */
  #parent = -1;
  /** By the monotonic clock; the script of a parent has lived longer than this process. */
  #began = Number.NEGATIVE_INFINITY;
  #short = 0;
  /** The last one could not be started. */
  #isFailing = false;
  #dismissed = false;

  /**
   * @param ends with the parked files; this object owns them from now on
   * @param mount for the script's last act: unmounting a mount without a server
   * @param log called when a supervisor dies, or cannot be started
   */
  private constructor(ends: readonly [number, number], mount: SupervisedMount, log: Log, program: SupervisorProgram) {
    this.#ends = ends;
    this.#mount = mount;
    this.#log = log;
    this.#program = program;
    // other children of the server must not keep the mount
    for (const fd of ends) setInherit(fd, false);
  }

  /** Starts the script, as a child of this process. */
  static start(
    ends: readonly [number, number],
    mount: SupervisedMount,
    log: Log,
    program: SupervisorProgram = PROGRAM,
  ): Supervisor {
    const supervisor = new Supervisor(ends, mount, log, program);
    supervisor.#start();
    return supervisor;
  }

  /** The script that has started this process. */
  static ofParent(mount: SupervisedMount, log: Log, program: SupervisorProgram = PROGRAM): Supervisor {
    const supervisor = new Supervisor(PARKED_ENDS, mount, log, program);
    const parent = Number(process.env[SUPERVISOR]);
    supervisor.#parent = parent;
    const again = (): void => {
      process.removeListener(PARENT_ENDED, again);
      supervisor.#startAnother();
    };
    process.on(PARENT_ENDED, again);
    signalAtParentsEnd(PARENT_ENDED_NUMBER);
    // it may have ended before it could be watched
    if (process.ppid !== parent) again();
    return supervisor;
  }

  /** Reports that the mount answers: if a server dies after that, another one always follows. */
  tellAnswered(): void {
    const signal = process.env[ANSWERED];
    if (signal === undefined || this.#parent !== process.ppid) return;
    this.#signalParent(`SIG${signal}`);
  }

  /** Reports that the mount has ended normally: no server is to take over. */
  dismiss(): void {
    if (this.#dismissed) return;
    this.#dismissed = true;
    // first of all: the script takes its time, and the next command may unmount the repository's file system
    unpark(this.#ends[1]);
    const word = Buffer.from('end\n');
    if (this.#pipe >= 0) {
      write(this.#pipe, word, word.length);
      this.#closePipe();
    } else if (this.#parent === process.ppid) {
      // with any exit status of this process
      this.#signalParent('SIGKILL');
    }
  }

  #closePipe(): void {
    if (this.#pipe >= 0) closeSync(this.#pipe);
    this.#pipe = -1;
  }

  #signalParent(signal: string): void {
    try {
      process.kill(this.#parent, signal);
    } catch {
      // it has just been killed: if the mount continues, this process starts the next one
    }
  }

  #start(): void {
    const pipe = socketpair(SOCK_STREAM);
    if (isErrno(pipe)) throw new CfsError('system', `no socket pair: ${errnoText(pipe)}`);
    const [own, theirs] = pipe;
    try {
      const { mountpoint, device, logFile } = this.#mount;
      const server = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
      const words = [this.#program.script, mountpoint, escapedMountpoint(mountpoint), device ?? '', ...server];
      const [shell, args] = exactCommand('/bin/sh', words);
      const child = spawn(shell, args, {
        stdio: ['ignore', 'ignore', 'ignore', theirs, ...this.#ends],
        cwd: '/',
        // node would pass another name for one that is not UTF-8; the script then uses syslog
        env: { ...process.env, ...(logFile === undefined || hasEscapes(logFile) ? {} : { [LOG_FILE]: logFile }) },
      });
      child.on('error', (error) => this.#notStarted(error));
      child.once('spawn', () => {
        this.#isFailing = false;
      });
      child.once('exit', () => this.#startAnother());
      child.unref();
    } finally {
      closeSync(theirs);
    }
    this.#pipe = own;
    this.#began = performance.now();
  }

  #startAnother(): void {
    if (this.#dismissed) return;
    this.#closePipe();
    this.#short = performance.now() - this.#began < this.#program.longMs ? this.#short + 1 : 0;
    if (this.#short <= MOST_SHORT) {
      this.#startNow();
      return;
    }
    if (this.#short === MOST_SHORT + 1) {
      this.#log(
        `${this.#short} supervisors died at once: until one survives, no server will take over if this one dies`,
      );
    }
    this.#startLater();
  }

  /** Its file may be gone for as long as the program is installed anew, or there may be no room for a process. */
  #startLater(): void {
    setTimeout(() => this.#startNow(), this.#program.pauseMs).unref();
  }

  #notStarted(error: unknown): void {
    if (!this.#isFailing)
      this.#log(`until a supervisor starts, no server will take over if this one dies: ${reasonOf(error)}`);
    this.#isFailing = true;
    this.#closePipe();
    if (!this.#dismissed) this.#startLater();
  }

  #startNow(): void {
    if (this.#dismissed) return;
    try {
      this.#start();
      if (this.#short <= MOST_SHORT && !this.#isFailing) {
        this.#log(
          'the supervisor of this server died: another was started',
          'notice',
          undefined,
          'supervisor-restarted',
        );
      }
    } catch (error) {
      this.#notStarted(error);
    }
  }
}
