/** A directory with the metadata of a tree, which tells overlayfs the places of its contents. */

import { closeSync, copyFileSync, openSync, truncateSync, utimesSync, writeSync } from 'node:fs';
import { S_IFMT, S_IFREG } from '../src/base/stat-bits.ts';
import type { Bench } from './contract.ts';
import { run } from './process.ts';

/** A regular file of a dump. */
export interface DumpedFile {
  /** Relative to the root, its bytes as latin1. */
  readonly path: string;
  readonly size: number;
  /** In seconds, with a fraction. */
  readonly mtime: number;
  /** Path of the object in the store; `inline` if the image has the content, `hole` if there is none. */
  readonly object: string;
}

/** The regular files in the text of composefs-dump(5), its bytes as latin1, each under its first name. */
export function* parseDump(dump: string): Generator<DumpedFile> {
  for (const line of dump.split('\n')) {
    const [path = '', size, mode = '', , , , , mtime, payload = '-', content = '-'] = line.split(' ', 10);
    if (mode.startsWith('@') || (parseInt(mode, 8) & S_IFMT) !== S_IFREG) continue;
    const object = payload !== '-' ? unescapeDump(payload) : content === '-' ? 'hole' : 'inline';
    yield { path: unescapeDump(path).slice(1), size: Number(size), mtime: parseTime(mtime ?? ''), object };
  }
}

/** "SECONDS.NANOSECONDS"; "1.1" is one second and one nanosecond. */
function parseTime(text: string): number {
  const [seconds, nanoseconds = '0'] = text.split('.');
  return Number(seconds) + Number(nanoseconds) / 1e9;
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '\\': '\\' };

function unescapeDump(text: string): string {
  return text.replace(/\\(?:x([0-9a-fA-F]{2})|(.))/g, (_, hex: string | undefined, letter: string) =>
    hex === undefined ? (ESCAPES[letter] ?? letter) : String.fromCharCode(parseInt(hex, 16)),
  );
}

/** The input of `setfattr --restore` for one file: bytes that are not plain are octal in a path. */
export function xattrText(path: string, object: string): string {
  const quoted = path.replace(/[^!-[\]-~]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`);
  return `# file: ${quoted}\ntrusted.overlay.metacopy=""\ntrusted.overlay.redirect="/${object}"\n\n`;
}

/**
 * Makes `directory` a copy of `source` without contents: files are holes of the right size whose xattrs name the
 * object. If the image of cfs itself has the content, it is copied, as mkcomposefs does with up to 64 bytes.
 * @param dump the text of composefs-dump(5) of the image, its bytes as latin1
 */
export async function writeMetacopyTree(source: string, dump: string, directory: string, bench: Bench): Promise<void> {
  await run(['cp', '-a', '--attributes-only', '--no-target-directory', source, directory], bench.signal);
  const xattrs = `${directory}.xattrs`;
  const fd = openSync(xattrs, 'w');
  const times: [path: Buffer, mtime: number][] = [];
  try {
    for (const { path, size, mtime, object } of parseDump(dump)) {
      const bytes = bytesOf(directory, path);
      const target = bytes.toString('latin1');
      if (object === 'inline') copyFileSync(bytesOf(source, path), bytes);
      else truncateSync(bytes, size);
      if (object !== 'inline' && object !== 'hole') writeSync(fd, xattrText(target, object), null, 'latin1');
      times.push([bytes, mtime]);
      if (times.length % 1000 === 0) await breathe(bench.signal);
    }
  } finally {
    closeSync(fd);
  }
  await run(['setfattr', `--restore=${xattrs}`], bench.signal);
  // last: everything else changes it
  for (const [path, mtime] of times) utimesSync(path, mtime, mtime);
}

/** @param path bytes as latin1 */
const bytesOf = (directory: string, path: string): Buffer =>
  Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, 'latin1')]);

/** Lets a signal in. */
async function breathe(signal: AbortSignal): Promise<void> {
  await new Promise(setImmediate);
  signal.throwIfAborted();
}
