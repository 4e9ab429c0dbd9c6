/**
 * Each file of a mount is closed exactly once, however the mount ends or fails: a second close could hit another file,
 * which has got the same number in the meantime. The threads are played by the tests.
 */
import { fstatSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { blake3 } from '../../../src/base/digest.ts';
import { imageParts } from '../../../src/image/image-parts.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import type * as connectionModule from '../../../src/mount/connection.ts';
import { mountImage, resumeMount } from '../../../src/mount/mount.ts';
import { imageSource } from '../../../src/mount/mount-sources.ts';
import { parseMountWords } from '../../../src/mount/option-words.ts';
import type { MountOptions } from '../../../src/mount/options.ts';
import type { ParkedFilesOfMount } from '../../../src/mount/parked-mount.ts';
import { buildTables, inline, treeOf } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();

/** How often each descriptor was closed, from `expectClosedOnce` on. */
const closes = vi.hoisted(() => new Map<number, number>());
vi.mock('node:fs', async (actual) => {
  const fs = await actual<typeof import('node:fs')>();
  const closeSync = (fd: number): void => {
    closes.set(fd, (closes.get(fd) ?? 0) + 1);
    fs.closeSync(fd);
  };
  return { ...fs, closeSync, default: { ...fs, closeSync } };
});

/** What the threads do. */
const threads = vi.hoisted(() => ({ serve: async (): Promise<void> => undefined, end: (): void => undefined }));
vi.mock('../../../src/mount/threads/workers.ts', () => ({
  MountWorkers: class {
    readonly ended = new Promise<readonly string[]>((resolve) => {
      threads.end = () => resolve([]);
    });
    readonly ending = this.ended.then(() => undefined);
    readonly serve = (): Promise<void> => threads.serve();
    readonly terminate = async (): Promise<void> => threads.end();
  },
}));

/** A connection that mounts nothing. */
const connected = vi.hoisted(() => ({ files: [] as number[] }));
vi.mock('../../../src/mount/connection.ts', async (actual) => {
  const { openSync: open } = await import('node:fs');
  return {
    ...(await actual<typeof connectionModule>()),
    connect: async (_options: unknown, mountpoint: string) => {
      const [fd, journal] = [open('/dev/null', 'r+'), open('/dev/null', 'r+')];
      connected.files = [fd, journal];
      // no mount has this device: nothing is unmounted
      return { fd, journal, mountpoint, device: '0:0', helper: false, passthrough: false, resends: true, epoch: 0 };
    },
  };
});

let image: string;
let id: string;
let options: MountOptions;
let serial = 0;

beforeEach(() => {
  const manifest = encodeManifest(buildTables(treeOf({ '/file': inline('its content') })));
  const digest = blake3(manifest);
  id = toHex(digest);
  image = at(`image-${++serial}.cfs`);
  writeFileSync(image, Buffer.concat(imageParts(manifest, digest)));
  const mountpoint = at(`mnt-${serial}`);
  mkdirSync(mountpoint);
  const { keys: _, uuid: _uuid, ...words } = parseMountWords([]);
  options = { ...words, repositories: [], image, mountpoint, log: () => undefined };
  threads.serve = async () => undefined;
  closes.clear();
});

/** The open files of this process, by number. */
const openFiles = (): string[] => readdirSync('/proc/self/fd');

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

function expectClosedOnce(files: readonly number[]): void {
  expect(files.map((fd) => closes.get(fd))).toEqual(files.map(() => 1));
  expect(files.map(isOpen)).toEqual(files.map(() => false));
}

describe('the files of a new mount are closed once', () => {
  test('if no thread serves', async () => {
    const before = openFiles();
    threads.serve = async () => {
      throw new Error('no thread could be started');
    };
    await expect(mountImage(options)).rejects.toThrow('no thread could be started');
    expectClosedOnce(connected.files);
    expect(openFiles()).toEqual(before);
  });

  test('at its end', async () => {
    const before = openFiles();
    const mounted = await mountImage(options);
    expect(connected.files.map(isOpen)).toEqual([true, true]);
    expect(closes.get(connected.files[0] as number)).toBeUndefined();
    threads.end();
    await mounted.ended;
    expectClosedOnce(connected.files);
    expect(openFiles()).toEqual(before);
  });
});

describe('the files of a mount that is taken over are closed once', () => {
  const parked = (): { readonly mount: ParkedFilesOfMount; readonly files: readonly number[] } => {
    const own = ['connection', 'journal', 'copy'].map((name) => {
      writeFileSync(at(name), name === 'journal' ? Buffer.alloc(16) : '');
      return openSync(at(name), 'r+');
    });
    const [fd, journal, imageCopy] = own as [number, number, number];
    const source = imageSource(image, id, openSync(image, 'r'));
    const { mountpoint } = options;
    const connection = { fd, journal, mountpoint, device: '0:0', helper: false, passthrough: false, resends: true };
    return {
      mount: { connection, sources: [source], imageCopy, leases: [] },
      files: [...own, source.fd, source.directory],
    };
  };

  test('if no thread serves', async () => {
    const { mount, files } = parked();
    threads.serve = async () => {
      throw new Error('no thread could be started');
    };
    await expect(resumeMount(mount, options)).rejects.toThrow('no thread could be started');
    expectClosedOnce(files);
  });

  test('if its image cannot be read', async () => {
    const { mount, files } = parked();
    writeFileSync(image, 'another');
    await expect(resumeMount(mount, options)).rejects.toThrow('Cannot read');
    expectClosedOnce(files);
  });

  test('at its end', async () => {
    const { mount, files } = parked();
    const mounted = await resumeMount(mount, options);
    expect(files.map(isOpen)).toEqual(files.map(() => true));
    threads.end();
    await mounted.ended;
    expectClosedOnce(files);
  });
});
