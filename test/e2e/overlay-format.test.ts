/**
 * Tests src/upper/overlay-format.ts and overlay-names.ts with the overlayfs of this machine, over a mount of an image:
 * the values that Linux writes are decoded, and encoded again in the same bytes.
 */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  constants,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { EINVAL, EOPNOTSUPP, errnoName, isErrno } from '../../src/base/errno.ts';
import { ioctl } from '../../src/system/descriptors.ts';
import { fileSystemUuid } from '../../src/system/file-system-uuid.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import {
  applyNlink,
  decodeNlink,
  decodeOrigin,
  decodeOverlayHandle,
  encodeMetacopy,
  encodeOverlayHandle,
  encodeProtectedAttributes,
  encodeRedirect,
  isWhiteout,
  NULL_UUID,
  PLAIN_METACOPY,
  Y,
} from '../../src/upper/overlay-format.ts';
import { indexName, isTemporaryName, OverlayXattrNames, parseIndexName } from '../../src/upper/overlay-names.ts';
import { setXattr } from '../support/libc.ts';
import { handleOf } from './handle-calls.ts';
import { useScratch } from './harness.ts';
import { kernelBefore, type Overlay, UPPERS, useOverlays } from './overlay.ts';
import {
  bytes,
  errorOf,
  expectRecoded,
  FEATURES,
  inodeOf,
  LONG,
  LONG_PARENTS,
  mountLower,
  NOT_UTF8,
  originOf,
  stored,
  TRUSTED,
  text,
  textOf,
  xattrsOf,
} from './overlay-layers.ts';

const scratch = useScratch();
const mountOverlay = useOverlays(scratch);

let lower: string;
beforeAll(async () => {
  lower = await mountLower(scratch);
});

const FS_IOC_SETFLAGS = 0x40086602;
const FS_IMMUTABLE_FL = 0x10;
const FS_APPEND_FL = 0x20;

/** chattr(1) */
function setFileFlags(path: string, flags: number): void {
  const fd = openSync(path, constants.O_RDONLY);
  const result = ioctl(fd, FS_IOC_SETFLAGS, Uint8Array.from([flags, 0, 0, 0, 0, 0, 0, 0]));
  closeSync(fd);
  if (isErrno(result)) throw new Error(`FS_IOC_SETFLAGS ${path}: ${errnoName(result)}`);
}

/** Expects that each xattr of the layer in the tree `root` is understood. Returns the set of them. */
function expectUnderstood(root: string, layer: OverlayXattrNames): Set<string> {
  const paths = readdirSync(root, { recursive: true, encoding: 'latin1' }).filter((path) => !/[^ -~]/.test(path));
  const rows = ['', ...paths].flatMap((path) =>
    [...xattrsOf(join(root, path))].map(([name, value]) => ({ path, name, value })),
  );
  return expectRecoded(rows, layer);
}

describe.each(Object.entries(UPPERS))('Linux writes to an upper directory on %s', (type, makeUpper) => {
  let disk: string;
  let counter = 0;

  beforeAll(async () => {
    disk = await makeUpper(scratch.at(`upper-${type}`));
  });

  const start = (options: readonly string[] = FEATURES): Promise<Overlay> =>
    mountOverlay([lower], join(disk, String(counter++)), options);

  test('no xattr that is not understood, of any operation', async () => {
    const overlay = await start();
    appendFileSync(overlay.path('written'), ', and more');
    chmodSync(overlay.path('file'), 0o600);
    linkSync(overlay.path('file'), overlay.path('file too'));
    renameSync(overlay.path('renamed'), overlay.path('moved/renamed'));
    renameSync(overlay.path('moved'), overlay.path('other/moved'));
    renameSync(overlay.path('other/moved/sub'), overlay.path('sub'));
    chmodSync(overlay.path('linked'), 0o600);
    rmSync(overlay.path('other/linked too'));
    rmSync(overlay.path('removed'), { recursive: true });
    mkdirSync(overlay.path('removed'));
    mkdirSync(overlay.path('new'));
    renameSync(overlay.path('pairs/00'), overlay.path('pairs/00 three'));
    for (const name of ['link', 'fifo', 'device']) renameSync(overlay.path(name), overlay.path('new', name));
    if (!kernelBefore(5, 15)) setFileFlags(overlay.path('written'), FS_APPEND_FL);
    const seen = expectUnderstood(overlay.upper, TRUSTED);
    for (const xattr of expectUnderstood(join(overlay.work, 'index'), TRUSTED)) seen.add(xattr);
    const always = ['impure', 'metacopy', 'nlink', 'opaque', 'origin', 'redirect', 'upper'];
    const later = [...(kernelBefore(5, 15) ? [] : ['protattr']), ...(kernelBefore(6, 6) ? [] : ['uuid'])];
    expect([...seen].sort()).toEqual([...always, ...later].sort());
  });

  test('no xattr that is not understood, with userxattr', async () => {
    const overlay = await start(['userxattr', 'xino=off']);
    appendFileSync(overlay.path('written'), ', and more');
    rmSync(overlay.path('removed'), { recursive: true });
    mkdirSync(overlay.path('removed'));
    expect(errorOf(() => renameSync(overlay.path('moved'), overlay.path('elsewhere')))).toBe('EXDEV');
    const seen = expectUnderstood(overlay.upper, new OverlayXattrNames(true));
    expect([...seen].filter((xattr) => xattr !== 'uuid').sort()).toEqual(['impure', 'opaque', 'origin']);
    expect([...expectUnderstood(overlay.upper, TRUSTED)]).toEqual([]);
  });

  test('no origin with userxattr of a file that can have no such xattr', async () => {
    const overlay = await start(['userxattr', 'index=on', 'xino=off']);
    for (const name of ['link', 'fifo', 'device']) {
      lchownSync(overlay.path(name), 1, 1);
      expect([...xattrsOf(join(overlay.upper, name)).keys()]).toEqual([]);
    }
    // with an index, Linux cannot copy up such a file if it has several links
    expect(errorOf(() => lchownSync(overlay.path('linked link'), 1, 1))).toBe('EPERM');
  });

  test('the identity of the image inode as the origin, of files of each type', async () => {
    const overlay = await start();
    for (const name of ['file', 'link', 'fifo', 'device', 'linked', 'moved/sub/file', 'other']) {
      const image = join(lower, name);
      // renaming copies it up
      renameSync(overlay.path(name), overlay.path(`${name} elsewhere`));
      const origin = stored(join(overlay.upper, `${name} elsewhere`), 'origin') as Uint8Array;
      expect({ name, ...decodeOrigin(origin) }).toEqual({ name, ...inodeOf(image) });
      expect({ name, ...decodeOrigin(origin) }).toMatchObject({ name, id: lstatSync(image).ino });
      expect(toHex(originOf(image))).toBe(toHex(origin));
    }
  });

  test('whiteouts, opaque directories, and impure ones', async () => {
    const overlay = await start(['redirect_dir=off', 'index=off', 'xino=off', 'metacopy=off']);
    rmSync(overlay.path('gone'));
    rmSync(overlay.path('removed'), { recursive: true });
    for (const name of ['gone', 'removed']) {
      const { mode, rdev } = lstatSync(join(overlay.upper, name));
      expect(isWhiteout(mode, rdev)).toBe(true);
      expect([...xattrsOf(join(overlay.upper, name)).keys()]).toEqual([]);
    }
    for (const name of ['removed', 'new']) mkdirSync(overlay.path(name));
    expect(stored(join(overlay.upper, 'removed'), 'opaque')).toEqual(Y);
    expect(stored(join(overlay.upper, 'new'), 'opaque')).toBeUndefined();
    appendFileSync(overlay.path('moved/file'), '!');
    expect(stored(join(overlay.upper, 'moved'), 'impure')).toEqual(Y);
    // the root has an origin only with an index
    expect(stored(overlay.upper, 'origin')).toBeUndefined();
    await overlay.unmount();
    await overlay.mount(FEATURES);
    expect(decodeOrigin(stored(overlay.upper, 'origin') as Uint8Array)).toEqual(inodeOf(lower));
  });

  test.each(['redirect_dir=on', 'metacopy=on', 'index=on', 'xino=on'])(
    'with %s: new directories are opaque, below a merged one',
    async (option) => {
      const overlay = await start([option]);
      for (const name of ['new', 'new/below', 'other/new']) mkdirSync(overlay.path(name));
      const values = ['new', 'new/below', 'other/new'].map((name) => stored(join(overlay.upper, name), 'opaque'));
      expect(values).toEqual([Y, undefined, Y]);
    },
  );

  test('redirects: a name in the same directory, else the path in the lower layer', async () => {
    const overlay = await start();
    const redirectOf = (name: string): string => textOf(stored(join(overlay.upper, name), 'redirect') as Uint8Array);
    renameSync(overlay.path('moved'), overlay.path('moved 2'));
    expect(redirectOf('moved 2')).toBe(
      textOf(encodeRedirect({ isAbsolute: false, names: [bytes('moved')] }) as Buffer),
    );
    renameSync(overlay.path('moved 2'), overlay.path('other/moved 3'));
    const path = { isAbsolute: true, names: [bytes('moved')] };
    expect(redirectOf('other/moved 3')).toBe(textOf(encodeRedirect(path) as Buffer));
    renameSync(overlay.path('other/moved 3/sub'), overlay.path('sub'));
    path.names.push(bytes('sub'));
    expect(redirectOf('sub')).toBe(textOf(encodeRedirect(path) as Buffer));
    renameSync(Buffer.concat([Buffer.from(`${overlay.at}/`), NOT_UTF8]), overlay.path('coffee'));
    expect(stored(join(overlay.upper, 'coffee'), 'redirect')).toEqual(Uint8Array.from(NOT_UTF8));
    // paths of up to 256 bytes
    for (const name of LONG) {
      const names = [...LONG_PARENTS, name].map(bytes);
      const redirect = encodeRedirect({ isAbsolute: true, names });
      const code = errorOf(() => renameSync(overlay.path(...LONG_PARENTS, name), overlay.path(name)));
      expect(code).toBe(redirect === undefined ? 'EXDEV' : '');
      if (redirect !== undefined) expect(redirectOf(name)).toBe(textOf(redirect));
    }
  });

  test('a file without data, which gets it when it is written', async () => {
    const overlay = await start();
    chmodSync(overlay.path('file'), 0o600);
    const upper = join(overlay.upper, 'file');
    expect(stored(upper, 'metacopy')).toEqual(encodeMetacopy(PLAIN_METACOPY));
    expect(text(upper)).toBe('\0'.repeat(lstatSync(join(lower, 'file')).size));
    appendFileSync(overlay.path('file'), '!');
    expect(stored(upper, 'metacopy')).toBeUndefined();
  });

  test('an index of hard links, named by the origin, and the links that a user sees', async () => {
    const overlay = await start();
    const upper = join(overlay.upper, 'linked');
    const index = join(overlay.work, 'index');
    /** The link count by the layers, which the overlay must also show. */
    const expectNlink = (expected: number, value: string): void => {
      expect(lstatSync(overlay.path('linked')).nlink).toBe(expected);
      const nlink = stored(upper, 'nlink') as Uint8Array;
      expect(textOf(nlink)).toBe(value);
      const relative = decodeNlink(nlink) as NonNullable<ReturnType<typeof decodeNlink>>;
      expect(applyNlink(relative, lstatSync(upper).nlink, lstatSync(join(lower, 'linked')).nlink)).toBe(expected);
    };
    appendFileSync(overlay.path('linked'), '!');
    expectNlink(2, 'U+0');
    linkSync(overlay.path('linked'), overlay.path('linked three'));
    expectNlink(3, 'U+0');
    rmSync(overlay.path('other/linked too'));
    expectNlink(2, 'U-1');
    const entries = readdirSync(index).map(bytes);
    const origin = originOf(join(lower, 'linked'));
    expect(entries.filter((name) => !isTemporaryName(name)).map(textOf)).toEqual([textOf(indexName(origin))]);
    expect(parseIndexName(indexName(origin))).toEqual(stored(upper, 'origin'));
    expect(lstatSync(join(index, textOf(indexName(origin)))).ino).toBe(lstatSync(upper).ino);
    // with the last names the entry is removed
    for (const name of ['linked', 'linked three']) rmSync(overlay.path(name));
    expect(
      readdirSync(index)
        .map(bytes)
        .filter((name) => !isTemporaryName(name)),
    ).toEqual([]);
  });

  test('handles of its own file system in the index, with its uuid', async () => {
    const overlay = await start(['index=on', 'nfs_export=on', 'xino=off']);
    chmodSync(overlay.path('moved'), 0o700);
    const index = join(overlay.work, 'index');
    const fd = openSync(overlay.upper, constants.O_RDONLY);
    const uuid = fileSystemUuid(fd, lstatSync(overlay.upper).dev) ?? NULL_UUID;
    closeSync(fd);
    const entry = join(index, textOf(indexName(originOf(join(lower, 'moved')))));
    for (const [path, upper] of [
      [index, overlay.upper],
      [entry, join(overlay.upper, 'moved')],
    ] as const) {
      const expected = { uuid, isUpper: true, handle: handleOf(upper) };
      expect(decodeOverlayHandle(stored(path, 'upper') as Uint8Array)).toEqual(expected);
      expect(toHex(encodeOverlayHandle(expected))).toBe(toHex(stored(path, 'upper') as Uint8Array));
    }
    // a removed file has a whiteout in the index, named by its origin
    rmSync(overlay.path('gone'));
    const { mode, rdev } = lstatSync(join(index, textOf(indexName(originOf(join(lower, 'gone'))))));
    expect(isWhiteout(mode, rdev)).toBe(true);
  });

  test('no origin of a hard link without an index', async () => {
    const overlay = await start(['index=off', 'redirect_dir=off', 'metacopy=off', 'xino=off']);
    appendFileSync(overlay.path('linked'), '!');
    expect([...xattrsOf(join(overlay.upper, 'linked')).keys()]).toEqual([]);
    expect(lstatSync(overlay.path('linked')).nlink).toBe(1);
    expect(text(overlay.path('other/linked too'))).toBe('linked of the image');
  });

  test.skipIf(kernelBefore(5, 15))('flags of chattr as letters', async () => {
    const overlay = await start();
    const path = overlay.path('file');
    // a file of the lower layer has no such flags: it is copied up first
    chmodSync(path, 0o600);
    for (const [append, immutable] of [
      [true, false],
      [false, true],
      [true, true],
      [false, false],
    ] as const) {
      setFileFlags(path, (append ? FS_APPEND_FL : 0) | (immutable ? FS_IMMUTABLE_FL : 0));
      const value = stored(join(overlay.upper, 'file'), 'protattr');
      expect(value && textOf(value)).toBe(encodeProtectedAttributes({ append, immutable })?.toString());
    }
  });

  test.skipIf(kernelBefore(6, 7)).each([
    { userxattr: false, options: FEATURES, prefix: 'trusted.overlay.', other: 'user.overlay.' },
    { userxattr: true, options: ['userxattr', 'xino=off'], prefix: 'user.overlay.', other: 'trusted.overlay.' },
  ])('xattrs of users under other names, those that begin with $prefix', async ({ userxattr, options, ...names }) => {
    const { prefix, other } = names;
    const layer = new OverlayXattrNames(userxattr);
    const overlay = await start(options);
    writeFileSync(overlay.path('mine'), '');
    const upper = join(overlay.upper, 'mine');
    const all = ['opaque', 'origin', 'mine', 'overlay.opaque', 'overlay.overlay.mine', 'overlaymine', '\xe9'];
    for (const name of [...all.map((name) => `${prefix}${name}`), `${other}opaque`, 'user.mine']) {
      setXattr(overlay.path('mine'), name, bytes(`value of ${name}`));
      const escaped = layer.escape(Buffer.from(name));
      if (isErrno(escaped)) throw new Error(`${name} is refused`);
      expect(getXattr(upper, escaped)).toEqual(bytes(`value of ${name}`));
      expect(toHex(layer.unescape(escaped) ?? bytes(''))).toBe(toHex(Buffer.from(name)));
    }
    // the overlay lists them under the names with which they were set
    const shown = [...xattrsOf(upper).keys()].map((name) => layer.unescape(bytes(name)));
    const listed = [...xattrsOf(overlay.path('mine')).keys()];
    expect(
      shown
        .filter((name) => name !== undefined)
        .map(textOf)
        .sort(),
    ).toEqual(listed.sort());
    // names that it refuses
    const room = 255 - prefix.length - 'overlay.'.length;
    for (const [name, errno] of [
      [prefix, EINVAL],
      [`${prefix}${'n'.repeat(room)}`, undefined],
      [`${prefix}${'n'.repeat(room + 1)}`, EOPNOTSUPP],
    ] as const) {
      const escaped = layer.escape(bytes(name));
      expect(isErrno(escaped) ? escaped : undefined).toBe(errno);
      const code = errorOf(() => setXattr(overlay.path('mine'), name, bytes('value')));
      expect(code).toBe(errno === undefined ? '' : errnoName(errno));
    }
  });
});
