import { describe, expect, test } from 'vitest';
import { flagsOf, helperOptions } from '../../../src/fuse/kernel-mount.ts';

// include/uapi/linux/mount.h
const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_NOATIME = 1024;
const options = { source: '/a,b', allowOther: false, suid: false, dev: false, exec: true, noatime: false };

describe('the flags of mount(2)', () => {
  test('are read-only, nosuid and nodev by default', () => {
    expect(flagsOf(options)).toBe(MS_RDONLY | MS_NOSUID | MS_NODEV);
  });

  test('are as wanted', () => {
    expect(flagsOf({ suid: true, dev: true, exec: true, noatime: false, writable: true })).toBe(0);
    expect(flagsOf({ suid: false, dev: true, exec: false, noatime: true, writable: true })).toBe(
      MS_NOSUID | MS_NOEXEC | MS_NOATIME,
    );
    expect(flagsOf({ suid: true, dev: false, exec: true, noatime: false, writable: false })).toBe(MS_RDONLY | MS_NODEV);
  });
});

describe('the options of fusermount3', () => {
  test('are those of mount(2) as words', () => {
    expect(helperOptions(options)).toBe('ro,default_permissions,subtype=cfs,fsname=/a\\,b,nosuid,nodev');
    expect(helperOptions({ ...options, writable: true, exec: false, noatime: true, allowOther: true })).toBe(
      'rw,default_permissions,subtype=cfs,fsname=/a\\,b,nosuid,nodev,noexec,noatime,allow_other',
    );
  });
});
