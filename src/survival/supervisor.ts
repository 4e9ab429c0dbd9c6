/**
 * The process that starts another server when this one dies: libexec/cfs-supervisor, a shell script of two megabytes. It is
 * started by the first server when its mount answers, so that nobody waits for it, and holds the parked files from then on.
 * The server looks after it in turn, and starts another one when it dies: only who kills both ends the mount.
 */
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { installedPath } from '../base/installation.ts';
import { hasEscapes } from '../base/path-text.ts';
import { SOCK_STREAM, socketpair } from '../system/descriptor-passing.ts';
import { exactCommand } from '../system/exact-words.ts';
import { errnoText } from '../system/libc.ts';
import { escapedMountpoint } from '../system/mount-table.ts';
import { setInherit, signalAtParentsEnd, write } from '../system/syscall.ts';
import { ANSWERED, LOG_FILE, PARKED_ENDS, SUPERVISOR } from './handover.ts';
import { unpark } from './parking.ts';

/** Ignored by who does not know of it. */
const PARENT_ENDED = 'SIGURG';
const PARENT_ENDED_NUMBER = 23;
const MOST_SHORT = 3;

/** How the script is started. */
export interface SupervisorProgram {
  readonly script: string;
  /** One that lives shorter dies of something that the next one will die of, too. */
  readonly longMs: number;
  /** Before the next one, where several lived shorter. */
  readonly pauseMs: number;
}
const PROGRAM: SupervisorProgram = {
  script: installedPath('libexec/cfs-supervisor'),
  longMs: 1_000,
  pauseMs: 5_000,
};

/** What is looked after. */
export interface SupervisedMount {
  readonly mountpoint: string;
  /** major:minor. */
  readonly device: string | undefined;
  /** Where the script writes what it has to say; syslog where it is undefined. */
  readonly logFile: string | undefined;
}

export class Supervisor {
  readonly #ends: readonly [number, number];
  readonly #mount: SupervisedMount;
  readonly #log: (line: string) => void;
  readonly #program: SupervisorProgram;
  /** Our end of the pipe to the script, where this server started it; the exit status says as much to one that is our parent. */
  #pipe = -1;
  /** Process id of the script where it started this process. */
  #parent = -1;
  /** By the monotonic clock; the script of a parent has lived longer than this process. */
  #began = Number.NEGATIVE_INFINITY;
  #short = 0;
  /** The last one could not be started. */
  #isFailing = false;
  #dismissed = false;

  /**
   * @param ends with the parked files; they belong to this from now on
   * @param mount for the script's last act: taking a mount away that nobody serves
   * @param log told when a supervisor dies, or cannot be started
   */
  private constructor(
    ends: readonly [number, number],
    mount: SupervisedMount,
    log: (line: string) => void,
    program: SupervisorProgram,
  ) {
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
    log: (line: string) => void,
    program: SupervisorProgram = PROGRAM,
  ): Supervisor {
    const supervisor = new Supervisor(ends, mount, log, program);
    supervisor.#start();
    return supervisor;
  }

  /** The script that has started this process. */
  static ofParent(
    mount: SupervisedMount,
    log: (line: string) => void,
    program: SupervisorProgram = PROGRAM,
  ): Supervisor {
    const supervisor = new Supervisor(PARKED_ENDS, mount, log, program);
    const parent = Number(process.env[SUPERVISOR]);
    supervisor.#parent = parent;
    const again = (): void => {
      process.removeListener(PARENT_ENDED, again);
      supervisor.#startAnother();
    };
    process.on(PARENT_ENDED, again);
    signalAtParentsEnd(PARENT_ENDED_NUMBER);
    // it may have ended before anybody could tell
    if (process.ppid !== parent) again();
    return supervisor;
  }

  /** Tells that the mount answers: a server that dies after that is followed by another one in any case. */
  tellAnswered(): void {
    const signal = process.env[ANSWERED];
    if (signal === undefined || this.#parent !== process.ppid) return;
    this.#signalParent(`SIG${signal}`);
  }

  /** Tells that the mount has ended as it should: nobody is to take over. */
  dismiss(): void {
    if (this.#dismissed) return;
    this.#dismissed = true;
    // before all else: the script takes its time, and whoever unmounts may want the store's file system next
    unpark(this.#ends[1]);
    const word = Buffer.from('end\n');
    if (this.#pipe >= 0) {
      write(this.#pipe, word, word.length);
      this.#closePipe();
    } else if (this.#parent === process.ppid) {
      // whatever status this process ends with
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
      // it has just been killed: where the mount goes on, this process starts the next one
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
        // node would write another name for one that is not UTF-8; the script then takes syslog
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
        `${this.#short} supervisors died at once: until one lives, nobody will take over where this server dies`,
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
      this.#log(`until a supervisor starts, nobody will take over where this server dies: ${reasonOf(error)}`);
    this.#isFailing = true;
    this.#closePipe();
    if (!this.#dismissed) this.#startLater();
  }

  #startNow(): void {
    if (this.#dismissed) return;
    try {
      this.#start();
      if (this.#short <= MOST_SHORT && !this.#isFailing) {
        this.#log('the supervisor of this server died: another was started');
      }
    } catch (error) {
      this.#notStarted(error);
    }
  }
}
