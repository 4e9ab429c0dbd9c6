import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { blake3, digestContent } from '../../src/base/digest.ts';
import { type InodeMetadata, ManifestBuilder } from '../../src/manifest/builder.ts';
import { encodeManifest } from '../../src/manifest/encode.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { initRepository } from '../../src/store/open-repository.ts';
import { EXIT } from '../../tools/cli.ts';

const TOOL = resolve(import.meta.dirname, '../../dist/tools/cfs-info.js');

let directory: string;
let image: string;
const stores: LocalRepository[] = [];

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const small = new Uint8Array(5000).fill(1);
const large = new Uint8Array(200_000).fill(2);
const smallDigest = digestContent('blake3', small);
const largeDigest = digestContent('blake3', large);
const SMALL = toHex(smallDigest.digest);
const LARGE = toHex(largeDigest.digest);

const metadata = (mode: number, more: Partial<InodeMetadata> = {}): InodeMetadata => ({
  mode,
  uid: 0,
  gid: 0,
  mtime: 1695372970,
  mtimeNsec: 944925700,
  rdev: 0,
  xattrs: [],
  ...more,
});

function buildImage(): Uint8Array {
  const builder = new ManifestBuilder('blake3', metadata(0o40755));
  const add = (parent: number, name: string, mode: number, more: Partial<InodeMetadata> = {}): number => {
    const inode = builder.addInode(metadata(mode, more));
    builder.link(parent, bytes(name), inode);
    return inode;
  };
  const directoryInode = add(0, 'dir', 0o41777, { uid: 1000 });
  const file = add(directoryInode, 'file', 0o104755, {
    xattrs: [
      [bytes('user.text'), bytes('a b')],
      [bytes('user.raw'), bytes('\xff')],
    ],
  });
  builder.setObject(file, smallDigest);
  builder.link(0, bytes('hard'), file);
  builder.setObject(add(0, 'copy', 0o100600), smallDigest);
  builder.setObject(add(directoryInode, 'large', 0o100600), largeDigest);
  builder.setInline(add(0, 'in\nline', 0o100644), digestContent('blake3', bytes('hi\n')), bytes('hi\n'));
  builder.setTarget(add(0, 'link', 0o120777), bytes('dir'));
  add(0, 'null', 0o20666, { rdev: 259 });
  add(0, '\xff', 0o10600, { mtime: -1, mtimeNsec: 5 });
  return encodeManifest(builder.finish());
}

/** Puts an object's file in its place in the repository. */
function store(repository: LocalRepository, digest: Uint8Array, content: Uint8Array): void {
  const path = repository.objectPath(digest);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfs-info-'));
  image = join(directory, 'image.cfs');
  writeFileSync(image, buildImage());
  for (const name of ['one', 'two', 'damaged']) stores.push(initRepository(join(directory, name), 'blake3'));
  const [one, two, damaged] = stores as [LocalRepository, LocalRepository, LocalRepository];
  store(one, smallDigest.digest, small);
  store(two, largeDigest.digest, large);
  store(damaged, smallDigest.digest, small.subarray(1));
  store(damaged, largeDigest.digest, large);
});

afterAll(() => rmSync(directory, { recursive: true }));

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [TOOL, ...args], {
    encoding: 'latin1',
    env: { ...process.env, ...env },
    maxBuffer: 1 << 30,
  });
}

/** Output of a run that must succeed. */
function info(...args: string[]): string {
  const { status, stdout, stderr } = run(args);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return stdout;
}

const json = (...args: string[]): unknown => JSON.parse(Buffer.from(info(...args, '--json'), 'latin1').toString());

/** A run that must fail with `status`; returns its message without the tool's name. */
function failure(status: number, ...args: string[]): string {
  const result = run(args);
  expect(result.status, result.stderr).toBe(status);
  expect(result.stdout).toBe('');
  expect(result.stderr).toMatch(/^cfs-info: /);
  return result.stderr.slice('cfs-info: '.length);
}

describe('cfs-info id', () => {
  test('shows the BLAKE3 digest of the file', () => {
    const id = toHex(blake3(buildImage()));
    expect(info('id', image)).toBe(`${id}\n`);
    expect(info('id', image, image)).toBe(`${id}  ${image}\n`.repeat(2));
    expect(json('id', image)).toEqual([{ image, id }]);
  });
});

describe('cfs-info ls', () => {
  const NAMES = ['copy', 'dir', 'hard', 'in\\x0aline', 'link', 'null', '\\xff'];

  test('lists a directory by name, and escapes unprintable bytes', () => {
    expect(info('ls', image)).toBe(NAMES.map((name) => `${name}\n`).join(''));
    expect(info('ls', image, 'dir')).toBe('file\nlarge\n');
    expect(info('ls', image, '/dir/./../dir/')).toBe('file\nlarge\n');
    expect(info('ls', image, 'hard')).toBe('/hard\n');
  });

  test('-0 prints exact names', () => {
    expect(info('ls', '-0', image)).toBe('copy\0dir\0hard\0in\nline\0link\0null\0\xff\0');
  });

  test('-R lists absolute paths', () => {
    expect(info('ls', '-R', image)).toBe(
      '/copy\n/dir\n/dir/file\n/dir/large\n/hard\n/in\\x0aline\n/link\n/null\n/\\xff\n',
    );
    expect(info('ls', '-R', image, 'dir')).toBe('/dir/file\n/dir/large\n');
  });

  test('-l shows mode, links, owner, size or device number, time, name and target in columns', () => {
    expect(info('ls', '-l', image)).toBe(
      [
        '-rw------- 1    0 0   5000 2023-09-22T08:56:10Z copy',
        'drwxrwxrwt 2 1000 0      0 2023-09-22T08:56:10Z dir',
        '-rwsr-xr-x 2    0 0   5000 2023-09-22T08:56:10Z hard',
        '-rw-r--r-- 1    0 0      3 2023-09-22T08:56:10Z in\\x0aline',
        'lrwxrwxrwx 1    0 0      3 2023-09-22T08:56:10Z link -> dir',
        'crw-rw-rw- 1    0 0    1,3 2023-09-22T08:56:10Z null',
        'prw------- 1    0 0      0 1969-12-31T23:59:59Z \\xff',
        '',
      ].join('\n'),
    );
  });

  test('finds a name as it prints it', () => {
    expect(info('ls', image, '\\xff')).toBe('/\\xff\n');
    expect(info('ls', image, '/in\\x0aline')).toBe('/in\\x0aline\n');
  });

  test('--json has each entry, and exact bytes if a name is not UTF-8', () => {
    const entries = json('ls', '-R', image) as { path: string; pathBase64?: string }[];
    expect(entries.map(({ path }) => path)).toContain('/in\nline');
    expect(entries.at(-1)).toMatchObject({ path: '/\\xff', pathBase64: 'L/8=', type: 'fifo', mtime: -1, mtimeNsec: 5 });
    expect(entries.filter((entry) => entry.pathBase64 !== undefined)).toHaveLength(1);
  });

  test('reports which part of a path is missing', () => {
    const cannot = (path: string): string => `Cannot find ${path} in image ${image}: `;
    expect(failure(EXIT.usage, 'ls', image, 'dir/none/x')).toBe(`${cannot('dir/none/x')}/dir has no entry none\n`);
    expect(failure(EXIT.usage, 'ls', image, 'hard/x')).toBe(`${cannot('hard/x')}/hard is not a directory\n`);
    expect(failure(EXIT.usage, 'ls', image, 'link/file')).toContain('/link is a symbolic link to dir');
  });
});

describe('cfs-info stat', () => {
  test('shows everything about a file', () => {
    const [id, generation] = [/^id: +([0-9]+)$/m, /^generation: +([0-9]+)$/m].map(
      (pattern) => pattern.exec(info('stat', image, '/dir/file'))?.[1],
    );
    const ctime = /^ctime: .*$/m.exec(info('stat', image, '/dir/file'))?.[0];
    expect(ctime).toMatch(/^ctime: {8}2023-09-22T\S+Z \(16953[67]\d+ s, \d+ ns\)$/);
    const time = 'mtime:        2023-09-22T08:56:10.944925700Z (1695372970 s, 944925700 ns)';
    expect(info('stat', image, '/hard').split('\n')).toEqual([
      'path:         /hard',
      'type:         regular file',
      'mode:         0104755 -rwsr-xr-x',
      'uid:          0',
      'gid:          0',
      'nlink:        2',
      'size:         5000',
      time,
      ctime,
      `id:           ${id}`,
      `generation:   ${generation}`,
      `object:       ${SMALL}`,
      'block hashes: 0',
      'xattr:        user.raw="\\xff"',
      'xattr:        user.text="a b"',
      '',
    ]);
  });

  test('shows fields that only some types have', () => {
    expect(info('stat', image, 'null')).toContain('\nrdev:         1,3\n');
    expect(info('stat', image, 'link')).toContain('\ntarget:       dir\n');
    expect(info('stat', image, 'in\\x0aline')).toContain('\ninline:       hi\\x0a\n');
    expect(info('stat', image, 'dir/large')).toContain('\nblock hashes: 4\n');
    expect(info('stat', image, '/')).toContain('\nid:           1\ngeneration:   0\n');
  });

  test('--json prints an array, one element for each path', () => {
    expect(json('stat', image, 'hard', 'null')).toEqual([
      {
        path: '/hard',
        type: 'regular file',
        mode: 0o104755,
        uid: 0,
        gid: 0,
        nlink: 2,
        size: 5000,
        mtime: 1695372970,
        mtimeNsec: 944925700,
        ctime: expect.any(Number) as number,
        ctimeNsec: expect.any(Number) as number,
        id: expect.any(Number) as number,
        generation: expect.any(Number) as number,
        object: SMALL,
        blockHashes: 0,
        xattrs: [
          { name: 'user.raw', value: '\\xff', valueBase64: '/w==' },
          { name: 'user.text', value: 'a b' },
        ],
      },
      expect.objectContaining({ path: '/null', type: 'character device', rdev: { major: 1, minor: 3 } }) as object,
    ]);
  });
});

describe('cfs-info objects', () => {
  const OBJECTS = [
    { digest: SMALL, size: 5000, inodes: 2 },
    { digest: LARGE, size: 200_000, inodes: 1 },
  ].sort((a, b) => (a.digest < b.digest ? -1 : 1));

  test('lists digest, size and number of inodes', () => {
    expect(info('objects', image)).toBe(OBJECTS.map((o) => `${o.digest} ${o.size} ${o.inodes}\n`).join(''));
    expect(json('objects', image)).toEqual(OBJECTS);
  });
});

describe('cfs-info missing', () => {
  const repo = (...numbers: number[]): string[] =>
    numbers.flatMap((n) => ['--repo', (stores[n] as LocalRepository).path]);

  test('lists nothing if the repositories together have every object', () => {
    expect(info('missing', ...repo(0, 1), image)).toBe('');
    expect(json('missing', ...repo(0, 1), image)).toEqual([]);
  });

  test('lists the objects that none of them has, and has a special status', () => {
    const { status, stdout, stderr } = run(['missing', ...repo(0), image]);
    expect({ status, stdout }).toEqual({ status: EXIT.found, stdout: `${LARGE} 200000\n` });
    expect(stderr).toContain(`1 of 2 objects (200,000 bytes) of ${image} is missing from ${stores[0]?.path}`);
    const asJson = run(['missing', '--json', ...repo(0), image]);
    expect(asJson.status).toBe(EXIT.found);
    expect(JSON.parse(asJson.stdout)).toEqual([{ digest: LARGE, size: 200_000 }]);
  });

  test("reports a file of another size than the object's as damaged", () => {
    const { status, stdout } = run(['missing', ...repo(2), image]);
    expect({ status, stdout }).toEqual({ status: EXIT.found, stdout: `${SMALL} 5000\n` });
  });

  test('searches the default store if none is given', () => {
    const { status, stdout } = run(['missing', image], { CFS_STORE: (stores[1] as LocalRepository).path });
    expect({ status, stdout }).toEqual({ status: EXIT.found, stdout: `${SMALL} 5000\n` });
  });

  test('refuses a directory that is not a repository', () => {
    expect(failure(EXIT.store, 'missing', '--repo', directory, image)).toContain('meta.json');
  });
});

describe('cfs-info dump', () => {
  test('writes the tree, or a part of it', () => {
    const lines = info('dump', image).split('\n');
    expect(lines).toHaveLength(11);
    expect(lines[0]).toBe('/ 0 40755 3 0 0 0 1695372970.944925700 - - -');
    expect(lines[5]).toContain('/hard 5000 @104755 2 0 0 0 1695372970.944925700 /dir/file -');
    expect(lines[9]).toBe('/\\xff 0 10600 1 0 0 0 -1.5 - - -');
    expect(info('dump', image, '\\xff', 'link')).toBe([lines[0], lines[7], lines[9], ''].join('\n'));
  });

  test('--json prints every link', () => {
    const paths = (json('dump', image) as { path: string }[]).map(({ path }) => path);
    expect(paths).toEqual([
      '/',
      '/copy',
      '/dir',
      '/dir/file',
      '/dir/large',
      '/hard',
      '/in\nline',
      '/link',
      '/null',
      '/\\xff',
    ]);
  });
});

describe('cfs-info', () => {
  test('lists its commands if there is no such command', () => {
    expect(failure(EXIT.usage, 'image.cfs')).toContain(
      'there is no command "image.cfs"; the commands are id, ls, stat, cat, extract, tar, objects, missing, du, dump, diff, sign, verify, handle, open-handle, mounts, sources, log, changes, snapshot, stats, top, where, version, config, schema.',
    );
    expect(failure(EXIT.usage)).toContain('no command given');
  });

  test('refuses wrong options', () => {
    expect(failure(EXIT.usage, 'ls', '--bad', image)).toContain("unknown option '--bad'\nTry 'cfs-info ls --help'.");
    const { status, stdout } = run(['ls', '-0', '--json', image]);
    expect(status).toBe(EXIT.usage);
    expect(JSON.parse(stdout)).toMatchObject({ error: { kind: 'usage', status: EXIT.usage } });
    expect(failure(EXIT.usage, 'stat', image)).toContain("missing required argument 'path'");
  });

  test('shows help', () => {
    expect(info('--help')).toContain('Examples:');
    expect(info('help', 'ls')).toContain('--recursive');
    expect(info('ls', '--help')).toBe(info('help', 'ls'));
  });

  test('reports why an image cannot be read, with --json also as an object', () => {
    const none = join(directory, 'none.cfs');
    const message = `Cannot read image ${none}: no such file or directory`;
    expect(failure(EXIT.image, 'ls', none)).toBe(`${message}\n`);
    const { status, stdout } = run(['ls', '--json', none]);
    expect(status).toBe(EXIT.image);
    expect(JSON.parse(stdout)).toEqual({ error: { kind: 'image', message, status: EXIT.image } });
  });

  test('reports that its output cannot be written', () => {
    const result = spawnSync('sh', ['-c', '"$0" "$1" ls "$2" > /dev/full', process.execPath, TOOL, image]);
    expect(result.status).toBe(EXIT.system);
    expect(String(result.stderr)).toBe('cfs-info: Cannot write to standard output: no space left on device\n');
  });
});

describe('a listing of 100,000 files', () => {
  const COUNT = 100_000;

  beforeAll(() => {
    const builder = new ManifestBuilder('blake3', metadata(0o40755));
    for (let i = 0; i < COUNT; i++) builder.link(0, bytes(`file-${i}`), builder.addInode(metadata(0o100644)));
    writeFileSync(join(directory, 'many.cfs'), encodeManifest(builder.finish()));
  });

  /** Runs the tool with its output through a shell's pipe; with `pipefail` the status is the tool's. */
  function piped(args: string, reader: string): SpawnSyncReturns<string> {
    const script = `set -o pipefail; "$0" "$1" ${args} | ${reader}`;
    return spawnSync('bash', ['-c', script, process.execPath, TOOL, join(directory, 'many.cfs')], { encoding: 'utf8' });
  }

  test.each(['ls "$2"', 'ls -lR "$2"', 'ls --json "$2"', 'dump "$2"', 'dump --json "$2"'])(
    'cfs-info %s ends quietly when the reader stops',
    (args) => {
      const { status, stdout, stderr } = piped(args, 'head -n 1');
      expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
      expect(stdout.split('\n')).toHaveLength(2);
    },
  );

  test('is complete if the reader is slow and the pipe does not block', async () => {
    const fifo = join(directory, 'pipe');
    spawnSync('mkfifo', [fifo]);
    // O_NONBLOCK belongs to the open file, which the tool inherits
    const writeEnd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    const readEnd = openSync(fifo, constants.O_RDONLY);
    const tool = spawn(process.execPath, [TOOL, 'dump', join(directory, 'many.cfs')], {
      stdio: ['ignore', writeEnd, 'inherit'],
    });
    const reader = spawn('sh', ['-c', 'sleep 0.5; wc -l'], { stdio: [readEnd, 'pipe', 'inherit'] });
    closeSync(writeEnd);
    closeSync(readEnd);
    const [[status], lines] = await Promise.all([once(tool, 'exit'), text(reader.stdout as Readable)]);
    expect(status).toBe(EXIT.ok);
    expect(lines.trim()).toBe(String(COUNT + 1));
  });

  test('is one JSON value', () => {
    const { status, stdout } = run(['ls', '--json', join(directory, 'many.cfs')]);
    expect(status).toBe(EXIT.ok);
    expect(JSON.parse(stdout)).toHaveLength(COUNT);
  });
});
