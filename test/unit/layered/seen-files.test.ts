/** What a layer remembers of files, and when it asks the kernel whether it knows an inode. */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ENODATA, EOPNOTSUPP } from '../../../src/base/errno.ts';
import { setXattrAt } from '../../../src/system/xattr-calls.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file, treeOf } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { LayeredTree, type LayerOptions, writer } from './layered-fixture.ts';

const at = useScratch();
const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const tree = treeOf(
  { '/bin': directory, '/bin/tool': file('tool') },
  { '/': { ...own, mode: 0o755 }, '/bin': { ...own, mode: 0o755 }, '/bin/tool': { ...own, mode: 0o644 } },
);
const CAPABILITIES = Buffer.from('security.capability');
/** struct vfs_cap_data, revision 2: CAP_CHOWN */
const VALUE = Buffer.from('0000000201000000000000000000000000000000', 'hex');
const LABEL = Buffer.from('security.selinux');

let count = 0;
const open: LayeredTree[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

function layered(options?: LayerOptions): LayeredTree & { readonly dir: string } {
  const dir = at(`layer-${++count}`);
  const made = new LayeredTree(tree, dir, options);
  open.push(made);
  return Object.assign(made, { dir });
}

describe.runIf(isRoot)('capabilities', () => {
  test('of a new file are none until they are set', () => {
    const one = layered();
    const ino = one.write('/bin/new', 'x');
    expect(one.fs.getxattr(ino, CAPABILITIES)).toBe(ENODATA);
    expect(one.fs.setxattr(ino, CAPABILITIES, VALUE, 0, false, writer())).toBe(0);
    expect(one.fs.getxattr(ino, CAPABILITIES)).toEqual(Uint8Array.from(VALUE));
    expect(one.fs.removexattr(ino, CAPABILITIES, writer())).toBe(0);
    expect(one.fs.getxattr(ino, CAPABILITIES)).toBe(ENODATA);
  });

  test('that were set between two mounts are seen', () => {
    const one = layered();
    const ino = one.write('/bin/new', 'x');
    expect(one.fs.getxattr(ino, CAPABILITIES)).toBe(ENODATA);
    one.close();
    open.pop();
    const fd = openSync(join(one.dir, 'u/bin/new'), 'r');
    expect(setXattrAt(fd, Uint8Array.of(), CAPABILITIES, VALUE, 0)).toBe(0);
    closeSync(fd);
    const next = new LayeredTree(tree, one.dir, {}, one.table);
    open.push(next);
    expect(next.fs.getxattr(ino, CAPABILITIES)).toEqual(Uint8Array.from(VALUE));
  });

  test('are removed by a change of the owner', () => {
    const one = layered();
    const ino = one.write('/bin/new', 'x');
    one.fs.setxattr(ino, CAPABILITIES, VALUE, 0, false, writer());
    one.change('/bin/new', { mode: 0o6755 });
    expect(one.change('/bin/new', { uid: 7, killPrivileges: true }).mode & 0o7777).toBe(0o755);
    expect(one.fs.getxattr(ino, CAPABILITIES)).toBe(ENODATA);
  });
});

describe.runIf(isRoot)('SELinux labels', () => {
  test('are not supported until a file gets one', () => {
    const one = layered();
    const ino = one.write('/bin/new', 'x');
    const lower = one.ino('/bin/tool');
    expect([ino, lower].map((any) => one.fs.getxattr(any, LABEL))).toEqual([EOPNOTSUPP, EOPNOTSUPP]);
    expect(one.fs.setxattr(ino, LABEL, Buffer.from('label'), 0, false, writer())).toBe(0);
    expect(one.fs.getxattr(ino, LABEL)).toEqual(Uint8Array.from(Buffer.from('label')));
    expect(one.fs.getxattr(lower, LABEL)).toBe(ENODATA);
  });

  test('are supported if the upper directory has one', () => {
    const one = layered();
    const ino = one.write('/bin/new', 'x');
    one.close();
    open.pop();
    const fd = openSync(join(one.dir, 'u'), 'r');
    expect(setXattrAt(fd, Uint8Array.of(), LABEL, Buffer.from('label'), 0)).toBe(0);
    closeSync(fd);
    const next = new LayeredTree(tree, one.dir);
    open.push(next);
    expect(next.fs.getxattr(next.ino('/bin/new'), LABEL)).toBe(ENODATA);
    expect(next.ino('/bin/new')).toBe(ino);
  });
});

test('an ACL that is not there is ENODATA, whether or not any file has one', () => {
  const one = layered();
  const name = Buffer.from('system.posix_acl_access');
  expect(one.fs.getxattr(one.ino('/bin/tool'), name)).toBe(ENODATA);
  expect(one.fs.getxattr(one.write('/bin/new', ''), name)).toBe(ENODATA);
});

test('opening copies nothing but a file of the image that is opened for writing', () => {
  const one = layered();
  const lower = one.ino('/bin/tool');
  const atOnce = (ino: number): boolean[] => [0, 1, 2, 0o1000].map((flags) => one.fs.opensAtOnce(ino, flags));
  expect(atOnce(lower)).toEqual([true, false, false, false]);
  expect(atOnce(one.write('/bin/new', 'x'))).toEqual([true, true, true, true]);
  one.overwrite('/bin/tool', 'x');
  expect(atOnce(lower)).toEqual([true, true, true, true]);
});

describe('the last release of a file', () => {
  /** A layer that counts its questions to a kernel that knows what `known` says. */
  function asked(): { one: LayeredTree & { readonly dir: string }; kernel: { known: boolean; questions: number } } {
    const kernel = { known: true, questions: 0 };
    const isKnown = (): boolean => {
      kernel.questions++;
      return kernel.known;
    };
    return { one: layered({ isKnown }), kernel };
  }

  test('asks the kernel nothing: it would drop what it knows of the inode', () => {
    const { one, kernel } = asked();
    const lower = one.ino('/bin/tool');
    const row = one.fs.openTable.find(lower);
    const made = one.write('/bin/new', 'x');
    // copying the directory up has notified the kernel
    kernel.questions = 0;
    one.fs.closed(lower);
    one.fs.closed(made);
    expect(kernel.questions).toBe(0);
    expect(one.table.find(lower)).toBe(row);
    kernel.known = false;
    one.fs.forget(lower);
    expect(one.table.find(lower)).toBe(-1);
  });

  test('ends a file of the image that the kernel forgot before', () => {
    const { one, kernel } = asked();
    const lower = one.ino('/bin/tool');
    const row = one.fs.openTable.find(lower);
    one.fs.openTable.addOpens(row, 1);
    kernel.known = false;
    one.fs.forget(lower);
    expect(one.table.find(lower)).toBe(row);
    one.fs.openTable.addOpens(row, -1);
    one.fs.closed(lower);
    expect(one.table.find(lower)).toBe(-1);
  });

  test('deletes an unlinked file that the kernel forgot before', () => {
    const { one, kernel } = asked();
    const ino = one.write('/bin/new', 'x');
    one.fs.openTable.addOpens(one.table.find(ino), 1);
    one.unlink('/bin/new');
    kernel.known = false;
    one.fs.forget(ino);
    expect(readdirSync(join(one.dir, 'w/cfs/orphans'))).toHaveLength(1);
    one.fs.openTable.addOpens(one.table.find(ino), -1);
    one.fs.closed(ino);
    expect(readdirSync(join(one.dir, 'w/cfs/orphans'))).toEqual([]);
  });
});
