/** Times of contents that change, in a mount in which the kernel collects writes and sets the times itself. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, utimesSync } from 'node:fs';
import { expect, test } from 'vitest';
import { isErrno } from '../../../src/base/errno.ts';
import { KEPT_TIMES_WORDS, KeptTimes } from '../../../src/layered/kept-times.ts';
import { file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { ownTree, useLayers, writer } from './layered-fixture.ts';

const at = useScratch();
const { layered } = useLayers(ownTree({ '/f': file('content of f') }), at);
const TIME = { low: 1000, high: 0, nsec: 7 };
const { O_CREAT, O_TRUNC, O_WRONLY } = constants;

test.each([true, false])('a change of the content keeps the time if the kernel sets it: %s', (collects) => {
  const one = layered({ collects });
  const expectTime = (): void => {
    const { mtimeLow, mtimeNsec } = one.stat('/new');
    expect(mtimeLow === TIME.low && mtimeNsec === TIME.nsec).toBe(collects);
    one.change('/new', { mtime: TIME });
  };
  const ino = one.write('/new', 'content');
  one.change('/new', { mtime: TIME });
  expect(one.fs.write(ino, 3, Buffer.from('more'), true)).toBe(4);
  expectTime();
  expect(one.fs.fallocate(ino, 0, 0, 5000)).toBe(0);
  expectTime();
  expect(one.fs.copyRange(one.ino('/f'), 0, ino, 100, 5)).toBe(5);
  expectTime();
  one.overwrite('/new', '', O_WRONLY | O_TRUNC);
  expectTime();
  expect(one.stat('/new').size).toBe(0);
  // the kernel takes this file for a new one, and the time from the answer
  one.overwrite('/new', '', O_WRONLY | O_TRUNC | O_CREAT);
  expect(one.stat('/new').mtimeLow).toBeGreaterThan(1000);
  // a size comes with its time, and keeps none
  one.change('/new', { mtime: TIME });
  expect(isErrno(one.fs.setattr(ino, { size: 9, killPrivileges: false }, writer(), one.out))).toBe(false);
  expect(one.out.mtimeLow).toBeGreaterThan(1000);
});

test('a time that is set while the content changes outlives the changes, in any order', () => {
  const fd = openSync(at('file'), 'w+');
  const seconds = (): number => fstatSync(fd).mtimeMs / 1000;
  const words = new Int32Array(KEPT_TIMES_WORDS);
  const [one, other] = [new KeptTimes(words), new KeptTimes(words)];
  utimesSync(at('file'), 1000, 1000);
  const first = one.begin(7, fd) as number;
  ftruncateSync(fd, 10);
  // this one finds the time of the first change in the file, and the kept one in memory
  const second = other.begin(7, fd) as number;
  one.end(first, fd);
  expect(seconds()).toBe(1000);
  utimesSync(at('file'), 2000, 2000);
  one.changed(8, fd, Uint8Array.of());
  other.changed(7, fd, Uint8Array.of());
  ftruncateSync(fd, 20);
  const third = one.begin(7, fd) as number;
  other.end(second, fd);
  ftruncateSync(fd, 30);
  one.end(third, fd);
  expect(seconds()).toBe(2000);
  expect([...words].every((word, index) => word === 0 || (index - 1) % 5 > 1)).toBe(true);
  closeSync(fd);
});
