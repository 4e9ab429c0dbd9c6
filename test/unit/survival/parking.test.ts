import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { isErrno } from '../../../src/base/errno.ts';
import {
  lookAtParked,
  lookAtReplaced,
  type ParkedFiles,
  park,
  replaceParked,
  unpark,
} from '../../../src/survival/parking.ts';
import {
  MOST_DESCRIPTORS,
  receiveDescriptors,
  SOCK_DGRAM,
  sendDescriptors,
  socketpair,
} from '../../../src/system/descriptor-passing.ts';
import { bundleOf } from '../../support/bundle.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();

/** The open descriptors of this process; other tests of the file have closed theirs. */
function openFiles(): string[] {
  // the list includes the directory that is being read, whose descriptor is closed by then
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      fstatSync(Number(fd));
      return true;
    } catch {
      return false;
    }
  });
}

let before: string[];
let parkedEnds: (readonly [number, number])[];
let opened: number[];

beforeEach(() => {
  parkedEnds = [];
  opened = [];
  park({ value: 0, fds: [] }).forEach(closeSync); // files that the first call opens stay open
  before = openFiles();
});

afterEach(() => {
  for (const ends of parkedEnds) ends.forEach(closeSync);
  opened.forEach(closeSync);
  expect(openFiles()).toEqual(before);
});

/** An open file with this content, whose name is removed. */
function fileOf(content: string): number {
  writeFileSync(at('file'), content);
  const fd = openSync(at('file'), 'r');
  unlinkSync(at('file'));
  opened.push(fd);
  return fd;
}

function parked(files: ParkedFiles): number {
  const ends = park(files);
  parkedEnds.push(ends);
  return ends[1];
}

/** The parked value, with the contents of the files in place of descriptors, which are closed. */
function look(end: number): unknown {
  const found = lookAtParked(end);
  if (found === undefined) return undefined;
  const contents = found.fds.map((fd) => readFileSync(`/proc/self/fd/${fd}`, 'utf8'));
  found.fds.forEach(closeSync);
  return { value: found.value, contents };
}

/** As `look`, for the next server. */
function lookAfterReplacing(ends: readonly [number, number]): unknown {
  const found = lookAtReplaced(ends);
  const contents = found?.fds.map((fd) => readFileSync(`/proc/self/fd/${fd}`, 'utf8'));
  found?.fds.forEach(closeSync);
  return found && { value: found.value, contents };
}

describe('parked files that are replaced', () => {
  const OLD = { value: 1, contents: ['old'] };
  const NEW = { value: 2, contents: ['new'] };
  const parkOld = (): readonly [number, number] => {
    parked({ value: 1, fds: [fileOf('old')] });
    return parkedEnds.at(-1) as readonly [number, number];
  };
  const message = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

  test('are the new ones, again and again, also for servers that look at the first queue only', () => {
    const ends = parkOld();
    for (let i = 0; i < 3; i++) {
      replaceParked(ends, { value: 2, fds: [fileOf('new')] });
      expect([lookAfterReplacing(ends), look(ends[1])]).toEqual([NEW, NEW]);
    }
    unpark(ends[1]);
    expect(lookAtReplaced(ends)).toBeUndefined();
  });

  test('are the old ones if the replacing process is killed before it decides', () => {
    const ends = parkOld();
    sendDescriptors(ends[1], message(2), [fileOf('new')]);
    expect(lookAfterReplacing(ends)).toEqual(OLD);
    // that has removed the others
    unpark(ends[1]);
    expect(lookAtReplaced(ends)).toBeUndefined();
  });

  test('are the new ones if it is killed when it has decided', () => {
    const ends = parkOld();
    sendDescriptors(ends[1], message(2), [fileOf('new')]);
    unpark(ends[1]);
    expect([lookAfterReplacing(ends), lookAfterReplacing(ends)]).toEqual([NEW, NEW]);
    // killed once more: both queues have them
    sendDescriptors(ends[0], message(2), [fileOf('new')]);
    expect(lookAfterReplacing(ends)).toEqual(NEW);
    replaceParked(ends, { value: 1, fds: [fileOf('old')] });
    expect([lookAfterReplacing(ends), look(ends[1])]).toEqual([OLD, OLD]);
  });

  test('stay if the new ones cannot be sent', () => {
    const ends = parkOld();
    expect(() => replaceParked(ends, { value: 2, fds: [1_000_000] })).toThrow('open files cannot be kept');
    expect(() => replaceParked(ends, { value: 'x'.repeat(200_000), fds: [] })).toThrow('is too much');
    expect(lookAfterReplacing(ends)).toEqual(OLD);
  });
});

const isCloseOnExec = (fd: number): boolean =>
  (Number.parseInt(/^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8) &
    0o2000000) !==
  0;

describe('parked files', () => {
  test('can be read again and again, after their parker and earlier readers have closed them', () => {
    const [one, two] = [fileOf('one'), fileOf('two')];
    const end = parked({ value: { name: 'ü', list: [1, null] }, fds: [one, two, one] });
    for (const fd of opened.splice(0)) closeSync(fd);
    const found = { value: { name: 'ü', list: [1, null] }, contents: ['one', 'two', 'one'] };
    expect([look(end), look(end), look(end)]).toEqual([found, found, found]);
  });

  test('can be read by several processes at the same time', () => {
    const end = parked({ value: 1, fds: [fileOf('one')] });
    const [first, second] = [lookAtParked(end), lookAtParked(end)] as [ParkedFiles, ParkedFiles];
    expect(first.fds).not.toEqual(second.fds);
    for (const { fds } of [first, second]) {
      expect(readFileSync(`/proc/self/fd/${fds[0]}`, 'utf8')).toBe('one');
      fds.forEach(closeSync);
    }
  });

  test('are gone after they were removed, and removing them twice does nothing', () => {
    const end = parked({ value: 1, fds: [fileOf('one')] });
    unpark(end);
    expect(lookAtParked(end)).toBeUndefined();
    unpark(end);
    expect(lookAtParked(end)).toBeUndefined();
  });

  test('may be none', () => {
    expect(look(parked({ value: [], fds: [] }))).toEqual({ value: [], contents: [] });
  });

  test('and the ends of their socket are closed when this process starts another', () => {
    const end = parked({ value: 1, fds: [fileOf('one')] });
    const { fds } = lookAtParked(end) as ParkedFiles;
    expect([...fds, ...(parkedEnds[0] as readonly number[])].map(isCloseOnExec)).toEqual([true, true, true]);
    fds.forEach(closeSync);
  });

  test('may be as many as the kernel sends at once, and no more', () => {
    const fd = fileOf('one');
    const all = Array.from({ length: MOST_DESCRIPTORS }, () => fd);
    const found = lookAtParked(parked({ value: 1, fds: all })) as ParkedFiles;
    expect(found.fds).toHaveLength(MOST_DESCRIPTORS);
    found.fds.forEach(closeSync);
    expect(() => park({ value: 1, fds: [...all, fd] })).toThrow(`a mount of ${MOST_DESCRIPTORS + 1} open files`);
  });

  test('may have a long description, up to a limit', () => {
    const value = 'x'.repeat(149_998);
    expect(look(parked({ value, fds: [fileOf('one')] }))).toEqual({ value, contents: ['one'] });
    expect(() => park({ value: `${value}x`, fds: [] })).toThrow('150001 bytes of settings is too much');
  });

  test('that cannot be sent leave no socket behind', () => {
    expect(() => park({ value: 1, fds: [fileOf('one'), 1_000_000] })).toThrow('open files cannot be kept');
  });

  test("of another program's message are closed", () => {
    const pair = socketpair(SOCK_DGRAM);
    if (isErrno(pair)) throw new Error(`socketpair() gave ${pair}`);
    parkedEnds.push(pair);
    expect(sendDescriptors(pair[0], Buffer.from('{"value":'), [fileOf('one')])).toBe(0);
    expect(() => lookAtParked(pair[1])).toThrow("the mount's open files are missing");
  });

  test('of a message that is longer than the buffer are closed', () => {
    const end = parked({ value: 'long', fds: [fileOf('one')] });
    expect(receiveDescriptors(end, 3, { peek: true })).toBe(-90);
    expect(look(end)).toEqual({ value: 'long', contents: ['one'] });
  });
});

describe('parked files in several processes', () => {
  beforeAll(async () => {
    writeFileSync(at('looker.mjs'), await bundleOf(`${import.meta.dirname}/looker.ts`));
  });

  /** A process that looks all the time; resolves when it has begun. */
  async function looker(end: number, before: readonly string[] = []): Promise<{ end: () => Promise<number> }> {
    const command = [...before, process.execPath, at('looker.mjs')];
    const child: ChildProcess = spawn(command[0] as string, command.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe', end],
    });
    let errors = '';
    child.stderr?.on('data', (text) => {
      errors += text;
    });
    const lines: string[] = [];
    const ended = once(child, 'close');
    const began = new Promise<void>((resolve) => {
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        lines.push(line);
        resolve();
      });
    });
    await Promise.race([began, ended]);
    return {
      end: async () => {
        child.stdin?.end();
        await ended;
        if (child.exitCode !== 0) throw new Error(errors);
        return (JSON.parse(lines.at(-1) as string) as { looks: number }).looks;
      },
    };
  }

  test('are read whole by each, at the same time', async () => {
    const end = parked({ value: ['one', 'two'], fds: [fileOf('one'), fileOf('two')] });
    const lookers = await Promise.all([looker(end), looker(end)]);
    for (let i = 0; i < 200; i++) expect(look(end)).toEqual({ value: ['one', 'two'], contents: ['one', 'two'] });
    for (const each of lookers) expect(await each.end()).toBeGreaterThan(0);
  });

  test('that are removed while others read are read whole or not at all', async () => {
    const end = parked({ value: ['one'], fds: [fileOf('one')] });
    const lookers = await Promise.all([looker(end), looker(end)]);
    unpark(end);
    for (const each of lookers) expect(await each.end()).toBeGreaterThan(0);
    expect(lookAtParked(end)).toBeUndefined();
  });

  test('are not read in part if a process may not open as many', async () => {
    const fds = Array.from({ length: 100 }, () => fileOf('one'));
    const end = parked({ value: fds.map(() => 'one'), fds });
    const short = await looker(end, ['sh', '-c', 'ulimit -n 60; exec "$@"', 'sh']);
    await expect(short.end()).rejects.toThrow("the mount's open files are missing: too many open files");
  });
});
