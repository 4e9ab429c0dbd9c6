/**
 * The configuration of the machine, /etc/cfs.conf, and of a user, cfs.conf in $XDG_CONFIG_HOME (~/.config). Root reads
 * only that of the machine: $HOME may be another user's.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type ConfigKey, parseConfig } from '../base/config-text.ts';
import { EACCES, ENOENT, ENOTDIR, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { pathText } from '../base/path-text.ts';
import { exactVariable } from './exact-words.ts';
import { mapsEverybody } from './user-namespace.ts';

const SYSTEM_FILE = '/etc/cfs.conf';
/** Larger files are something else. */
const MOST_BYTES = 65_536;
const WRITABLE_BY_OTHERS = 0o022;
const OVERFLOW_UID = 65_534;

export interface ConfiguredValue {
  readonly value: string;
  readonly file: string;
  readonly line: number;
}

/** The files in the order in which they are asked. */
export function configFiles(): readonly string[] {
  if (process.geteuid?.() === 0) return [SYSTEM_FILE];
  const config = exactVariable('XDG_CONFIG_HOME');
  const home = exactVariable('HOME') || pathText(userInfo({ encoding: 'buffer' }).homedir);
  return [join(config?.startsWith('/') ? config : join(home, '.config'), 'cfs.conf'), SYSTEM_FILE];
}

/**
 * The value of a key, of the first file that has it.
 * @throws CfsError (usage) if a file is wrong, or may have been written by others
 */
export const configured = (key: ConfigKey): ConfiguredValue | undefined => configuredList(key)[0];

/**
 * All values of a key, of the first file that has it.
 * @throws CfsError (usage) as `configured`
 */
export function configuredList(key: ConfigKey): readonly ConfiguredValue[] {
  for (const file of configFiles()) {
    const text = readConfig(file);
    const found = text === undefined ? undefined : parseConfig(text, file).get(key);
    if (found !== undefined) return found.map((value) => ({ ...value, file }));
  }
  return [];
}

/**
 * Undefined if there is no such file, or it lies in a directory that this process may not search: $HOME may still be
 * that of the user before setpriv(1) or su(1). A file that can be found but not read is an error.
 * @throws CfsError (usage)
 */
export function readConfig(file: string): string | undefined {
  const fail = (reason: string): CfsError => new CfsError('usage', `Cannot use ${file}: ${reason}`);
  let fd: number;
  try {
    // not a FIFO that waits for a writer, nor a terminal that becomes that of this process
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === ENOENT || errno === ENOTDIR || (errno === EACCES && !isFound(file))) return undefined;
    throw fail(reasonOf(error));
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw fail('it is not a file');
    if (stat.size > MOST_BYTES) throw fail(`it has ${stat.size} bytes, and at most ${MOST_BYTES} are read`);
    const own = process.geteuid?.() ?? 0;
    if (stat.uid !== 0 && stat.uid !== own && file !== SYSTEM_FILE) throw fail('it belongs to another user');
    if (own === 0 && stat.uid !== 0 && !isOfMachine(file, stat.uid)) throw fail('it does not belong to root');
    if ((stat.mode & WRITABLE_BY_OTHERS) !== 0) throw fail('other users may write to it');
    return pathText(readFileSync(fd));
  } finally {
    closeSync(fd);
  }
}

/** In a user namespace, whose root may not be that of the machine, owners that are not mapped have this number. */
const isOfMachine = (file: string, owner: number): boolean =>
  file === SYSTEM_FILE && owner === OVERFLOW_UID && !mapsEverybody();

/** Whether the directories of a path may be searched, and it exists. */
function isFound(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
