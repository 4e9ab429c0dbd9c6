/** Refusals of cfs-mount: the message, the exit status, the JSON object, and that nothing is left behind. */
import { chmodSync, cpSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { withHint } from '../../src/base/error.ts';
import { CHECKSUM_SIZE } from '../../src/image/image-parts.ts';
import { mknod } from '../support/libc.ts';
import { flipBit } from './damage.ts';
import { type MountSettings, useScratch } from './harness.ts';
import { Place } from './run.ts';
import { mountedAt, processesNaming, until } from './system.ts';

const scratch = useScratch();
const USAGE = 1;
const MOUNT = 32;

let image: string;
let id: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'x'.repeat(1000));
  for (let i = 0; i < 50; i++) writeFileSync(join(source, `file-${i}`), `${i}`);
  const packed = await scratch.pack(source);
  image = packed.image;
  id = packed.id;
});

/**
 * A mount that must fail with `status`, and leave nothing. Returns the message and its hint, which must be the same in
 * JSON.
 */
async function failure(status: number, path: string, settings: MountSettings = {}): Promise<string> {
  const at = settings.at ?? scratch.directory('mnt');
  const before = mountedAt(at);
  const processes = processesNaming(at).length;
  const outcome = await scratch.tryMount(path, { ...settings, at });
  expect(outcome.status, outcome.stderr).toBe(status);
  const { error } = JSON.parse(outcome.stdout) as {
    error: { kind: string; message: string; hint?: string; status: number };
  };
  expect(error.status).toBe(status);
  const text = withHint(error.message, error.hint);
  expect(outcome.stderr).toBe(`cfs-mount: ${text}\n`);
  expect(mountedAt(at)).toEqual(before);
  await until('the daemon has given up', () => processesNaming(at).length === processes);
  return text;
}

describe('cfs-mount refuses a mount point', () => {
  test('that is missing', async () => {
    const at = scratch.at('none');
    expect(await failure(MOUNT, image, { at })).toBe(`Cannot mount on ${at}: no such file or directory`);
  });

  test('that is a file, or below one', async () => {
    const file = scratch.at('a file');
    writeFileSync(file, '');
    expect(await failure(MOUNT, image, { at: file })).toContain('not a directory');
    expect(await failure(MOUNT, image, { at: join(file, 'x') })).toContain('not a directory');
  });

  test('that is a link to nothing', async () => {
    symlinkSync('nothing', scratch.at('dangling'));
    expect(await failure(MOUNT, image, { at: scratch.at('dangling') })).toContain('no such file or directory');
  });

  test('that is not empty, without nonempty', async () => {
    const at = scratch.directory('full');
    writeFileSync(join(at, '.hidden'), '');
    expect(await failure(MOUNT, image, { at })).toMatch(/not empty.*nonempty/);
    const mounted = await scratch.mount(image, { at, words: ['nonempty'] });
    expect(readFileSync(mounted.at('file-7'), 'utf8')).toBe('7');
    await mounted.unmount();
    expect(readFileSync(join(at, '.hidden'), 'utf8')).toBe('');
  });

  test('that has a mount already, without nonempty', async () => {
    const first = await scratch.mount(image);
    const message = await failure(MOUNT, image, { at: first.path });
    expect(message).toContain(`${image} (fuse.cfs) is mounted there already`);
    const over = await scratch.mount(image, { at: first.path, words: ['nonempty'] });
    await over.unmount();
    expect(readFileSync(first.at('file-1'), 'utf8')).toBe('1');
  });

  test('with a dead mount, and names the remedy', async () => {
    const dead = await scratch.mount(image, { words: ['restart=off'] });
    process.kill(dead.pid, 'SIGKILL');
    await until('the mount is dead', () => {
      try {
        return readFileSync(dead.at('file-1')) === undefined;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'ENOTCONN';
      }
    });
    expect(await failure(MOUNT, image, { at: dead.path })).toContain(`'umount ${dead.path}' removes it`);
    await dead.unmount();
    await (await scratch.mount(image, { at: dead.path })).unmount();
  });
});

describe('cfs-mount refuses an image', () => {
  const make = (name: string, content: Uint8Array | string): string => {
    writeFileSync(scratch.at(name), content);
    return scratch.at(name);
  };

  test('that is missing', async () => {
    const path = scratch.at('none.cfs');
    expect(await failure(MOUNT, path)).toBe(`Cannot read image ${path}: no such file or directory`);
  });

  test('that is not a file', async () => {
    expect(await failure(MOUNT, scratch.directory('a directory'))).toContain('is a directory');
    mknod(scratch.at('fifo'), 0o010644);
    expect(await failure(MOUNT, scratch.at('fifo'))).toContain('not a regular file');
    expect(await failure(MOUNT, '/dev/zero')).toContain('not a regular file');
  });

  test('that has another format', async () => {
    expect(await failure(MOUNT, make('empty.cfs', ''))).toContain('empty');
    for (const content of ['#!/bin/sh\n', '{"a": 1}', Buffer.alloc(100_000), readFileSync('/bin/true')]) {
      expect(await failure(MOUNT, make('garbage.cfs', content))).toMatch(/^Cannot read image .*garbage\.cfs: ./);
    }
  });

  test('that is cut off at any place', async () => {
    const whole = readFileSync(image);
    const lengths = [1, 3, 4, 100, whole.length >> 1, whole.length - 1];
    const messages = lengths.map((length) => failure(MOUNT, make(`cut-${length}.cfs`, whole.subarray(0, length))));
    for (const message of await Promise.all(messages)) expect(message).toMatch(/^Cannot read image .*cut-/);
  });

  test('that is followed by more bytes', async () => {
    const longer = make('longer.cfs', Buffer.concat([readFileSync(image), Buffer.from([0])]));
    expect(await failure(MOUNT, longer)).toMatch(/^Cannot read image /);
  });

  test.each([
    ['is given', true],
    ['is not', false],
  ])('with a flipped bit at any place, if its id %s', async (_, isGiven) => {
    const { length } = readFileSync(image);
    const attempts = [0, 10, length >> 1, length - CHECKSUM_SIZE - 1, length - CHECKSUM_SIZE].map((offset) => {
      const path = make(`flipped-${offset}.cfs`, readFileSync(image));
      flipBit(path, offset);
      return failure(MOUNT, path, isGiven ? { words: [`digest=${id}`] } : {});
    });
    for (const message of await Promise.all(attempts)) expect(message).toContain('the file is damaged: ');
  });

  test('with a flipped bit in the magic of its checksum', async () => {
    const path = make('flipped-magic.cfs', readFileSync(image));
    flipBit(path, readFileSync(path).length - 1);
    // then nothing shows that there was a checksum: the whole file is read as a manifest
    expect(await failure(MOUNT, path, { words: [`digest=${id}`] })).toMatch(/its id is [0-9a-f]{64}, not /);
    expect(await failure(MOUNT, path)).toMatch(/^Cannot read image /);
  });

  test('of another id than the one given', async () => {
    const other = 'ab'.repeat(32);
    expect(await failure(MOUNT, image, { words: [`digest=${other}`] })).toBe(
      `Cannot read image ${image}: its id is ${id}, not ${other} as required`,
    );
    const mounted = await scratch.mount(image, { words: [`digest=${id.toUpperCase()}`] });
    expect(mounted.report.id).toBe(id);
  });
});

describe('cfs-mount refuses a store', () => {
  const withMeta = (name: string, change: (meta: Record<string, unknown>) => unknown): string => {
    const store = scratch.at(name);
    cpSync(scratch.store, store, { recursive: true });
    const meta = JSON.parse(readFileSync(join(store, 'meta.json'), 'utf8')) as Record<string, unknown>;
    writeFileSync(join(store, 'meta.json'), JSON.stringify(change(meta)));
    return store;
  };

  test('that is missing', async () => {
    expect(await failure(MOUNT, image, { repos: [scratch.at('none')] })).toContain(`${scratch.at('none')}`);
  });

  test('that is a file, an empty directory or another program’s', async () => {
    const file = scratch.at('store file');
    writeFileSync(file, '');
    const foreign = withMeta('foreign', () => ({ format: 'other', version: 1 }));
    for (const repo of [file, scratch.directory('empty'), foreign]) {
      expect(await failure(MOUNT, image, { repos: [repo] })).toContain(repo);
    }
  });

  test('with a meta.json that is not JSON, or cut off', async () => {
    const store = withMeta('no json', () => null);
    expect(await failure(MOUNT, image, { repos: [store] })).toContain('meta.json');
    truncateSync(join(store, 'meta.json'), 2);
    expect(await failure(MOUNT, image, { repos: [store] })).toContain('meta.json is not JSON');
  });

  test('of another version', async () => {
    const store = withMeta('version 2', (meta) => ({ ...meta, version: 2 }));
    expect(await failure(MOUNT, image, { repos: [store] })).toMatch(/version 2.*version 1/);
  });

  test('of another hash, at any place in the list', async () => {
    const store = withMeta('other hash', (meta) => ({ ...meta, hash: 'fsverity-sha256' }));
    const message = await failure(MOUNT, image, { repos: [scratch.store, store] });
    expect(message).toContain(store);
    expect(message).toMatch(/fsverity-sha256.*blake3/);
  });

  test('that an ordinary user may not read', async () => {
    const store = withMeta('closed', (meta) => meta);
    chmodSync(join(store, 'meta.json'), 0o600);
    const place = await scratch.namespaceOfNobody();
    expect(await failure(MOUNT, image, { repos: [store], place })).toContain('permission denied');
  });
});

describe('cfs-mount refuses a command line', () => {
  test.each([
    ['nonsense', /unknown mount option "nonsense"/],
    ['nonsense=1', /unknown mount option "nonsense/],
    ['verify=sometimes', /verify=/],
    ['driver=windows', /driver=/],
    ['threads=0', /threads=/],
    ['threads=many', /threads=/],
    ['digest=abc', /digest=/],
    ['digest', /digest/],
    ['suid=1', /suid/],
  ])('with the mount word %s', async (word, message) => {
    expect(await failure(USAGE, image, { words: ['ro', word] })).toMatch(message);
  });

  test('with an unknown option, and with too few or too many arguments', async () => {
    const mnt = scratch.directory('mnt');
    for (const args of [['--frobnicate', image, mnt], [image], [], [image, mnt, 'third']]) {
      const { status, stdout, stderr } = await scratch.tool('cfs-mount', args);
      expect({ status, stdout }).toEqual({ status: USAGE, stdout: '' });
      expect(stderr).toMatch(/^cfs-mount: .*\n.*cfs-mount --help/s);
      expect(stderr).not.toContain('\\x0a');
    }
  });

  test('and shows help on request', async () => {
    const help = await scratch.tool('cfs-mount', ['--help']);
    expect([help.status, help.stderr]).toEqual([0, '']);
    expect(help.stdout).toMatch(/Examples:.*digest=ID/s);
    const { stdout } = await scratch.tool('cfs-mount', ['--version']);
    expect(stdout).toMatch(/^cfs-mount \d+\.\d+\.\d+\nnode /);
  });
});

describe('cfs-mount names the remedy', () => {
  /** Mounts in a namespace after running a shell script in it with `argument`. */
  async function failureAfter(place: Place, script: string, argument: string): Promise<string> {
    const prefix = [...place.prefix, 'sh', '-ec', `${script}\nshift; exec "$@"`, 'sh', argument];
    return await failure(MOUNT, image, { place: new Place(place.name, prefix, place.tools, place.witness) });
  }

  test('if there is no /dev/fuse', async () => {
    const script =
      'mount -t tmpfs dev "$1"; touch "$1/null"; mount --bind /dev/null "$1/null"; mount --rbind "$1" /dev';
    const place = await scratch.namespace('without /dev/fuse');
    expect(await failureAfter(place, script, scratch.directory('dev'))).toMatch(
      /^Cannot open \/dev\/fuse: .*modprobe fuse/,
    );
  });

  test('if this user may not open /dev/fuse', async () => {
    const closed = scratch.at('closed-device');
    writeFileSync(closed, '', { mode: 0o600 });
    const place = await scratch.namespaceOfNobody();
    expect(await failureAfter(place, 'mount --bind "$1" /dev/fuse', closed)).toMatch(/chmod 0666 \/dev\/fuse/);
  });
});
