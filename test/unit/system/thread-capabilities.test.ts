import {
  chmodSync,
  chownSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { describe, expect, test } from 'vitest';
import { asWriterOf, withoutFsetid } from '../../../src/system/thread-capabilities.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const CAP_FSETID = 1n << 4n;

const effective = (task: string): bigint =>
  BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(readFileSync(`/proc/${task}/status`, 'latin1'))?.[1]}`);

const has = (capabilities: bigint): boolean => (capabilities & CAP_FSETID) !== 0n;
const own = (): bigint => effective('thread-self');
/** Even root may have none in a container. */
const hasCapability = has(own());

test('returns the result of the work, and passes its errors on', () => {
  const before = own();
  expect(withoutFsetid(() => 'result')).toBe('result');
  expect(() =>
    withoutFsetid(() => {
      throw new Error('of the work');
    }),
  ).toThrow('of the work');
  expect(own()).toBe(before);
});

test('the thread does not have the capability during the work, and keeps all others', () => {
  const before = own();
  expect(withoutFsetid(own)).toBe(before & ~CAP_FSETID);
  expect(own()).toBe(before);
});

test('can be nested', () => {
  const before = own();
  const [inner, outer] = withoutFsetid(() => [withoutFsetid(own), own()]);
  expect([inner, outer]).toEqual([before & ~CAP_FSETID, before & ~CAP_FSETID]);
  expect(own()).toBe(before);
});

describe.runIf(hasCapability)('with the capability', () => {
  test('other threads keep it', () => {
    const tasks = (): string[] => readdirSync('/proc/self/task').map((task) => `self/task/${task}`);
    const without = withoutFsetid(() => tasks().filter((task) => !has(effective(task))).length);
    expect(without).toBe(1);
    expect(tasks().length).toBeGreaterThan(1);
  });

  test('a write clears set-id bits during the work, and not before or after', () => {
    writeFileSync(at('program'), '');
    chmodSync(at('program'), 0o6777);
    const mode = (): number => statSync(at('program')).mode & 0o7777;
    const fd = openSync(at('program'), 'r+');
    writeSync(fd, 'as root');
    expect(mode()).toBe(0o6777);
    withoutFsetid(() => writeSync(fd, 'without'));
    expect(mode()).toBe(0o777);
    chmodSync(at('program'), 0o6777);
    writeSync(fd, 'as root');
    expect(mode()).toBe(0o6777);
    closeSync(fd);
  });

  test('as a writer of a file that its group may not execute, the set-group-ID bit stays', () => {
    for (const [mode, after] of [
      [0o6666, 0o2666],
      [0o6676, 0o676],
      [0o644, 0o644],
    ] as const) {
      writeFileSync(at('locked'), '');
      chownSync(at('locked'), 7, 8);
      chmodSync(at('locked'), mode);
      const fd = openSync(at('locked'), 'r+');
      asWriterOf(fd, () => writeSync(fd, 'as a writer'));
      expect((statSync(at('locked')).mode & 0o7777).toString(8)).toBe(after.toString(8));
      closeSync(fd);
      // the thread is in its own group again
      writeFileSync(at('own'), '');
      expect(statSync(at('own')).gid).toBe(process.getegid?.());
      rmSync(at('own'));
    }
  });
});
