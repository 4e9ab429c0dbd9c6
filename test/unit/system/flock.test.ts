import { spawnSync } from 'node:child_process';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { EBADF, errnoOf } from '../../../src/base/errno.ts';
import { reasonOf } from '../../../src/base/error.ts';
import { type FlockMode, type FlockSync, flockOf } from '../../../src/system/flock.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const path = at('locked');
writeFileSync(path, '');

const opened: number[] = [];

function open(): number {
  const fd = openSync(path, 'r');
  opened.push(fd);
  return fd;
}

afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
});

/** Whether another process can take the lock now. */
const available = (mode: 'shared' | 'exclusive'): boolean =>
  spawnSync('flock', ['--nonblock', `--${mode}`, path, 'true']).status === 0;

/** The name of the error that taking the lock throws. */
function refusal(flock: FlockSync, fd: number, mode: FlockMode): string | undefined {
  try {
    flock(fd, mode);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

/** As if node had another version than the one for which the module was compiled. */
function doesNotLoad(): FlockSync {
  throw new Error('compiled against a different Node.js version');
}

describe.each([
  { by: 'fs-ext', flock: flockOf() },
  { by: 'libc', flock: flockOf(doesNotLoad) },
])('flock(2) by $by', ({ flock }) => {
  test('shares a lock, and refuses an exclusive one', () => {
    flock(open(), 'shnb');
    flock(open(), 'shnb');
    expect([available('shared'), available('exclusive')]).toEqual([true, false]);
    expect(refusal(flock, open(), 'exnb')).toBe('EAGAIN');
  });

  test('holds an exclusive lock until its last descriptor is closed', () => {
    const fd = openSync(path, 'r');
    flock(fd, 'exnb');
    expect([available('shared'), available('exclusive')]).toEqual([false, false]);
    expect(refusal(flock, open(), 'shnb')).toBe('EAGAIN');
    closeSync(fd);
    expect(available('exclusive')).toBe(true);
  });

  test('changes the lock of a descriptor', () => {
    const fd = open();
    flock(fd, 'exnb');
    flock(fd, 'shnb');
    expect([available('shared'), available('exclusive')]).toEqual([true, false]);
    flock(fd, 'exnb');
    expect(available('shared')).toBe(false);
  });

  test('reports the error', () => {
    const fd = openSync(path, 'r');
    closeSync(fd);
    expect(refusal(flock, fd, 'shnb')).toBe('EBADF');
    try {
      flock(fd, 'shnb');
    } catch (error) {
      expect({ reason: reasonOf(error), errno: errnoOf(error) }).toEqual({
        reason: 'bad file descriptor',
        errno: EBADF,
      });
    }
    expect.assertions(2);
  });
});
