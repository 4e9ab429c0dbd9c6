/** The list that cfs-mount --from reads: it is read back as written, and the errors of another list are reported. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import type { FileHandle } from '../../../src/base/handle-format.ts';
import { jsonOfSources, parseSavedSources, type SavedSources } from '../../../src/mount-info/saved-sources.ts';
import type { SourceRecord } from '../../../src/mount-info/source-record.ts';
import { uuidText } from '../../../src/system/file-system-uuid.ts';

const ID = 'ab'.repeat(32);
const path = fc
  .uint8Array({ minLength: 0, maxLength: 60, min: 1 })
  .map((rest) => Buffer.concat([Buffer.from('/'), rest]));
const name = fc.uint8Array({ minLength: 1, maxLength: 60, min: 0x30 }).map((bytes) => Buffer.from(bytes));
const handle: fc.Arbitrary<FileHandle> = fc.record({
  type: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 128 }),
});
const optional = <T>(some: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(some, { nil: undefined });
const source: fc.Arbitrary<SourceRecord> = fc.record({
  kind: fc.constant('repository'),
  index: fc.nat(9),
  count: fc.nat(9),
  given: path,
  path: optional(path),
  device: fc.record({ major: fc.nat(4095), minor: fc.nat(0xfffff) }),
  ino: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fsType: fc.constantFrom('ext4', 'btrfs', 'fuse.sshfs'),
  fsUuid: optional(fc.uint8Array({ minLength: 16, maxLength: 16 }).map(uuidText)),
  mountId: fc.nat(),
  handle: optional(handle),
  parent: optional(fc.record({ handle, name })),
  id: fc.uuid(),
});

const saved = ({ device, path: where, fsType, fsUuid, handle: own, parent, id }: SourceRecord): unknown => ({
  id,
  path: where,
  fsType,
  fsUuid,
  dev: `${device.major}:${device.minor}`,
  handle: own,
  parent,
});

type Json = Record<string, unknown> & { sources: Record<string, unknown>[] };

/** A list as `cfs-info sources --json` writes it. */
const listed = (): Json => ({
  format: 'cfs-sources',
  version: 1,
  mountpoint: '/mnt',
  options: 'verify=open',
  sources: [
    {
      kind: 'image',
      id: ID,
      path: '/srv/a.cfs',
      given: 'a.cfs',
      dev: '8:1',
      ino: 12,
      fsType: 'ext4',
      fsUuid: '00010203-0405-0607-0809-0a0b0c0d0e0f',
      mountId: 30,
      handle: '0x1:0c00000001020304',
      parent: { handle: '0x1:0200000000000000', name: 'a.cfs' },
    },
    { kind: 'repository', id: 'u', path: '/srv/store', given: 'store', dev: '8:1', fsType: 'ext4' },
  ],
});

const parse = (list: unknown): SavedSources => parseSavedSources(JSON.stringify(list), 'a list');

/** The error message for a list. */
function refusal(text: string): string {
  try {
    parseSavedSources(text, 'a list');
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    expect((error as CfsError).kind).toBe('usage');
    const { message } = error as CfsError;
    expect(message.startsWith('Cannot use the source list a list: ')).toBe(true);
    expect(message).not.toMatch(/undefined|\[object|NaN/);
    return message.slice('Cannot use the source list a list: '.length);
  }
  throw new Error('was not refused');
}

describe('parseSavedSources() of a mount with an upper layer', () => {
  const upperdir = { kind: 'upperdir', id: '', path: '/srv/up', given: 'up', dev: '8:1', fsType: 'ext4' };
  const workdir = { ...upperdir, kind: 'workdir', path: '/srv/work' };

  it('returns its directories apart from the repositories', () => {
    const list = listed();
    const { repositories, layer } = parse({ ...list, sources: [...list.sources, upperdir, workdir] });
    expect(repositories.map((one) => one.path)).toEqual([Buffer.from('/srv/store')]);
    expect(layer?.upperdir.path).toEqual(Buffer.from('/srv/up'));
    expect(layer?.workdir?.path).toEqual(Buffer.from('/srv/work'));
    expect(parse(list).layer).toBeUndefined();
  });

  it('needs no workdir, as with ro, and no repository', () => {
    const [image] = listed().sources;
    const { repositories, layer } = parse({ ...listed(), sources: [image, upperdir] });
    expect([repositories, layer?.workdir]).toEqual([[], undefined]);
  });

  it('refuses another order', () => {
    const { sources } = listed();
    for (const others of [[workdir, upperdir], [upperdir, upperdir], [workdir]]) {
      const text = JSON.stringify({ ...listed(), sources: [...sources, ...others] });
      expect(refusal(text)).toMatch(/^source \d is malformed$/);
    }
  });
});

describe('parseSavedSources()', () => {
  it('reads the output of jsonOfSources(), byte for byte', () => {
    fc.assert(
      fc.property(source, fc.array(source, { maxLength: 3 }), path, (image, repositories, mountpoint) => {
        const record = {
          pid: 1,
          sources: 1,
          imageId: ID,
          mountpoint,
          options: Buffer.from('verify=read,suid'),
          release: '1',
        };
        const sources = [{ ...image, kind: 'image', id: ID } as const, ...repositories];
        const list = parseSavedSources(JSON.stringify(jsonOfSources(record, mountpoint, sources)), 'a list');
        expect(list.mountpoint).toEqual(mountpoint);
        expect(list.options).toBe('verify=read,suid');
        expect(list.image).toEqual(saved({ ...image, id: ID }));
        expect(list.repositories).toEqual(repositories.map(saved));
      }),
    );
  });

  it('keeps every digit of an inode number, as text if JSON readers may lose some', () => {
    const record = {
      pid: 1,
      sources: 1,
      imageId: ID,
      mountpoint: Buffer.from('/'),
      options: Buffer.alloc(0),
      release: '1',
    };
    const [base] = fc.sample(source, { numRuns: 1, seed: 1 }) as [SourceRecord];
    const inos = [1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n];
    const list = jsonOfSources(
      record,
      record.mountpoint,
      inos.map((ino) => ({ ...base, ino })),
    );
    expect(list.sources.map(({ ino }) => ino)).toEqual([1, 2 ** 53 - 1, '9007199254740992', '18446744073709551615']);
  });

  it('accepts unknown keys', () => {
    const list = { ...listed(), comment: 'for the night', extra: { a: [1] } };
    expect(parse(list)).toEqual(parse(listed()));
  });

  it('uses the exact bytes if a path is not UTF-8', () => {
    const list = listed();
    const [image] = list.sources as [Record<string, unknown>];
    image['path'] = '/srv/\\xff';
    image['pathBase64'] = Buffer.from('/srv/\xff', 'latin1').toString('base64');
    expect(parse(list).image.path).toEqual(Buffer.from('/srv/\xff', 'latin1'));
  });

  it('refuses a list that was cut off at any byte', () => {
    const text = JSON.stringify(listed());
    for (let length = 0; length < text.length; length++) expect(refusal(text.slice(0, length))).toBe('it is not JSON');
  });

  it.each(['null', '0', '"text"', '[]', '{}', '[{"format":"cfs-sources"}]'])('refuses %s', (text) => {
    expect(refusal(text)).toBe('it is not one');
  });

  it.each([
    [2, 'it has version 2; this program knows version 1'],
    [undefined, 'it has no version number; this program knows version 1'],
    ['\u001b[31m1', 'it has no version number; this program knows version 1'],
    [{}, 'it has no version number; this program knows version 1'],
  ])('refuses version %j', (version, expected) => {
    expect(refusal(JSON.stringify({ ...listed(), version }))).toBe(expected);
  });

  it.each([
    ['mountpoint', undefined, /no mount point/],
    ['mountpoint', '', /no mount point/],
    ['mountpoint', 'mnt', /no mount point that is an absolute path/],
    ['mountpoint', '/a\0b', /no mount point/],
    ['mountpoint', ['/mnt'], /no mount point/],
    ['mountpointBase64', 7, /no mount point/],
    ['options', undefined, /no options/],
    ['options', ['suid'], /no options/],
    ['sources', undefined, /no sources/],
    ['sources', {}, /no sources/],
    ['sources', 'image', /no sources/],
    ['sources', [], /no image/],
    ['sources', [[]], /source 0 is malformed/],
    ['sources', [null], /source 0 is malformed/],
  ])('refuses a list with %s %j', (key, value, expected) => {
    expect(refusal(JSON.stringify({ ...listed(), [key]: value }))).toMatch(expected);
  });

  it.each([
    ['kind', 'repository'],
    ['kind', undefined],
    ['id', 'abc'],
    ['id', 7],
    ['id', ID.toUpperCase()],
    ['path', ''],
    ['path', 'a.cfs'],
    ['path', '/srv/a\0.cfs'],
    ['path', `/${'x'.repeat(5000)}`],
    ['path', null],
    ['pathBase64', 'YQA='],
    ['pathBase64', {}],
    ['fsType', 7],
    ['fsUuid', 'no-uuid'],
    ['fsUuid', {}],
    ['dev', 2049],
    ['dev', '8'],
    ['handle', '0x1:'],
    ['handle', 12],
    ['handle', `0x1:${'00'.repeat(129)}`],
    ['parent', 'dir'],
    ['parent', { handle: '0x1:00' }],
    ['parent', { name: 'a.cfs' }],
    ['parent', { handle: '0x1:00', name: '../../etc/passwd' }],
    ['parent', { handle: '0x1:00', name: 'a\0' }],
    ['parent', { handle: 'x', name: 'a' }],
  ])('refuses an image with %s %j', (key, value) => {
    const list = listed();
    (list.sources[0] as Record<string, unknown>)[key] = value;
    expect(refusal(JSON.stringify(list))).toBe('source 0 is malformed');
  });

  it('refuses a second image, and names the source', () => {
    const list = listed();
    (list.sources[1] as Record<string, unknown>)['kind'] = 'image';
    expect(refusal(JSON.stringify(list))).toBe('source 1 is malformed');
  });

  it('throws only CfsErrors, for any JSON', () => {
    const key = fc.constantFrom(
      'format',
      'version',
      'mountpoint',
      'options',
      'sources',
      'kind',
      'id',
      'path',
      'handle',
    );
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('cfs-sources', 1, 'image', ID, '/a', '0x1:00', null, '', true),
        fc.array(tie('any'), { maxLength: 3 }),
        fc.dictionary(key, tie('any'), { maxKeys: 6 }),
      ),
    })).any;
    fc.assert(
      fc.property(value, fc.dictionary(key, value, { maxKeys: 9 }), (some, more) => {
        for (const list of [
          some,
          { ...listed(), ...more },
          { ...listed(), sources: [{ ...listed().sources[0], ...more }] },
        ]) {
          try {
            parse(list);
          } catch (error) {
            expect(error).toBeInstanceOf(CfsError);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('refuses too deeply nested JSON', () => {
    expect(refusal('['.repeat(5_000_000))).toBe('it is not JSON');
  });
});
