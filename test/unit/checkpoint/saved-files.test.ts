/** The input of cfs-checkpoint: watches in fdinfo, and the list of files that it saved. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import { type FileHandle, formatHandle, parseHandle } from '../../../src/base/handle-format.ts';
import { formatSavedFiles, parseSavedFiles } from '../../../src/checkpoint/saved-files.ts';
import { parseWatches } from '../../../src/checkpoint/watches.ts';

const HANDLE = '0x81:178f0a002b41625d1ccacca0';

describe('parseWatches()', () => {
  // as Linux 6.18 wrote them
  const INOTIFY = [
    'pos:\t0',
    'flags:\t00',
    'mnt_id:\t17',
    'ino:\t1038',
    'inotify wd:5 ino:a8f175d62412b sdev:28 mask:2 ignored_mask:0 fhandle-bytes:c fhandle-type:81 f_handle:178f0a002b41625d1ccacca0 ',
    'inotify wd:1 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d',
    '',
  ].join('\n');
  const FANOTIFY = [
    'pos:\t0',
    'fanotify flags:200 event-flags:0',
    'fanotify ino:16ae3401cd945 sdev:28 mflags:0 mask:8 ignored_mask:0 fhandle-bytes:c fhandle-type:81 f_handle:e36a010045d91c4000000000',
    'fanotify mnt_id:12 mflags:0 mask:38 ignored_mask:40000000',
    'fanotify sdev:28 mflags:0 mask:38 ignored_mask:0',
    '',
  ].join('\n');

  it('reads the inodes that inotify watches, by device and handle', () => {
    expect(parseWatches(INOTIFY)).toEqual([
      { kind: 'inotify', device: { major: 0, minor: 0x28 }, handle: parseHandle(HANDLE) },
      { kind: 'inotify', device: { major: 8, minor: 0x13 }, handle: parseHandle('0x1:7e9e0000640d1b6d') },
    ]);
  });

  it('reads the inodes of fanotify, but not marks of a whole mount or file system', () => {
    expect(parseWatches(FANOTIFY)).toEqual([
      { kind: 'fanotify', device: { major: 0, minor: 0x28 }, handle: parseHandle('0x81:e36a010045d91c4000000000') },
    ]);
  });

  it('returns nothing if there are no watches', () => {
    expect(parseWatches('')).toEqual([]);
    expect(parseWatches('pos:\t0\nflags:\t02100000\nmnt_id:\t30\n')).toEqual([]);
    // a watch on a file system without handles
    expect(parseWatches('inotify wd:1 ino:1 sdev:28 mask:2 ignored_mask:0\n')).toEqual([]);
    expect(parseWatches('inotified wd:1 ino:1 sdev:28 fhandle-bytes:4 fhandle-type:1 f_handle:00000000')).toEqual([]);
  });

  it('never throws', () => {
    const word = fc.oneof(
      fc.constantFrom(
        'inotify',
        'fanotify',
        'sdev:28',
        'fhandle-bytes:c',
        'fhandle-type:81',
        'f_handle:178f0',
        'ino:1',
        '\n',
      ),
      fc.string({ maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 20 }), (words) => {
        parseWatches(words.join(' '));
        parseWatches(`inotify ${words.join(' ')}`);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the list of files of a checkpoint', () => {
  const handle: fc.Arbitrary<FileHandle> = fc.record({
    type: fc.integer({ min: 0, max: 0xff }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 24 }),
  });
  const used = fc.record({
    handle,
    uses: fc.array(fc.constantFrom('12 cwd', '13 fd 5', '13 inotify watch of fd 4'), { minLength: 1, maxLength: 3 }),
    isWatched: fc.boolean(),
    unlinked: fc.constant(undefined),
  });

  /** The error message for a list. */
  function refusal(text: string): string {
    try {
      parseSavedFiles(text, 'a list');
    } catch (error) {
      expect(error).toBeInstanceOf(CfsError);
      expect((error as CfsError).kind).toBe('usage');
      return (error as CfsError).message;
    }
    throw new Error('was not refused');
  }

  it('is read as it was written', () => {
    fc.assert(
      fc.property(
        fc.array(used, { maxLength: 5 }),
        fc.uint8Array({ minLength: 1, maxLength: 20, min: 1, max: 0x7e }),
        (files, path) => {
          const list = parseSavedFiles(
            formatSavedFiles(files, () => path),
            'a list',
          );
          expect(list).toEqual({
            checkpoint: undefined,
            files: files.map(({ handle, uses }) => ({ handle, uses, path: Buffer.from(path).toString() })),
          });
        },
      ),
    );
  });

  it('shows a path that is not UTF-8', () => {
    const file = { handle: parseHandle(HANDLE) as FileHandle, uses: ['1 cwd'], isWatched: false, unlinked: undefined };
    const text = formatSavedFiles([file], () => Buffer.from('/\xff', 'latin1'));
    expect(parseSavedFiles(text, 'a list').files[0]?.path).toBe('/\\xff');
    expect(formatHandle(file.handle)).toBe(HANDLE);
  });

  it('has unlinked files, with the names that they got', () => {
    const handle = parseHandle(HANDLE) as FileHandle;
    const descriptors = [
      { process: 4, fd: 3, flags: '0100002', position: 12 },
      { process: 4, thread: 5, fd: 3, flags: '0100000', position: 0 },
    ];
    const unlinked = { path: Buffer.from('/gone'), mode: 0o100644, nlink: 1, descriptors };
    const naming = { id: 0x1234n, names: new Map([[HANDLE, 'lost+found/x']]) };
    const file = { handle, uses: ['4 fd 3'], isWatched: false, unlinked };
    const read = parseSavedFiles(
      formatSavedFiles([file], () => Buffer.from('/other'), naming),
      'a list',
    );
    const saved = { links: 1, mode: 0o100644, descriptors, relinked: 'lost+found/x' };
    expect(read).toEqual({
      checkpoint: 0x1234n,
      files: [{ handle, path: '/gone', uses: ['4 fd 3'], unlinked: saved }],
    });
  });

  const file = { handle: HANDLE, path: '/a', uses: [] };
  const gone = { links: 0, mode: '100644', descriptors: [] };
  const ofNoThread = { process: 4, thread: -1, fd: 3, flags: '0', position: 0 };
  const list = (more: object): string =>
    JSON.stringify({ format: 'cfs-checkpoint-files', version: 1, files: [], ...more });

  it.each([
    ['', /not JSON/],
    [list({ checkpoint: '12' }), /id of the checkpoint/],
    [list({ files: [{ ...file, unlinked: 1 }] }), /file 0 is malformed/],
    [list({ files: [{ ...file, unlinked: { ...gone, mode: '9' } }] }), /file 0 is malformed/],
    [list({ files: [{ ...file, unlinked: { ...gone, links: -1 } }] }), /file 0 is malformed/],
    [list({ files: [{ ...file, unlinked: { ...gone, descriptors: [{}] } }] }), /file 0 is malformed/],
    [list({ files: [{ ...file, unlinked: { ...gone, descriptors: [ofNoThread] } }] }), /file 0 is malformed/],
    // names outside of the mount
    [list({ files: [{ ...file, unlinked: { ...gone, relinked: '../etc/passwd' } }] }), /file 0 is malformed/],
    [list({ files: [{ ...file, unlinked: { ...gone, relinked: '/etc/passwd' } }] }), /file 0 is malformed/],
    [list({ files: [{ ...file, unlinked: { ...gone, relinked: 'a//b' } }] }), /file 0 is malformed/],
    [list({}).slice(0, -1), /not JSON/],
    ['null', /not one of a checkpoint/],
    ['[]', /not one of/],
    [list({ format: 'cfs-sources' }), /not one of/],
    [list({ files: undefined }), /not one of/],
    [list({ files: {} }), /not one of/],
    [list({ version: 2 }), /has version 2; this program knows version 1/],
    [list({ version: undefined }), /has no version number/],
    [list({ version: { a: 1 } }), /has no version number/],
    [list({ files: [null] }), /file 0 is malformed/],
    [list({ files: [file, { ...file, handle: 'x' }] }), /file 1 is malformed/],
    [list({ files: [{ ...file, handle: 7 }] }), /malformed/],
    [list({ files: [{ ...file, handle: `0x81:${'00'.repeat(500)}` }] }), /malformed/],
    [list({ files: [{ ...file, path: null }] }), /malformed/],
    [list({ files: [{ ...file, uses: 'cwd' }] }), /malformed/],
    [list({ files: [{ ...file, uses: [{}] }] }), /malformed/],
  ])('is refused as %s', (text, expected) => {
    expect(refusal(text)).toMatch(expected);
  });
});
