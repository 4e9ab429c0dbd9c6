import { expect, test } from 'vitest';
import type { CfsError } from '../../../src/base/error.ts';
import { requireVerity, type VerityMount } from '../../../src/mount/verity-requirement.ts';

const MOUNT: VerityMount = { image: '/a.cfs', hash: 'fsverity-sha256', repositories: ['/one', '/two'] };

function refusal(mount: VerityMount, mayHave: (directory: string) => boolean): CfsError {
  try {
    requireVerity(mount, mayHave);
  } catch (error) {
    return error as CfsError;
  }
  throw new Error('it was not refused');
}

test('requireVerity() succeeds if one repository may have sealed objects', () => {
  requireVerity(MOUNT, (directory) => directory === '/two/objects');
});

test('requireVerity() fails if none can', () => {
  const { kind, message, hint } = refusal(MOUNT, () => false);
  expect(kind).toBe('store');
  expect(message).toContain('/one, /two: the file system has no fs-verity');
  expect(hint).toContain('Take verify=auto');
});

test('requireVerity() fails for an image that names its objects by BLAKE3', () => {
  const { kind, hint } = refusal({ ...MOUNT, hash: 'blake3' }, () => true);
  expect(kind).toBe('image');
  expect(hint).toContain('Pack it with `hash` fsverity-sha256');
});

test('requireVerity() succeeds for an image that needs no objects', () => {
  requireVerity({ ...MOUNT, hash: 'blake3', repositories: [] }, () => false);
});
