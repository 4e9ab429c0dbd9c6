import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pathBytes, pathText } from '../../../src/base/path-text.ts';
import '../../../src/system/exact-paths.ts';
import { exactCommand } from '../../../src/system/exact-words.ts';

const CAFE = 'caf\udce9';
let scratch: string;
/** The real names, byte by byte. */
const names = (directory = scratch): string[] => readdirSync(pathBytes(directory), 'latin1' as BufferEncoding).sort();

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cfs-exact-'));
});
afterAll(() => rmSync(scratch, { recursive: true }));

test('files are made, found and removed under their exact names', () => {
  const directory = join(scratch, CAFE);
  mkdirSync(directory);
  writeFileSync(join(directory, 'a\udcff'), 'content');
  renameSync(join(directory, 'a\udcff'), join(directory, 'b\udcfe'));
  symlinkSync(join(directory, 'b\udcfe'), join(scratch, 'link'));
  expect(names()).toEqual(['caf\xe9', 'link']);
  expect(names(directory)).toEqual(['b\xfe']);
  expect(readFileSync(join(scratch, 'link'), 'utf8')).toBe('content');
  expect(existsSync(join(scratch, 'caf\ufffd'))).toBe(false);
  expect(existsSync(directory)).toBe(true);
  expect(lstatSync(join(directory, 'b\udcfe')).size).toBe(7);
  rmSync(directory, { recursive: true });
  rmSync(join(scratch, 'link'));
  expect(names()).toEqual([]);
});

test('names and links are read exactly', () => {
  const directory = mkdtempSync(join(scratch, `${CAFE}-`));
  writeFileSync(join(directory, 'x\udce9'), '');
  writeFileSync(join(directory, 'x\ufffd'), '');
  symlinkSync('x\udce9', join(directory, 'link'));
  expect(readdirSync(directory).sort()).toEqual(['link', 'x\udce9', 'x\ufffd'].sort());
  const types = readdirSync(directory, { withFileTypes: true }).map((entry) => [entry.name, entry.isFile()]);
  expect(types.sort()).toEqual(
    [
      ['link', false],
      ['x\udce9', true],
      ['x\ufffd', true],
    ].sort(),
  );
  expect(readlinkSync(join(directory, 'link'))).toBe('x\udce9');
  expect(readlinkSync(join(directory, 'link'), 'buffer')).toEqual(Buffer.from('x\xe9', 'latin1'));
  expect(realpathSync(join(directory, 'link'))).toBe(join(realpathSync(directory), 'x\udce9'));
  expect(realpathSync(join(directory, 'link'), 'buffer')).toEqual(pathBytes(join(realpathSync(directory), 'x\udce9')));
  expect(() => realpathSync(join(directory, 'missing\udce9'))).toThrow('ENOENT');
});

test('the working directory is exact', () => {
  const directory = join(scratch, `${CAFE}-cwd`);
  mkdirSync(directory);
  const before = process.cwd();
  // chdir accepts text only
  symlinkSync(directory, join(scratch, 'to-cwd'));
  process.chdir(join(scratch, 'to-cwd'));
  try {
    expect(resolve('file')).toBe(join(realpathSync(directory), 'file'));
  } finally {
    process.chdir(before);
  }
});

describe('arguments of other programs', () => {
  const outputOf = (args: readonly string[]): string[] => {
    const [program, words] = exactCommand('printf', ['%s\\0', ...args]);
    const { stdout, status } = spawnSync(program, words, { encoding: 'buffer' });
    expect(status).toBe(0);
    return pathText(stdout).split('\0').slice(0, -1);
  };
  const odd = ['', 'a b', 'new\nline\n', '$(touch pwned) `x` "\'\\', '-n', '%s\\060', '*', 'é'];

  test('are exact', () => {
    const args = [...odd, CAFE, '\udcff\n\n', 'x'];
    expect(outputOf(args)).toEqual(args);
  });

  test('are passed without a shell if all of them are UTF-8', () => {
    expect(exactCommand('program', odd)).toEqual(['program', odd]);
  });
});
