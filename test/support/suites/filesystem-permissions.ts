/** The contract's part on permissions: the kernel checks them, with the image's modes, owners and groups. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { asUser, NOBODY } from '../../e2e/run.ts';
import type { Subject } from './filesystem-subject.ts';

const OWNER = 1000;
const GROUP = 2000;

/** Files with all kinds of permissions, without extended attributes; also a program. */
export function preparePermissions(root: string): void {
  const file = (path: string, mode: number, uid = 0, gid = 0): void => {
    writeFileSync(join(root, path), `${path}\n`);
    chownSync(join(root, path), uid, gid);
    chmodSync(join(root, path), mode);
  };
  const directory = (path: string, mode: number): void => {
    mkdirSync(join(root, path));
    file(`${path}/inside`, 0o644);
    chmodSync(join(root, path), mode);
  };
  file('for-nobody', 0o000);
  file('for-root', 0o600);
  file('for-owner', 0o400, OWNER, GROUP);
  file('for-group', 0o040, 0, GROUP);
  file('for-others', 0o004, 0, 0);
  file('not-for-group', 0o604, 0, GROUP);
  file('not-for-owner', 0o044, OWNER, GROUP);
  file('not-executable', 0o644);
  directory('closed', 0o700);
  directory('no-search', 0o744);
  directory('search-only', 0o711);
  directory('open', 0o755);
  copyFileSync('/bin/echo', join(root, 'program'));
  chmodSync(join(root, 'program'), 0o755);
}

/** Runs as a user and returns "ok" with the output, or the message of the error. */
function attempt(user: readonly string[], ...command: readonly string[]): string {
  const [program, ...args] = [...user, 'LC_ALL=C', ...command] as [string, ...string[]];
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status === 0) return `ok: ${stdout.trim()}`;
  return stderr.trim().split(': ').at(-1) as string;
}

export function permissionTests({ plain }: Subject): void {
  const at = (path: string): string => join(plain.mount, path);
  const nobody = asUser(NOBODY);
  const owner = asUser(OWNER);
  const member = asUser(NOBODY, NOBODY, [GROUP]);
  const DENIED = 'Permission denied';
  const read = (user: readonly string[], path: string): string => attempt(user, 'cat', at(path));

  describe('permissions', () => {
    test.each(['for-nobody', 'for-root', 'for-owner', 'for-group'])('deny other users %s', (path) => {
      expect(read(nobody, path)).toBe(DENIED);
    });

    test('let root read everything', () => {
      expect(execFileSync('cat', [at('for-nobody')], { encoding: 'utf8' })).toBe('for-nobody\n');
    });

    test('are those of the owner, the group or the others: only the first class that matches counts', () => {
      expect(read(owner, 'for-owner')).toBe('ok: for-owner');
      expect(read(member, 'for-group')).toBe('ok: for-group');
      expect(read(nobody, 'for-others')).toBe('ok: for-others');
      expect(read(nobody, 'not-for-group')).toBe('ok: not-for-group');
      expect(read(member, 'not-for-group')).toBe(DENIED);
      expect(read(nobody, 'not-for-owner')).toBe('ok: not-for-owner');
      expect(read(owner, 'not-for-owner')).toBe(DENIED);
    });

    test('of a directory are for listing and for searching', () => {
      expect(attempt(nobody, 'ls', at('closed'))).toBe(DENIED);
      expect(read(nobody, 'closed/inside')).toBe(DENIED);
      expect(attempt(nobody, 'ls', '-1U', '--color=never', at('no-search'))).toBe('ok: inside');
      expect(read(nobody, 'no-search/inside')).toBe(DENIED);
      expect(attempt(nobody, 'ls', at('search-only'))).toBe(DENIED);
      expect(read(nobody, 'search-only/inside')).toBe('ok: search-only/inside');
      expect(read(nobody, 'open/inside')).toBe('ok: open/inside');
    });

    test('are what access(2) reports', () => {
      const access = (user: readonly string[], flag: string, path: string): boolean =>
        attempt(user, 'test', flag, at(path)).startsWith('ok');
      expect(access(nobody, '-r', 'for-nobody')).toBe(false);
      expect(access(nobody, '-r', 'for-others')).toBe(true);
      expect(access(nobody, '-x', 'program')).toBe(true);
      expect(access(nobody, '-x', 'not-executable')).toBe(false);
      expect(access(nobody, '-w', 'open')).toBe(false);
      expect(access(nobody, '-e', 'closed/inside')).toBe(false);
    });

    test('allow programs to run, and no other files', () => {
      expect(attempt(nobody, at('program'), 'ran')).toBe('ok: ran');
      expect(attempt(nobody, at('not-executable'))).toBe(DENIED);
    });

    test('do not depend on the user that asks first', () => {
      // root's lookups are in the kernel's caches by now
      execFileSync('find', [plain.mount], { encoding: 'utf8' });
      execFileSync('cat', [at('closed/inside'), at('for-root')]);
      expect(read(nobody, 'closed/inside')).toBe(DENIED);
      expect(read(nobody, 'for-root')).toBe(DENIED);
    });
  });
}
