/** Questions of tests to a mount, asked by their own process and by cfs-info. */
import { closeSync, constants, openSync } from 'node:fs';
import { expect } from 'vitest';
import { errnoName, isErrno } from '../../src/base/errno.ts';
import type { MountStatistics } from '../../src/mount/mount-statistics.ts';
import { askMount, askSource } from '../../src/mount-info/ask-mount.ts';
import type { MountRecord } from '../../src/mount-info/mount-record.ts';
import type { SourceRecord } from '../../src/mount-info/source-record.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import type { Mounted, Scratch } from './harness.ts';
import { HERE, type Place } from './run.ts';

export interface Answer {
  readonly mount: MountRecord;
  readonly sources: readonly SourceRecord[];
}

/** The answer to ioctl(2) on the directory `path`. */
export function ask(path: string): Answer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const mount = askMount(fd);
    if (isErrno(mount)) throw new Error(`${path}: ${errnoName(mount)}`);
    const sources = Array.from({ length: mount.sources }, (_, i) => {
      const source = askSource(fd, i);
      if (isErrno(source)) throw new Error(`source ${i} of ${path}: ${errnoName(source)}`);
      return source;
    });
    return { mount, sources };
  } finally {
    closeSync(fd);
  }
}

/** The path of each source; `gone` if the source is gone. */
export const pathsOf = (path: string): string[] =>
  ask(path).sources.map((source) => (source.path === undefined ? 'gone' : Buffer.from(source.path).toString()));

/** The value of an xattr as text; the name of the error if there is none. */
export function xattrText(path: string, name: string): string {
  const value = getXattr(path, name);
  return isErrno(value) ? errnoName(value) : Buffer.from(value).toString('latin1');
}

/** The output of a run of cfs-info that must succeed. */
export async function info(scratch: Scratch, args: readonly string[], place: Place = HERE): Promise<string> {
  const { status, stdout, stderr } = await scratch.tool('cfs-info', args, place);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

export const infoJson = async <T>(scratch: Scratch, args: readonly string[], place: Place = HERE): Promise<T> =>
  JSON.parse(await info(scratch, [...args, '--json'], place)) as T;

/** The counts of a mount, by cfs-info stats. */
export const statsOf = (scratch: Scratch, mounted: Mounted): Promise<MountStatistics> =>
  infoJson<MountStatistics>(scratch, ['stats', mounted.path], mounted.place);

/** The lines "key: value" of an output, each key once; the values of one key joined by line feeds. */
export function linesOf(text: string): Record<string, string> {
  const lines: Record<string, string> = {};
  for (const [, key = '', value = ''] of text.matchAll(/^([a-z][a-z0-9 ]*): +(.*)$/gm)) {
    lines[key] = key in lines ? `${lines[key]}\n${value}` : value;
  }
  return lines;
}
