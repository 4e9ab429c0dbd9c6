import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { CfsError } from '../../../src/base/error.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { lockForWriting } from '../../../src/store/lock.ts';
import { initRepository } from '../../../src/store/open-repository.ts';
import { useScratch } from './scratch.ts';

const at = useScratch();
/** Restored after each test. */
const repository: LocalRepository = initRepository(at('repository'), 'blake3');

afterEach(() => {
  rmSync(repository.lockPath, { recursive: true });
  mkdirSync(repository.temporaryDirectory, { recursive: true });
  writeFileSync(repository.lockPath, '');
});

/** Whether another process can take the lock now. */
const available = (mode: '--shared' | '--exclusive'): boolean =>
  spawnSync('flock', ['--nonblock', mode, repository.lockPath, 'true']).status === 0;

const temporaries = (): string[] => readdirSync(repository.temporaryDirectory);
const leave = (name: string): void => writeFileSync(join(repository.temporaryDirectory, name), 'unfinished');

/** A process that holds the lock until its stdin ends. */
async function holder(mode: '--shared' | '--exclusive'): Promise<ChildProcess> {
  const child = spawn('flock', [mode, repository.lockPath, 'sh', '-c', 'echo held; cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
  return child;
}

async function release(child: ChildProcess): Promise<void> {
  child.stdin?.end();
  await once(child, 'close');
}

describe('lockForWriting()', () => {
  test('keeps out deleters, not writers, until it is released', async () => {
    const lock = await lockForWriting(repository);
    expect(available('--exclusive')).toBe(false);
    expect(available('--shared')).toBe(true);
    lock.release();
    expect(available('--exclusive')).toBe(true);
  });

  test('is shared by two writers, and ends with the last of them', async () => {
    const first = await lockForWriting(repository);
    const second = await lockForWriting(repository);
    first.release();
    expect(available('--exclusive')).toBe(false);
    second.release();
    expect(available('--exclusive')).toBe(true);
  });

  test('removes the files of killed writers if no other process writes', async () => {
    leave('0123456789abcdef-0-1');
    leave('456789abcdef0123-1-0');
    (await lockForWriting(repository)).release();
    expect(temporaries()).toEqual([]);
  });

  test('keeps the files of an active writer', async () => {
    const other = await holder('--shared');
    leave('0123456789abcdef-0-1');
    (await lockForWriting(repository)).release();
    expect(temporaries()).toEqual(['0123456789abcdef-0-1']);
    await release(other);
    (await lockForWriting(repository)).release();
    expect(temporaries()).toEqual([]);
  });

  test('keeps the files of another writer of this process', async () => {
    const first = await lockForWriting(repository);
    leave('0123456789abcdef-0-1');
    (await lockForWriting(repository)).release();
    expect(temporaries()).toEqual(['0123456789abcdef-0-1']);
    first.release();
  });

  test('waits while another process deletes', async () => {
    const other = await holder('--exclusive');
    let done = false;
    const waiting = lockForWriting(repository).finally(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(done).toBe(false);
    await release(other);
    (await waiting).release();
  });

  test('reports after a second, once, the process that it waits for', async () => {
    const other = await holder('--exclusive');
    const lines: string[] = [];
    const waiting = lockForWriting(repository, undefined, (line) => void lines.push(line));
    while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(new RegExp(`^waiting for ${repository.lockPath}, which process \\d+ has locked$`));
    await release(other);
    (await waiting).release();
  });

  test('stops waiting on request, and holds no lock then', async () => {
    const other = await holder('--exclusive');
    const stop = new AbortController();
    const waiting = lockForWriting(repository, stop.signal);
    stop.abort(new Error('interrupted'));
    await expect(waiting).rejects.toThrow('interrupted');
    await release(other);
    expect(available('--exclusive')).toBe(true);
  });

  test('makes the lock file if it is missing', async () => {
    unlinkSync(repository.lockPath);
    const lock = await lockForWriting(repository);
    expect(available('--exclusive')).toBe(false);
    lock.release();
  });

  test('names repository and reason if the lock cannot be opened', async () => {
    unlinkSync(repository.lockPath);
    mkdirSync(repository.lockPath);
    const error = await lockForWriting(repository).then(
      () => {
        throw new Error('it did not throw');
      },
      (e: CfsError) => e,
    );
    expect(error.kind).toBe('store');
    expect(error.message).toBe(`Cannot write to repository ${repository.path}: lock: is a directory`);
  });

  test('names tmp/ if that is missing, and holds no lock then', async () => {
    rmSync(repository.temporaryDirectory, { recursive: true });
    const error = await lockForWriting(repository).then(
      () => {
        throw new Error('it did not throw');
      },
      (e: CfsError) => e,
    );
    expect(error.kind).toBe('store');
    expect(error.message).toContain(repository.temporaryDirectory);
    expect(available('--exclusive')).toBe(true);
  });
});
