/**
 * The process that starts another server when this one dies: libexec/cfs-supervisor, a shell script of one megabyte. It is
 * started by the first server when its mount answers, so that nobody waits for it, and holds the parked files from then on.
 */
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { SOCK_STREAM, socketpair } from '../system/descriptor-passing.ts';
import { errnoText } from '../system/libc.ts';
import { write } from '../system/syscall.ts';

/** Descriptors of the script and of the servers that it starts: the ends of the socket with the parked files. */
export const PARKED_ENDS: readonly [number, number] = [4, 5];
/** In the environment of a server that takes over: how many died in a row before it. */
export const DEATHS = 'CFS_DEATHS';
/** The exit status of the last one, as a shell has it: 128 and the signal's number. Empty where it is not known. */
export const LAST_STATUS = 'CFS_STATUS';

export interface Supervisor {
  /** Tells that the mount has ended as it should: nobody is to take over. */
  dismiss(): void;
}

const SCRIPT = fileURLToPath(new URL('../../libexec/cfs-supervisor', import.meta.url));

/**
 * Starts the script over `ends`, which are closed here.
 * @param mountpoint for its last act: taking a mount away that nobody serves
 * @param log told where it cannot be started after all
 * @throws CfsError (system)
 */
export function startSupervisor(
  ends: readonly [number, number],
  mountpoint: string,
  log: (line: string) => void,
): Supervisor {
  const pipe = socketpair(SOCK_STREAM);
  if (isErrno(pipe)) throw new CfsError('system', `no socket pair: ${errnoText(pipe)}`);
  const [own, theirs] = pipe;
  const server = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('/bin/sh', [SCRIPT, mountpoint, ...server], {
    stdio: ['ignore', 'ignore', 'ignore', theirs, ...ends],
    cwd: '/',
  });
  child.on('error', (error) => log(`nobody will take over where this server dies: ${error.message}`));
  child.unref();
  for (const fd of [theirs, ...ends]) closeSync(fd);
  const word = Buffer.from('end\n');
  return { dismiss: () => void write(own, word, word.length) };
}

/** Of a server that was started by the script: its exit status says the same. */
export const parentSupervisor: Supervisor = { dismiss: () => undefined };
