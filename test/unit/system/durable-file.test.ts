import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EISDIR, errnoOf } from '../../../src/base/errno.ts';
import { replaceFile } from '../../../src/system/durable-file.ts';
import { isRoot } from '../../support/root.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
let serial = 0;
const freshPath = (): string => at(`file${serial++}`);
const access = (path: string): string => {
  const { mode, uid, gid } = statSync(path);
  return `${(mode & 0o7777).toString(8)} ${uid} ${gid}`;
};
const aclOf = (path: string): string => execFileSync('getfacl', ['-cpn', path], { encoding: 'utf8' }).trim();

describe('replaceFile()', () => {
  test.each([true, false])('replaces the content as a whole (durable: %s)', (durable) => {
    const directory = freshPath();
    mkdirSync(directory);
    const path = join(directory, 'file');
    for (const content of ['first', 'the second, longer', '']) {
      replaceFile(path, Buffer.from(content), durable);
      expect(readFileSync(path, 'utf8')).toBe(content);
    }
    expect(readdirSync(directory)).toEqual(['file']);
  });

  test('gives the file another inode, so that readers of the old one keep it', () => {
    const path = freshPath();
    writeFileSync(path, 'old');
    const { ino } = statSync(path);
    replaceFile(path, Buffer.from('new'), false);
    expect(statSync(path).ino).not.toBe(ino);
  });

  test('leaves nothing behind if it fails', () => {
    const directory = freshPath();
    mkdirSync(join(directory, 'taken', 'x'), { recursive: true });
    let thrown: unknown;
    try {
      replaceFile(join(directory, 'taken'), Buffer.from('x'), true);
    } catch (error) {
      thrown = error;
    }
    expect(errnoOf(thrown)).toBe(EISDIR);
    expect(readdirSync(directory)).toEqual(['taken']);
  });

  test.runIf(isRoot)('keeps mode, owner and group of the old file', () => {
    const path = freshPath();
    writeFileSync(path, 'old');
    chownSync(path, 61001, 61000);
    chmodSync(path, 0o640);
    replaceFile(path, Buffer.from('new'), false);
    expect(access(path)).toBe('640 61001 61000');
  });

  test('keeps an ACL, and inherits none from the directory', () => {
    const directory = freshPath();
    mkdirSync(directory);
    const [listed, plain] = [join(directory, 'listed'), join(directory, 'plain')];
    for (const path of [listed, plain]) writeFileSync(path, 'old', { mode: 0o600 });
    execFileSync('setfacl', ['-m', 'u:61001:r', listed]);
    execFileSync('setfacl', ['-d', '-m', 'u:61002:rwx', directory]);
    const before = [aclOf(listed), aclOf(plain)];
    for (const path of [listed, plain]) replaceFile(path, Buffer.from('new'), false);
    expect([aclOf(listed), aclOf(plain)]).toEqual(before);
    expect(before[0]).toContain('user:61001:r--');
  });

  test.runIf(isRoot)('gives another group no more than all users have, if a user cannot keep the group', () => {
    const directory = freshPath();
    mkdirSync(directory);
    chmodSync(directory, 0o777);
    chmodSync(at(), 0o755);
    const path = join(directory, 'file');
    writeFileSync(path, 'old');
    chownSync(path, 61001, 61001);
    chmodSync(path, 0o664);
    const uid = process.geteuid as () => number;
    const [before, gid] = [uid(), process.getegid?.() as number];
    const groups = process.getgroups?.() as number[];
    try {
      process.setgroups?.([]);
      process.setegid?.(61002);
      process.seteuid?.(61002);
      replaceFile(path, Buffer.from('new'), false);
    } finally {
      process.seteuid?.(before);
      process.setegid?.(gid);
      process.setgroups?.(groups);
    }
    expect(access(path)).toBe('644 61002 61002');
  });

  test('replaces a link itself', () => {
    const path = freshPath();
    symlinkSync(at('elsewhere'), path);
    replaceFile(path, Buffer.from('new'), false);
    expect(lstatSync(path).isFile()).toBe(true);
    expect(readdirSync(at())).not.toContain('elsewhere');
  });
});
