/** Extended attributes and access control lists. */
import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { getXattr, listXattrs } from '../../src/system/xattrs.ts';
import { useScratch } from '../e2e/harness.ts';
import * as calls from './calls.ts';
import {
  type Case,
  casesOf,
  describeCases,
  fails,
  makeAny,
  makeDirectory,
  makeFile,
  modeOf,
  ok,
  TYPES,
} from './cases.ts';
import { ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER, ACL_USER, ACL_USER_OBJ, aclFor, aclOf } from './model/lower-tree.ts';
import { ALICE, as, BOB, CAROL, withUmask } from './users.ts';

const scratch = useScratch();
const ACCESS = 'system.posix_acl_access';
const DEFAULT = 'system.posix_acl_default';

const namesOf = (path: string): string[] => {
  const names = listXattrs(path);
  return isErrno(names) ? [calls.nameOf(names)] : names.map((name) => Buffer.from(name).toString()).sort();
};
const xattrOf = (path: string, name: string): string => {
  const value = getXattr(path, name);
  return isErrno(value) ? calls.nameOf(value) : Buffer.from(value).toString('latin1');
};
const set = (path: string, name: string, value: string, flags = 0): number =>
  calls.lsetxattr(path, name, Buffer.from(value, 'latin1'), flags);

const xattrCases: readonly Case[] = [
  ...casesOf(TYPES, (type) => ({
    name: `trusted.* of a ${type}: set, replaced, removed`,
    arrange: () => {
      makeAny(type, 'it');
      ok(set('it', 'trusted.old', 'of before'));
    },
    act: () => {
      ok(set('it', 'trusted.new', 'a\0b'));
      expect(namesOf('it')).toEqual(['trusted.new', 'trusted.old']);
      expect(xattrOf('it', 'trusted.new')).toBe('a\0b');
      ok(set('it', 'trusted.old', ''));
      expect(xattrOf('it', 'trusted.old')).toBe('');
      ok(calls.lremovexattr('it', 'trusted.old'));
      fails(calls.lremovexattr('it', 'trusted.old'), 'ENODATA');
      expect(xattrOf('it', 'trusted.old')).toBe('ENODATA');
      expect(namesOf('it')).toEqual(['trusted.new']);
      // user.* is for files and directories
      const result = set('it', 'user.color', 'green');
      if (['file', 'directory'].includes(type)) ok(result);
      else fails(result, 'EPERM');
    },
  })),
  {
    name: 'XATTR_CREATE and XATTR_REPLACE',
    arrange: () => {
      makeFile('file');
      ok(set('file', 'user.old', '1'));
    },
    act: () => {
      fails(set('file', 'user.old', '2', calls.XATTR_CREATE), 'EEXIST');
      fails(set('file', 'user.new', '2', calls.XATTR_REPLACE), 'ENODATA');
      ok(set('file', 'user.old', '3', calls.XATTR_REPLACE));
      ok(set('file', 'user.new', '4', calls.XATTR_CREATE));
      expect([xattrOf('file', 'user.old'), xattrOf('file', 'user.new')]).toEqual(['3', '4']);
      fails(set('file', 'user.old', '5', 4), 'EINVAL');
    },
  },
  {
    name: 'names up to 255 bytes, values up to what fits; other names are refused',
    arrange: () => makeFile('file'),
    act: () => {
      ok(set('file', `user.${'n'.repeat(250)}`, 'value'));
      fails(set('file', `user.${'n'.repeat(251)}`, 'value'), 'ERANGE');
      fails(set('file', '', 'value'), 'ERANGE');
      fails(set('file', 'user.', 'value'), 'EINVAL');
      fails(set('file', 'nothing.known', 'value'), 'EOPNOTSUPP');
      ok(set('file', 'user.long', 'v'.repeat(2000)));
      expect(xattrOf('file', 'user.long')).toBe('v'.repeat(2000));
      fails(set('file', 'user.long', 'v'.repeat(65_537)), 'E2BIG');
    },
  },
  {
    name: 'who may: user.* as the mode says, trusted.* only root',
    arrange: () => {
      makeFile('file', { mode: 0o644, owner: ALICE });
      ok(set('file', 'user.color', 'green'));
      ok(set('file', 'trusted.note', 'secret'));
      makeDirectory('sticky', { mode: 0o1777 });
    },
    act: () => {
      as(BOB, () => {
        expect(xattrOf('file', 'user.color')).toBe('green');
        fails(set('file', 'user.color', 'red'), 'EACCES');
        fails(calls.lremovexattr('file', 'user.color'), 'EACCES');
        fails(set('file', 'trusted.note', 'mine'), 'EPERM');
        expect(xattrOf('file', 'trusted.note')).toBe('ENODATA');
        expect(namesOf('file')).toEqual(['user.color']);
        fails(set('sticky', 'user.color', 'red'), 'EPERM');
      });
      as(ALICE, () => ok(set('file', 'user.color', 'blue')));
      expect(xattrOf('file', 'user.color')).toBe('blue');
    },
  },
  {
    name: 'those of overlayfs belong to a user like all others',
    arrange: () => makeDirectory('dir'),
    act: () => {
      for (const name of ['opaque', 'redirect', 'metacopy', 'overlay.deep']) {
        ok(set('dir', `trusted.overlay.${name}`, 'y'));
        expect(xattrOf('dir', `trusted.overlay.${name}`)).toBe('y');
      }
      expect(namesOf('dir').length).toBe(4);
      ok(calls.lremovexattr('dir', 'trusted.overlay.opaque'));
      expect(namesOf('dir')).not.toContain('trusted.overlay.opaque');
    },
  },
];

/** rw for the owner, and for Alice the part of rwx that the mask permits. */
const masked = aclOf([
  [ACL_USER_OBJ, 6],
  [ACL_USER, 7, ALICE.uid],
  [ACL_GROUP_OBJ, 4],
  [ACL_MASK, 4],
  [ACL_OTHER, 0],
]);

const aclCases: readonly Case[] = [
  {
    name: 'an ACL says what a user may, the mask limits it, the mode shows it',
    arrange: () => {
      makeFile('file', { mode: 0o600, content: 'content' });
      ok(calls.setxattr('file', ACCESS, masked));
    },
    act: () => {
      expect(modeOf('file').toString(8)).toBe('640');
      as(ALICE, () => {
        ok(calls.access('file', 4));
        fails(calls.access('file', 2), 'EACCES');
      });
      as(BOB, () => fails(calls.access('file', 4), 'EACCES'));
      ok(calls.chmod('file', 0o670));
      as(ALICE, () => ok(calls.access('file', 7)));
      ok(calls.setxattr('file', ACCESS, aclFor(BOB.uid, 6)));
      as(BOB, () => ok(calls.access('file', 6)));
      as(ALICE, () => fails(calls.access('file', 4), 'EACCES'));
      ok(calls.lremovexattr('file', ACCESS));
      as(BOB, () => fails(calls.access('file', 2), 'EACCES'));
      expect(namesOf('file')).toEqual([]);
    },
  },
  {
    name: 'an ACL that a mode can hold becomes the mode',
    arrange: () => makeFile('file', { mode: 0o600 }),
    act: () => {
      ok(
        calls.setxattr(
          'file',
          ACCESS,
          aclOf([
            [ACL_USER_OBJ, 7],
            [ACL_GROUP_OBJ, 5],
            [ACL_OTHER, 1],
          ]),
        ),
      );
      expect(modeOf('file').toString(8)).toBe('751');
      expect(namesOf('file')).toEqual([]);
    },
  },
  {
    name: 'what is made in a directory inherits its default ACL, and the umask does not count',
    arrange: () => {
      makeDirectory('dir', { mode: 0o777 });
      ok(calls.setxattr('dir', DEFAULT, aclFor(BOB.uid, 6)));
    },
    act: () => {
      withUmask(0o077, () =>
        as(CAROL, () => {
          ok(calls.close(ok(calls.open('dir/file', calls.O_CREAT | calls.O_RDWR, 0o666))));
          ok(calls.mkdir('dir/sub', 0o777));
          ok(calls.mkfifo('dir/fifo', 0o640));
          ok(calls.symlink('target', 'dir/link'));
          ok(calls.mkdir('dir/sub/below', 0o700));
        }),
      );
      expect(modeOf('dir/file').toString(8)).toBe('660');
      expect(modeOf('dir/sub').toString(8)).toBe('771');
      expect(modeOf('dir/fifo').toString(8)).toBe('640');
      expect(modeOf('dir/sub/below').toString(8)).toBe('700');
      expect(namesOf('dir/file')).toEqual([ACCESS]);
      expect(namesOf('dir/sub')).toEqual([ACCESS, DEFAULT]);
      expect(xattrOf('dir/sub', DEFAULT)).toBe(xattrOf('dir', DEFAULT));
      expect(namesOf('dir/link')).toEqual([]);
      as(BOB, () => {
        ok(calls.access('dir/file', 6));
        fails(calls.access('dir/sub/below', 4), 'EACCES');
      });
      expect(readdirSync('dir').sort()).toEqual(['fifo', 'file', 'link', 'sub']);
    },
  },
  {
    name: 'only the owner may set one; only directories have a default one; a wrong one is refused',
    arrange: () => {
      makeFile('file', { mode: 0o666, owner: ALICE });
      makeDirectory('dir', { owner: ALICE });
    },
    act: () => {
      as(BOB, () => fails(calls.setxattr('file', ACCESS, aclFor(BOB.uid, 7)), 'EPERM'));
      as(ALICE, () => {
        ok(calls.setxattr('file', ACCESS, aclFor(BOB.uid, 7)));
        ok(calls.setxattr('dir', DEFAULT, aclFor(BOB.uid, 7)));
        fails(calls.setxattr('file', DEFAULT, aclFor(BOB.uid, 7)), 'EACCES');
      });
      fails(calls.setxattr('file', ACCESS, new Uint8Array(3)), 'EINVAL');
      fails(calls.setxattr('file', ACCESS, aclOf([[ACL_USER_OBJ, 7]])), 'EINVAL');
      ok(calls.lremovexattr('dir', DEFAULT));
      expect(namesOf('dir')).toEqual([]);
    },
  },
];

describeCases(scratch, {
  xattrs: xattrCases,
  ACLs: aclCases,
});
