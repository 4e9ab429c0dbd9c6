import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import { splitList } from '../../../src/mount/option-list.ts';
import {
  formatUpperOptions,
  isUpperWord,
  parseUpperOptions,
  UPPER_OPTION_NAMES,
  type UpperOptions,
} from '../../../src/mount/upper-options.ts';

const DIRS = 'upperdir=/u,workdir=/w';
const parse = (list: string): UpperOptions | undefined => parseUpperOptions(splitList(list));
const withDirs = (list: string): UpperOptions | undefined => parse(`${DIRS},${list}`);

function refusal(list: string): string {
  try {
    parse(list);
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    expect((error as CfsError).kind).toBe('usage');
    return (error as CfsError).message;
  }
  throw new Error(`${list} was not refused`);
}

describe('parseUpperOptions()', () => {
  test('has no upper layer without upperdir, with any words of mount(8)', () => {
    for (const list of ['', 'ro', 'rw', 'uuid=off', 'rw,repo=/a,verify=read']) expect(parse(list)).toBeUndefined();
  });

  test('has these defaults', () => {
    const defaults = {
      upperdir: '/u',
      workdir: '/w',
      userxattr: false,
      volatile: false,
      redirectDir: 'on',
      metacopy: true,
      index: true,
      xino: 'auto',
      uuid: 'auto',
      readOnly: false,
    };
    expect(parse(DIRS)).toEqual(defaults);
    expect(withDirs('rw,nodev,repo=/a')).toEqual(defaults);
  });

  test('makes paths absolute', () => {
    expect(parse('upperdir=u,workdir=../w')).toMatchObject({
      upperdir: `${process.cwd()}/u`,
      workdir: expect.stringMatching(/^\/.*w$/),
    });
  });

  test('accepts a comma, a colon or a backslash of a path after a backslash, as overlayfs does', () => {
    expect(parse('upperdir=/a\\,b\\:c,workdir=/d\\\\e,volatile')).toMatchObject({
      upperdir: '/a,b:c',
      workdir: '/d\\e',
      volatile: true,
    });
    expect(parse('upperdir=/a=b,workdir=/w=')).toMatchObject({ upperdir: '/a=b', workdir: '/w=' });
  });

  test('the last one counts', () => {
    expect(parse(`upperdir=/x,${DIRS},index=on,index=off,rw,ro`)).toMatchObject({
      upperdir: '/u',
      index: false,
      readOnly: true,
    });
    expect(withDirs('ro,rw')?.readOnly).toBe(false);
    expect(withDirs('ro,volatile,rw')).toMatchObject({ readOnly: false, volatile: true });
  });

  test.each([
    ['redirect_dir=on', { redirectDir: 'on', metacopy: true }],
    ['redirect_dir=off', { redirectDir: 'follow', metacopy: false }],
    ['redirect_dir=follow', { redirectDir: 'follow', metacopy: false }],
    ['redirect_dir=nofollow', { redirectDir: 'nofollow', metacopy: false }],
    ['metacopy=on', { redirectDir: 'on', metacopy: true }],
    ['metacopy=off', { redirectDir: 'on', metacopy: false }],
    ['metacopy=off,redirect_dir=off', { redirectDir: 'follow', metacopy: false }],
    ['userxattr', { userxattr: true, redirectDir: 'nofollow', metacopy: false }],
    ['userxattr,redirect_dir=off', { redirectDir: 'nofollow', metacopy: false }],
    ['userxattr,redirect_dir=nofollow,metacopy=off', { redirectDir: 'nofollow', metacopy: false }],
    ['index=off,xino=on,uuid=off', { index: false, xino: 'on', uuid: 'off' }],
    ['xino=off', { xino: 'off' }],
    ['volatile', { volatile: true }],
  ])('%s', (list, expected) => {
    expect(withDirs(list)).toMatchObject(expected);
  });

  test.each([
    ['upperdir=/u', 'mount option upperdir= needs workdir=, an empty directory on the same file system'],
    ['upperdir=/u,ro', 'mount option upperdir= needs workdir=, an empty directory on the same file system'],
    ['workdir=/w', 'mount option workdir needs upperdir=, the directory for changes'],
    ['volatile', 'mount option volatile needs upperdir=, the directory for changes'],
    ['metacopy=off', 'mount option metacopy needs upperdir=, the directory for changes'],
    [`${DIRS},volatile,ro`, 'mount options volatile and ro exclude each other'],
    [`${DIRS},userxattr,redirect_dir=on`, 'mount options userxattr and redirect_dir=on exclude each other'],
    [`${DIRS},userxattr,redirect_dir=follow`, 'mount options userxattr and redirect_dir=follow exclude each other'],
    [`${DIRS},metacopy=on,userxattr`, 'mount options userxattr and metacopy=on exclude each other'],
    [`${DIRS},metacopy=on,redirect_dir=off`, 'mount options metacopy=on and redirect_dir=off exclude each other'],
    [
      `${DIRS},redirect_dir=nofollow,metacopy=on`,
      'mount options metacopy=on and redirect_dir=nofollow exclude each other',
    ],
    ['upperdir=,workdir=/w', 'mount option upperdir= needs a directory'],
    ['upperdir,workdir=/w', 'mount option upperdir needs a value: upperdir=…'],
    [`${DIRS},userxattr=on`, 'mount option userxattr takes no value'],
    [`${DIRS},volatile=`, 'mount option volatile takes no value'],
    [`${DIRS},index=yes`, 'mount option index= takes on, off; not "yes"'],
    [`${DIRS},index`, 'mount option index needs a value: index=…'],
    [`${DIRS},xino=`, 'mount option xino= takes on, off, auto; not ""'],
    [`${DIRS},redirect_dir=always`, 'mount option redirect_dir= takes on, follow, nofollow, off; not "always"'],
    [`${DIRS},uuid=null`, 'mount option uuid= takes on, off; not "null"'],
    [`${DIRS},ro=1`, 'mount option ro takes no value'],
  ])('refuses %s', (list, message) => {
    expect(refusal(list)).toBe(message);
  });
});

test('isUpperWord() knows the options that only an upper layer has', () => {
  for (const name of UPPER_OPTION_NAMES) {
    expect(isUpperWord(name)).toBe(true);
    expect(isUpperWord(`${name}=x`)).toBe(true);
  }
  for (const word of ['ro', 'rw', 'uuid=on', 'upper', 'upperdirs=/u', '', '=upperdir']) {
    expect(isUpperWord(word)).toBe(false);
  }
});

test('formatUpperOptions() prints words that yield the same settings, with any path', () => {
  const path = fc
    .string({ unit: fc.constantFrom('a', 'ä', ',', '\\', '=', ' ', ':', '\udc80', '\n'), minLength: 1 })
    .map((name) => `/${name}`);
  const flag = fc.constantFrom('on', 'off');
  const list = fc.record({
    upperdir: path,
    workdir: path,
    index: flag,
    xino: fc.constantFrom('on', 'off', 'auto'),
    more: fc.subarray(['volatile', 'userxattr', 'redirect_dir=off', 'metacopy=off']),
  });
  fc.assert(
    fc.property(list, ({ upperdir, workdir, more, ...rest }) => {
      const words = [
        `upperdir=${upperdir}`,
        `workdir=${workdir}`,
        ...Object.entries(rest).map(([name, value]) => `${name}=${value}`),
        ...more,
      ];
      const options = parseUpperOptions(words) as UpperOptions;
      expect(options).toMatchObject({ upperdir, workdir });
      expect(parse(formatUpperOptions(options))).toEqual(options);
    }),
  );
});
