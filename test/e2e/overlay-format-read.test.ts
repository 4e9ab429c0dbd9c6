/**
 * The reverse of overlay-format.test.ts: the overlayfs of this machine reads an upper directory that was made here, and
 * refuses the same values as the decoders.
 */
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { encodeDevice, S_IFCHR } from '../../src/base/stat-bits.ts';
import {
  applyNlink,
  decodeMetacopy,
  decodeNlink,
  decodeOpaque,
  decodeOrigin,
  decodeRedirect,
  encodeMetacopy,
  encodeRedirect,
  mayBeXattrWhiteout,
  PLAIN_METACOPY,
  X,
  Y,
} from '../../src/upper/overlay-format.ts';
import { indexName } from '../../src/upper/overlay-names.ts';
import { mknod, removeXattr, setXattr } from '../support/libc.ts';
import { mountTmpfs } from './cli.ts';
import { useScratch } from './harness.ts';
import { kernelBefore, type Overlay, useOverlays } from './overlay.ts';
import {
  bytes,
  errorOf,
  FEATURES,
  inodeOf,
  mountLower,
  originOf,
  PAIRS,
  store,
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

/** mknod(2): a character device, which is a whiteout if its number is 0. */
const WHITEOUT = S_IFCHR;

describe('Linux reads in an upper directory that is made here', () => {
  let disk: string;
  let counter = 0;
  let layers: string;
  let upper: string;

  beforeAll(async () => {
    disk = await mountTmpfs(scratch.at('upper-made-here'));
  });

  beforeEach(() => {
    layers = join(disk, String(counter++));
    upper = join(layers, 'upper');
    mkdirSync(upper, { recursive: true });
  });

  const show = (options = FEATURES, lowers: readonly string[] = [lower]): Promise<Overlay> =>
    mountOverlay(lowers, layers, options);
  const make = (name: string, content = ''): string => {
    const path = join(upper, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  };
  const makeDirectory = (name: string): string => {
    mkdirSync(join(upper, name), { recursive: true });
    return join(upper, name);
  };

  test('whiteouts and opaque directories', async () => {
    mknod(join(upper, 'gone'), WHITEOUT, encodeDevice(0, 0));
    store(makeDirectory('moved'), 'opaque', Y);
    for (const [name, value] of [
      ['other', 'n'],
      ['removed', 'yy'],
    ] as const) {
      expect(decodeOpaque(bytes(value))).toBe('merged');
      store(makeDirectory(name), 'opaque', bytes(value));
    }
    const overlay = await show();
    expect(existsSync(overlay.path('gone'))).toBe(false);
    expect(readdirSync(overlay.at)).not.toContain('gone');
    expect(readdirSync(overlay.path('moved'))).toEqual([]);
    expect(readdirSync(overlay.path('other')).sort()).toEqual(['file', 'linked link', 'linked too']);
    expect(readdirSync(overlay.path('removed'))).toEqual(['below']);
  });

  test('a root that is marked opaque, and is not', async () => {
    store(upper, 'opaque', Y);
    expect(readdirSync((await show()).at)).toContain('file');
  });

  test.skipIf(kernelBefore(6, 8))('whiteouts that are xattrs, in a layer with another below', async () => {
    const middle = join(layers, 'middle');
    for (const name of ['moved', 'other']) mkdirSync(join(middle, name), { recursive: true });
    const files = { 'moved/file': '', 'other/file': '', 'other/linked too': 'not empty' };
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(middle, name), content);
      store(join(middle, name), 'whiteout', bytes('any'));
    }
    store(join(middle, 'other'), 'opaque', X);
    const overlay = await show([], [middle, lower]);
    const { mode, size } = lstatSync(join(middle, 'other/file'));
    expect(mayBeXattrWhiteout(mode, size)).toBe(true);
    expect(existsSync(overlay.path('other/file'))).toBe(false);
    expect(readdirSync(overlay.path('other')).sort()).toEqual(['linked link', 'linked too']);
    expect(text(overlay.path('other/linked too'))).toBe('not empty');
    // in a directory without the mark it is listed, but not found
    expect(readdirSync(overlay.path('moved')).sort()).toEqual(['file', 'sub']);
    expect(existsSync(overlay.path('moved/file'))).toBe(false);
  });

  test('redirects, and refuses redirects that are refused here', async () => {
    const values = [
      'moved',
      '/moved/sub',
      '/moved/sub/',
      '/',
      '',
      '.',
      '..',
      '...',
      'a/b',
      '/..',
      '/moved/..',
      '/./moved',
    ];
    const parts = fc.array(fc.constantFrom('moved', 'sub', '/', '.', 'x', '//', '..'), { maxLength: 6 });
    values.push(...fc.sample(parts, { numRuns: 300, seed: 1 }).map((parts) => parts.join('')), `/${'n'.repeat(300)}`);
    for (const [i, value] of values.entries()) store(makeDirectory(`d${i}`), 'redirect', bytes(value));
    const overlay = await show();
    for (const [i, value] of values.entries()) {
      const code = errorOf(() => readdirSync(overlay.path(`d${i}`)));
      const isRefused = decodeRedirect(bytes(value)) === undefined;
      expect({ value, refused: ['EINVAL', 'EACCES'].includes(code) }).toEqual({ value, refused: isRefused });
    }
    expect(readdirSync(overlay.path('d0')).sort()).toEqual(['file', 'sub']);
    expect(readdirSync(overlay.path('d1')).sort()).toEqual(['deep', 'file']);
  });

  test('redirects from the root, even if a directory above is opaque; none of one that is opaque itself', async () => {
    store(makeDirectory('other'), 'opaque', Y);
    store(makeDirectory('other/absolute'), 'redirect', bytes('/moved'));
    store(makeDirectory('other/relative'), 'redirect', bytes('file'));
    store(makeDirectory('both'), 'opaque', Y);
    store(join(upper, 'both'), 'redirect', bytes('removed'));
    // redirects to a file and to a symbolic link are refused
    store(makeDirectory('of a file'), 'redirect', bytes('file'));
    store(makeDirectory('of a link'), 'redirect', bytes('link'));
    const overlay = await show();
    expect(readdirSync(overlay.path('other')).sort()).toEqual(['absolute', 'relative']);
    expect(readdirSync(overlay.path('other/absolute')).sort()).toEqual(['file', 'sub']);
    for (const name of ['other/relative', 'both', 'of a file', 'of a link']) {
      expect(readdirSync(overlay.path(name))).toEqual([]);
    }
  });

  test('redirects as far as a NUL, which are refused here', async () => {
    store(makeDirectory('d'), 'redirect', bytes('moved\0sub'));
    expect(decodeRedirect(bytes('moved\0sub'))).toBeUndefined();
    expect(readdirSync((await show()).path('d')).sort()).toEqual(['file', 'sub']);
  });

  test('files without data, also at another place', async () => {
    // two files with the same data are left out: Linux answers ESTALE for the second
    for (const [name, image] of [
      ['file', 'file'],
      ['elsewhere', 'written'],
    ] as const) {
      const path = make(name);
      truncateSync(path, lstatSync(join(lower, image)).size);
      store(path, 'metacopy', encodeMetacopy(PLAIN_METACOPY));
      chmodSync(path, 0o640);
    }
    const redirect = encodeRedirect({ isAbsolute: false, names: [bytes('written')] }) as Uint8Array;
    store(join(upper, 'elsewhere'), 'redirect', redirect);
    const digest = encodeMetacopy({ flags: 0, algorithm: 1, digest: new Uint8Array(32) });
    truncateSync(make('gone'), lstatSync(join(lower, 'gone')).size);
    store(join(upper, 'gone'), 'metacopy', digest);
    for (const [i, value] of ['0', '00', '000'].entries()) store(make(`pairs/0${i}`), 'metacopy', bytes(value));
    const overlay = await show();
    expect(text(overlay.path('file'))).toBe('file of the image');
    expect(text(overlay.path('elsewhere'))).toBe('written of the image');
    for (const name of ['file', 'elsewhere']) expect(lstatSync(overlay.path(name)).mode & 0o777).toBe(0o640);
    // without verity= the digest is ignored
    expect(text(overlay.path('gone'))).toBe('gone of the image');
    for (const [i, value] of ['0', '00', '000'].entries()) {
      expect(decodeMetacopy(bytes(value))).toBeUndefined();
      expect(errorOf(() => lstatSync(overlay.path(`pairs/0${i}`)))).toBe('EIO');
    }
  });

  test.skipIf(kernelBefore(6, 6))('the digest of a file without data, if it is to be verified', async () => {
    const good = encodeMetacopy({ flags: 0, algorithm: 1, digest: new Uint8Array(32) });
    const wrong = [good.slice(0, -1), Uint8Array.from([1, ...good.subarray(1)]), Uint8Array.from([...good, 0])];
    for (const [i, value] of [good, ...wrong].entries()) store(make(`pairs/0${i}`), 'metacopy', value);
    const overlay = await show(['metacopy=on', 'verity=on', 'xino=off']);
    // the file below has no fs-verity, so no file can be opened; files with a malformed value are not even found
    expect(errorOf(() => lstatSync(overlay.path('pairs/00')))).toBe('');
    expect(errorOf(() => readFileSync(overlay.path('pairs/00')))).toBe('EIO');
    for (const [i, value] of wrong.entries()) {
      expect(decodeMetacopy(value)).toBeUndefined();
      expect(errorOf(() => readFileSync(overlay.path(`pairs/0${i + 1}`)))).toBe('EIO');
    }
  });

  test('the index of hard links, and the links of each', async () => {
    const index = join(layers, 'work/index');
    mkdirSync(index, { recursive: true });
    const values = ['U+0', 'U-1', 'U+5', 'U-9', 'L+0', 'L-1', 'L+7', 'U+007\n', 'U', '', 'X+1', 'U++1', 'U+1 '];
    values.push('U+000000000000');
    expect(values).toHaveLength(PAIRS.length);
    for (const [i, value] of values.entries()) {
      const path = make(`pairs/${PAIRS[i]}`, 'written');
      const origin = originOf(join(lower, `pairs/${PAIRS[i]}`));
      store(path, 'origin', origin);
      store(path, 'nlink', bytes(value));
      linkSync(path, join(index, textOf(indexName(origin))));
    }
    const overlay = await show();
    for (const [i, value] of values.entries()) {
      const pair = PAIRS[i] as string;
      const nlink = lstatSync(join(upper, 'pairs', pair)).nlink;
      const relative = decodeNlink(bytes(value));
      const expected = (relative && applyNlink(relative, nlink, 2)) ?? nlink;
      expect({ value, nlink: lstatSync(overlay.path('pairs', pair)).nlink }).toEqual({ value, nlink: expected });
      // the other name, which is not in the upper layer, is found by the index
      const [one, two] = [pair, `${pair} too`].map((name) => lstatSync(overlay.path('pairs', name)).ino);
      expect(one).toBe(two);
      expect(text(overlay.path('pairs', `${pair} too`))).toBe('written');
    }
  });

  test('origins, and continues without malformed ones', async () => {
    const origin = originOf(join(lower, 'file'));
    const values = {
      moved: origin,
      bad: origin.slice(0, -1),
      magic: Uint8Array.from([0, 0xfa, ...origin.subarray(2)]),
      empty: new Uint8Array(),
      later: Uint8Array.from([1, ...origin.subarray(1)]),
    };
    for (const [name, value] of Object.entries(values)) store(make(name, name), 'origin', value);
    const overlay = await show(['xino=on']);
    /** The inode number without the mark of the layer in the highest bits. */
    const inode = (name: string): number =>
      Number(lstatSync(overlay.path(name), { bigint: true }).ino & ((1n << 52n) - 1n));
    expect(inode('moved')).toBe(inodeOf(join(lower, 'file')).id);
    for (const [name, value] of Object.entries(values)) {
      if (name === 'moved') continue;
      expect(decodeOrigin(value)).toEqual(['bad', 'magic'].includes(name) ? undefined : { other: value });
      expect(inode(name)).toBe(lstatSync(join(upper, name)).ino);
      expect(text(overlay.path(name))).toBe(name);
    }
  });

  test.skipIf(kernelBefore(6, 7))('xattrs of users, by the names that they have there', async () => {
    const path = make('mine');
    for (const name of ['trusted.overlay.opaque', 'trusted.overlay.overlay.mine', 'user.overlay.mine']) {
      setXattr(path, textOf(TRUSTED.escape(bytes(name)) as Uint8Array), bytes(name));
    }
    store(path, 'origin', new Uint8Array());
    const overlay = await show();
    for (const [name, value] of xattrsOf(overlay.path('mine'))) expect(name).toBe(textOf(value));
    expect(xattrsOf(overlay.path('mine')).size).toBe(3);
    removeXattr(overlay.path('mine'), 'trusted.overlay.opaque');
    expect(xattrsOf(path).has('trusted.overlay.overlay.opaque')).toBe(false);
  });
});
