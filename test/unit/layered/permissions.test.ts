import { expect, test } from 'vitest';
import { limitAcl } from '../../../src/layered/permissions.ts';

const USER_OBJ = 1;
const USER = 2;
const GROUP_OBJ = 4;
const MASK = 0x10;
const OTHER = 0x20;

/** The value of an xattr: version 2, then tag, permissions and id of each entry. */
function acl(...entries: readonly (readonly [tag: number, permissions: number])[]): Uint8Array {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  for (const [i, [tag, permissions]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + i * 8);
    bytes.writeUInt16LE(permissions, 6 + i * 8);
    bytes.writeUInt32LE(0xffff_ffff, 8 + i * 8);
  }
  return new Uint8Array(bytes);
}

test('a new file has the permissions that both its mode and the default ACL give', () => {
  const inherited = acl([USER_OBJ, 7], [USER, 7], [GROUP_OBJ, 5], [MASK, 7], [OTHER, 5]);
  expect(limitAcl(inherited, 0o100640)).toEqual({
    acl: acl([USER_OBJ, 6], [USER, 7], [GROUP_OBJ, 5], [MASK, 4], [OTHER, 0]),
    mode: 0o100640,
  });
  // as from the kernel for creat(…, 0666)
  expect(limitAcl(inherited, 0o100666)).toEqual({
    acl: acl([USER_OBJ, 6], [USER, 7], [GROUP_OBJ, 5], [MASK, 6], [OTHER, 4]),
    mode: 0o100664,
  });
});

test('without a mask the group is limited itself', () => {
  expect(limitAcl(acl([USER_OBJ, 7], [GROUP_OBJ, 5], [OTHER, 0]), 0o40775)).toEqual({
    acl: acl([USER_OBJ, 7], [GROUP_OBJ, 5], [OTHER, 0]),
    mode: 0o40750,
  });
});

test('bytes that are no ACL limit nothing', () => {
  expect(limitAcl(new Uint8Array(3), 0o644)).toBeUndefined();
  expect(limitAcl(new Uint8Array(9), 0o644)).toBeUndefined();
});
