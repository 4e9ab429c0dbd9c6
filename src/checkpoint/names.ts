/**
 * Holds the names of watched files, and files without a name, from `prepare` until the dump is done. When memory
 * becomes scarce the kernel forgets unused names, and a watch uses none: so a separate process, holder-main.ts, keeps
 * each file open (O_PATH). A file in the dump's directory records its state.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ESRCH, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { programPath } from '../base/installation.ts';
import { replaceFile } from '../system/durable-file.ts';
import { identityOf, isProcessIdentity, isRunning, type ProcessIdentity } from '../system/process-identity.ts';

/** The name of the file in a directory of a checkpoint. */
export const NAMES_FILE = 'cfs-names.json';
const FORMAT = 'cfs-checkpoint-names';
const FORMAT_VERSION = 1;

/** Names are held no longer than this, even if the dump does not end. */
export const LONGEST_HOLD_MS = 3_600_000;
const LOOK_MS = 10;
const PATIENCE_MS = 10_000;

/** The settings of a holder, on its standard input. */
export interface HolderSettings {
  readonly directory: string;
  readonly mountpoint: string;
  /** In the mount, without a leading slash. */
  readonly names: readonly string[];
  /** Files without a name, as text of handle-format.ts. */
  readonly handles: readonly string[];
  /** It ends with the last of these processes. */
  readonly pids: readonly number[];
}

/** `held`: until the processes ended, or the dump was reported as done. `lost`: for an unknown time. */
export type NamesState = 'holding' | 'held' | 'lost';

/**
 * Starts a process that holds the names, replacing an earlier one for this directory.
 * @returns its process id
 * @throws CfsError (system) if they cannot be held
 */
export async function holdNames(settings: HolderSettings): Promise<number> {
  const child = spawn(process.execPath, [programPath('cfs-hold-names.js')], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const fail = (reason: string): never => {
    throw new CfsError('system', `the names of watched files are not held: ${reason}`);
  };
  const failed = once(child, 'error').then(([error]) => fail(reasonOf(error)));
  (child.stdin as Writable).on('error', () => undefined).end(JSON.stringify(settings));
  const told = await Promise.race([answerOf(child.stdout as Readable), failed]);
  if (told !== HOLDING || child.pid === undefined)
    return fail(told === '' ? 'the process that holds them ended' : told);
  child.unref();
  return child.pid;
}

/** A holder's message when all names are held; any other message is the problem. */
export const HOLDING = 'holding';

async function answerOf(output: Readable): Promise<string> {
  let text = '';
  for await (const chunk of output) text += String(chunk);
  return text.trim();
}

/**
 * Reports that the dump is done: the names need no longer be held.
 * @returns false if no process holds any
 */
export async function releaseNames(directory: string): Promise<boolean> {
  if (namesState(directory) !== 'holding') return false;
  await endHolder(directory);
  markHeld(directory);
  return true;
}

/** Ends the process that holds names for this directory, and deletes its record. */
export async function forgetNames(directory: string): Promise<void> {
  await endHolder(directory);
  rmSync(join(directory, NAMES_FILE), { force: true });
}

/** For the holder, before it reports success. */
export const markHolding = (directory: string): void => save(directory, { holder: identityOf(process.pid) });

/** For the holder, when its processes have ended. */
export const markHeld = (directory: string): void => save(directory, { held: true });

export function namesState(directory: string): NamesState {
  const { holder, held } = load(directory);
  if (held === true) return 'held';
  return holder !== undefined && isRunning(holder) ? 'holding' : 'lost';
}

async function endHolder(directory: string): Promise<void> {
  const { holder } = load(directory);
  if (holder === undefined || !isRunning(holder)) return;
  try {
    process.kill(holder.pid, 'SIGTERM');
  } catch (error) {
    if (errnoOf(error) === ESRCH) return;
    throw new CfsError(
      'system',
      `Cannot end process ${holder.pid}, which holds names for ${directory}: ${reasonOf(error)}`,
    );
  }
  for (const end = Date.now() + PATIENCE_MS; isRunning(holder); await sleep(LOOK_MS)) {
    if (Date.now() > end)
      throw new CfsError('system', `Process ${holder.pid}, which holds names for ${directory}, does not end`);
  }
}

interface Names {
  readonly holder?: ProcessIdentity;
  readonly held?: true;
}

function save(directory: string, names: Names): void {
  const text = JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, ...names }, null, 2);
  replaceFile(join(directory, NAMES_FILE), Buffer.from(`${text}\n`), false);
}

/** Nothing if the file is missing, or of an unknown version: then the names do not count as held. */
function load(directory: string): Names {
  try {
    const path = join(directory, NAMES_FILE);
    if (!existsSync(path)) return {};
    const { format, version, holder, held } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    if (format !== FORMAT || version !== FORMAT_VERSION) return {};
    return { ...(isProcessIdentity(holder) ? { holder } : {}), ...(held === true ? { held } : {}) };
  } catch {
    return {};
  }
}
