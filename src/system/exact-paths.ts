/**
 * Has node:fs, and the working directory, understand paths that are not UTF-8, in the text that base/path-text.ts makes
 * of them. Importing this is enough, once in each process and thread. Programs do so (tools/cli.ts, and those of
 * base/installation.ts); a library must not, since it would replace functions of its user's process.
 *
 * node takes and returns such paths only as buffers, and silently changes text that it cannot represent: a repository
 * or an image would be created under another name. One forgotten call would be enough, and there are some two hundred;
 * so it is done here for all of them. Paths that are UTF-8 are unchanged.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { CfsError, reasonOf } from '../base/error.ts';
import { hasEscapes, pathBytes, pathText } from '../base/path-text.ts';

type Call = (...args: unknown[]) => unknown;

const calls = fs as unknown as Record<string, Call>;
const originals = { ...fs } as unknown as typeof fs;

/** Functions that take paths, and the number of paths. */
const TAKING_PATHS: Readonly<Record<string, number>> = {
  accessSync: 1,
  appendFileSync: 1,
  chmodSync: 1,
  chownSync: 1,
  copyFileSync: 2,
  existsSync: 1,
  lchownSync: 1,
  linkSync: 2,
  lstatSync: 1,
  lutimesSync: 1,
  mkdirSync: 1,
  openSync: 1,
  opendirSync: 1,
  readFileSync: 1,
  renameSync: 2,
  rmSync: 1,
  rmdirSync: 1,
  statSync: 1,
  statfsSync: 1,
  symlinkSync: 2,
  truncateSync: 1,
  unlinkSync: 1,
  utimesSync: 1,
  writeFileSync: 1,
};

const exact = <T>(path: T): T | Buffer => (typeof path === 'string' && hasEscapes(path) ? pathBytes(path) : path);

for (const [name, paths] of Object.entries(TAKING_PATHS)) {
  const original = calls[name] as Call;
  calls[name] =
    paths === 1
      ? (path, ...rest) => original(exact(path), ...rest)
      : (path, other, ...rest) => original(exact(path), exact(other), ...rest);
}

/** The encoding that a caller requests. */
const encodingOf = (options: unknown): unknown =>
  typeof options === 'object' && options !== null ? (options as { encoding?: unknown }).encoding : options;

const inEncoding = (path: Buffer, options: unknown): string | Buffer => {
  const encoding = encodingOf(options) ?? 'utf8';
  return encoding === 'buffer'
    ? path
    : encoding === 'utf8'
      ? pathText(path)
      : path.toString(encoding as BufferEncoding);
};

calls['readlinkSync'] = (path, options) =>
  inEncoding(originals.readlinkSync(exact(path) as string, { encoding: 'buffer' }), options);

// not node's own, which converts a buffer to text
const realpathSync: Call = (path, options) =>
  inEncoding(originals.realpathSync.native(exact(path) as string, { encoding: 'buffer' }), options);
calls['realpathSync'] = Object.assign(realpathSync, { native: realpathSync });

calls['mkdtempSync'] = (prefix, options) =>
  inEncoding(originals.mkdtempSync(exact(prefix) as string, { encoding: 'buffer' }), options);

/** Text that node may have made from invalid UTF-8, unless it was in the input. */
const REPLACED = '\ufffd';

calls['readdirSync'] = (path, options) => {
  const directory = exact(path) as string;
  const entries = originals.readdirSync(directory, options as { withFileTypes: true }) as unknown[];
  if (encodingOf(options) === 'buffer') return entries;
  const nameOf = (entry: unknown): unknown => (entry instanceof fs.Dirent ? entry.name : entry);
  if (!entries.some((entry) => String(nameOf(entry)).includes(REPLACED))) return entries;
  const plain = typeof options === 'object' ? (options as object) : {};
  const exactly = originals.readdirSync(directory, { ...plain, encoding: 'buffer' } as never) as unknown[];
  return exactly.map((entry) => {
    const name = nameOf(entry);
    if (!(name instanceof Uint8Array)) return entry;
    return entry === name ? pathText(name) : Object.assign(entry as object, { name: pathText(name) });
  });
};

syncBuiltinESMExports();

/** The names of namespaces contain it. */
const EMPTY = '/proc/self/ns';

const workingDirectory = process.cwd;
const isRemoved = isMainThread && wasRemoved();

/**
 * If the working directory was removed, operations on absolute paths do not need it. But node starts no thread there;
 * so another one is used, in which no likely name exists, and nothing can be created.
 */
function wasRemoved(): boolean {
  try {
    workingDirectory.call(process);
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false;
    process.chdir(originals.existsSync(EMPTY) ? EMPTY : '/');
    return true;
  }
}

/** @throws CfsError (usage) if it cannot be determined: only relative paths need it */
process.cwd = () => {
  try {
    const path = workingDirectory.call(process);
    if (isRemoved && path !== '/') throw Object.assign(new Error('it was removed'), { code: 'ENOENT' });
    return path.includes(REPLACED) ? pathText(originals.readlinkSync('/proc/self/cwd', { encoding: 'buffer' })) : path;
  } catch (error) {
    const removed = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new CfsError(
      'usage',
      `Cannot determine the working directory: ${removed ? 'it was removed' : reasonOf(error)}. Use absolute paths, or change to another directory.`,
      { cause: error },
    );
  }
};
