/** Names of xattrs that a mount reserves for itself. */
import { describe, expect, it } from 'vitest';
import { isPrivateXattr } from '../../../src/base/private-xattrs.ts';

describe('isPrivateXattr()', () => {
  it.each(['trusted.cfs.image', 'trusted.cfs.', 'user.cfs.file', 'user.cfs.\xff', 'trusted.cfs.source.0.fh'])(
    'is true for %s',
    (name) => {
      expect(isPrivateXattr(Buffer.from(name, 'latin1'))).toBe(true);
    },
  );

  it.each([
    '',
    't',
    'u',
    'trusted.',
    'trusted.cfs',
    'trusted.cfsx.y',
    'user.cfs',
    'user.cfs_x',
    'user.Cfs.x',
    'user.trusted.cfs.x',
    'security.cfs.x',
    'system.posix_acl_access',
    'trusted.overlay.opaque',
    '\xff',
  ])('is false for "%s"', (name) => {
    expect(isPrivateXattr(Buffer.from(name, 'latin1'))).toBe(false);
  });
});
