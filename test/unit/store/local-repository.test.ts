import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blake3 } from '../../../src/base/digest.ts';
import { ELOOP, ENOTDIR, isErrno } from '../../../src/base/errno.ts';
import { checkShape } from '../../../src/objects/verify.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { initRepository, openOrInitRepository, openRepository } from '../../../src/store/open-repository.ts';
import { emptyFileVersion } from '../../../src/system/file-status.ts';
import { describeRepository } from '../../support/suites/repository.ts';
import { failureOf } from './failure.ts';
import { useScratch } from './scratch.ts';

const at = useScratch();
let serial = 0;
const freshPath = (): string => at(`d${serial++}`);

function fixtureOf(repository: LocalRepository): Parameters<typeof describeRepository>[1] {
  return () => ({
    repository,
    put: (digest, content) => writeFileSync(repository.objectPath(digest), content, { flag: 'wx', mode: 0o444 }),
    remove: (digest) => unlinkSync(repository.objectPath(digest)),
  });
}

describeRepository('LocalRepository of blake3', fixtureOf(initRepository(at('blake3'), 'blake3')));
describeRepository('LocalRepository of fsverity-sha256', fixtureOf(initRepository(at('verity'), 'fsverity-sha256')));

describe('LocalRepository', () => {
  const repository = initRepository(at('odd'), 'blake3');
  const digestOf = (text: string): Uint8Array => blake3(Buffer.from(text));

  test('objectPath() is objects/<2 hex>/<62 hex>', () => {
    const hex = 'ab'.padEnd(64, '0123456789abcdef');
    expect(repository.objectPath(Buffer.from(hex, 'hex'))).toBe(
      `${at('odd')}/objects/${hex.slice(0, 2)}/${hex.slice(2)}`,
    );
  });

  test('open() does not follow a symbolic link in place of an object', () => {
    const digest = digestOf('symlink');
    writeFileSync(at('elsewhere'), 'symlink');
    symlinkSync(at('elsewhere'), repository.objectPath(digest));
    expect(repository.open(digest)).toBe(ELOOP);
  });

  test('no object is found behind a symbolic link in place of its directory', () => {
    const digest = digestOf('behind a link');
    const path = repository.objectPath(digest);
    const elsewhere = at('objects-elsewhere');
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, basename(path)), 'behind a link');
    renameSync(dirname(path), `${dirname(path)}-before`);
    symlinkSync(elsewhere, dirname(path));
    const looked = [repository.status(digest, emptyFileVersion()), repository.open(digest), repository.size(digest)];
    unlinkSync(dirname(path));
    renameSync(`${dirname(path)}-before`, dirname(path));
    expect(looked).toEqual([ELOOP, ELOOP, 0]);
  });

  test('status() returns the same as fstat(2), and follows no link', () => {
    const digest = digestOf('status');
    writeFileSync(repository.objectPath(digest), 'status');
    const { dev, ino, size, ctimeMs } = statSync(repository.objectPath(digest));
    for (const look of ['status', 'glance'] as const) {
      const version = emptyFileVersion();
      expect(repository[look](digest, version)).toBe(0);
      expect(version).toEqual({ isFile: true, dev, ino, size, ctimeMs });
    }
    const link = digestOf('link');
    symlinkSync(repository.objectPath(digest), repository.objectPath(link));
    const version = emptyFileVersion();
    expect([repository.status(link, version), version.isFile]).toEqual([0, false]);
  });

  test('open() does not wait for a writer of a fifo in place of an object, and its descriptor fails verification', () => {
    const digest = digestOf('fifo');
    const path = repository.objectPath(digest);
    execFileSync('mkfifo', [path]);
    // if `open` waits, this ends the wait: the thread could not do so itself
    const opened = `${path}.opened`;
    const writer = spawn('sh', ['-c', 'sleep 60; : > "$1"; : > "$0"', path, opened], { detached: true });
    const fd = repository.open(digest);
    expect(existsSync(opened)).toBe(false);
    process.kill(-(writer.pid as number), 'SIGKILL');
    expect(isErrno(fd)).toBe(false);
    expect(checkShape(fd, 4)).toBe('it is not a regular file');
    closeSync(fd);
  });

  test('open() and size() report a file in place of a directory', () => {
    const digest = digestOf('notdir');
    const directory = dirname(repository.objectPath(digest));
    rmSync(directory, { recursive: true });
    writeFileSync(directory, '');
    expect(repository.open(digest)).toBe(ENOTDIR);
    expect(repository.size(digest)).toBe(ENOTDIR);
  });
});

describe('initRepository()', () => {
  test('makes the layout, and meta.json with a new uuid', () => {
    const path = freshPath();
    const made = initRepository(join(path, 'deeper', 'store'), 'fsverity-sha256');
    expect(made.path).toBe(join(path, 'deeper', 'store'));
    expect(readdirSync(made.path).sort()).toEqual(['lock', 'meta.json', 'objects', 'tmp']);
    expect(readdirSync(join(made.path, 'objects'))).toHaveLength(256);
    expect(readdirSync(join(made.path, 'tmp'))).toEqual([]);
    const meta = JSON.parse(readFileSync(join(made.path, 'meta.json'), 'utf8')) as unknown;
    expect(meta).toEqual({ format: 'cfs-repository', version: 1, hash: 'fsverity-sha256', uuid: made.uuid });
    expect(made.uuid).not.toBe(initRepository(freshPath(), 'blake3').uuid);
  });

  test('accepts an empty directory, and the root of a fresh ext4', () => {
    const path = freshPath();
    mkdirSync(join(path, 'lost+found'), { recursive: true });
    expect(initRepository(path, 'blake3').hash).toBe('blake3');
  });

  test('completes an init that was interrupted', () => {
    const path = freshPath();
    const { uuid } = initRepository(path, 'blake3');
    unlinkSync(join(path, 'meta.json'));
    rmSync(join(path, 'objects', '7f'), { recursive: true });
    writeFileSync(join(path, 'meta.json.0123456789ab.tmp'), '{"form');
    expect(failureOf(() => openRepository(path)).message).toContain('it has no meta.json');
    expect(initRepository(path, 'blake3').uuid).not.toBe(uuid);
    expect(existsSync(join(path, 'objects', '7f'))).toBe(true);
    expect(openRepository(path).hash).toBe('blake3');
  });

  test('refuses a directory that is not empty, and leaves it unchanged', () => {
    const path = freshPath();
    mkdirSync(path);
    writeFileSync(join(path, 'precious'), 'x');
    const error = failureOf(() => initRepository(path, 'blake3'));
    expect(error.kind).toBe('store');
    expect(error.message).toContain('the directory is not empty (it contains "precious")');
    expect(readdirSync(path)).toEqual(['precious']);
  });

  test('refuses a repository that exists', () => {
    const path = freshPath();
    const { uuid } = initRepository(path, 'blake3');
    expect(failureOf(() => initRepository(path, 'blake3')).message).toContain('it is one already');
    expect(openRepository(path).uuid).toBe(uuid);
  });

  test('does not change the hash of the objects of a repository that lost its meta.json', () => {
    const path = freshPath();
    const lost = initRepository(path, 'fsverity-sha256');
    writeFileSync(lost.objectPath(blake3(Buffer.from('x'))), 'x');
    unlinkSync(join(path, 'meta.json'));
    expect(failureOf(() => initRepository(path, 'blake3')).kind).toBe('store');
  });

  test('names the path and the reason if it cannot write', () => {
    writeFileSync(at('plain'), '');
    const error = failureOf(() => initRepository(at('plain', 'store'), 'blake3'));
    expect(error.kind).toBe('store');
    expect(error.message).toContain(`Cannot make a repository in ${at('plain', 'store')}: not a directory`);
  });
});

describe('openRepository()', () => {
  const made = initRepository(at('good'), 'blake3');

  test('returns path, uuid and hash', () => {
    const { path, uuid, hash } = openRepository(at('good'));
    expect({ path, uuid, hash }).toEqual({ path: at('good'), uuid: made.uuid, hash: 'blake3' });
    expect(openRepository(at('good'), 'blake3').uuid).toBe(made.uuid);
  });

  test('accepts the objects directory, as composefs names it', () => {
    expect(openRepository(at('good', 'objects')).path).toBe(at('good'));
  });

  test('accepts a repository whose directory is called objects', () => {
    const inner = initRepository(at('objects'), 'blake3');
    expect(openRepository(at('objects')).uuid).toBe(inner.uuid);
    expect(openRepository(at('objects', 'objects')).uuid).toBe(inner.uuid);
  });

  test('refuses another hash than that of the image, and names the remedy', () => {
    const error = failureOf(() => openRepository(at('good'), 'fsverity-sha256'));
    expect(error.kind).toBe('store');
    expect(error.message).toContain('it names objects by blake3, the image by fsverity-sha256');
    expect(error.hint).toBe('Give a repository made with `initRepository("DIR", {"hash":"fsverity-sha256"})`.');
  });

  const valid = { format: 'cfs-repository', version: 1, hash: 'blake3', uuid: '0'.repeat(8) };
  test.each([
    ['no JSON', '{"format":', 'meta.json is not JSON'],
    ['an empty file', '', 'meta.json is not JSON'],
    ['null', 'null', 'meta.json is not one of cfs'],
    ['a list', '[]', 'meta.json is not one of cfs'],
    ['a string', '"cfs-repository"', 'meta.json is not one of cfs'],
    ['no format', '{}', 'meta.json is not one of cfs'],
    ['another format', JSON.stringify({ ...valid, format: 'ostree' }), 'meta.json is not one of cfs'],
    ['a later version', JSON.stringify({ ...valid, version: 2 }), 'format version 2; this program knows version 1'],
    ['a version that is text', JSON.stringify({ ...valid, version: '1x' }), 'format version 1x'],
    ['no version', JSON.stringify({ ...valid, version: undefined }), 'format version undefined'],
    ['an unknown hash', JSON.stringify({ ...valid, hash: 'md5' }), 'no known hash'],
    ['a hash that is not text', JSON.stringify({ ...valid, hash: ['blake3'] }), 'no known hash'],
    ['no uuid', JSON.stringify({ ...valid, uuid: undefined }), 'no uuid'],
  ])('refuses meta.json with %s', (_what, text, reason) => {
    const path = freshPath();
    mkdirSync(path);
    writeFileSync(join(path, 'meta.json'), text);
    const error = failureOf(() => openRepository(path));
    expect(error.kind).toBe('store');
    expect(error.message).toContain(path);
    expect(error.message).toContain(reason);
  });

  test('reports that there is no such directory, and how to make one', () => {
    const error = failureOf(() => openRepository(at('nowhere')));
    expect(error.message).toContain('there is no such directory');
    expect(error.hint).toContain('`initRepository("DIR")` makes a new, empty one');
  });

  test('names the reason if meta.json cannot be read', () => {
    const path = freshPath();
    mkdirSync(join(path, 'meta.json'), { recursive: true });
    expect(failureOf(() => openRepository(path)).message).toContain('meta.json: it is not a regular file');
  });
});

describe('openOrInitRepository()', () => {
  test('makes one if there is none, and opens it the second time', () => {
    const path = freshPath();
    const { uuid } = openOrInitRepository(path, 'blake3');
    expect(openOrInitRepository(path, 'blake3').uuid).toBe(uuid);
  });

  test('refuses one with another hash', () => {
    expect(failureOf(() => openOrInitRepository(at('blake3'), 'fsverity-sha256')).message).toContain(
      'names objects by blake3',
    );
  });

  test('does not replace a damaged meta.json', () => {
    const path = freshPath();
    mkdirSync(path);
    writeFileSync(join(path, 'meta.json'), 'damaged');
    expect(failureOf(() => openOrInitRepository(path, 'blake3')).message).toContain('not JSON');
    expect(readFileSync(join(path, 'meta.json'), 'utf8')).toBe('damaged');
  });

  test('reports a path below a file as a store error', () => {
    writeFileSync(at('file'), '');
    expect(failureOf(() => openOrInitRepository(at('file', 'store'), 'blake3')).kind).toBe('store');
  });
});
