import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Excluder, patternsIn } from '../../../../src/pack/sources/exclusions.ts';

/** Which of the paths the pattern leaves out; a path that ends with a slash is a directory. */
const excluded = (pattern: string, paths: readonly string[]): string[] =>
  paths.filter((path) =>
    new Excluder({ patterns: [pattern] }, 4).excludes(
      Buffer.from(`src/${path.replace(/\/$/, '')}`),
      path.endsWith('/'),
    ),
  );

describe('excludes()', () => {
  it.each<[pattern: string, yes: string[], no: string[]]>([
    ['.git', ['.git/', 'a/.git/', 'a/b/.git'], ['.github/', 'a.git', 'git', '.git/config']],
    ['*.log', ['x.log', 'a/x.log', '.log', 'a/b/.log'], ['x.log.gz', 'log', 'x.logs']],
    ['/build', ['build/', 'build'], ['a/build/', 'builds']],
    ['./build', ['build/'], ['a/build/']],
    ['build/', ['build/', 'a/build/'], ['build', 'a/build']],
    ['a/b', ['a/b', 'x/a/b/'], ['xa/b', 'a/x/b', 'a/bc']],
    ['/a/*', ['a/b', 'a/.c/'], ['a/', 'a/b/c', 'x/a/b']],
    ['a*b', ['ab', 'axxb'], ['a/b', 'ax/xb']],
    ['a**b', ['ab', 'a/b', 'ax/y/xb'], ['a/bc']],
    ['/**/tmp', ['tmp', 'a/tmp', 'a/b/tmp'], ['a/xtmp']],
    ['a/**/b', ['a/b', 'a/x/b', 'a/x/y/b'], ['a/xb', 'axb']],
    ['?', ['x', 'é', 'a/y', '😀'], ['xy', 'a/xy']],
    ['[a-c]x', ['ax', 'd/bx'], ['dx', '-x']],
    ['[!a-c]x', ['dx'], ['ax', 'x']],
    ['[]x]', [']', 'x'], ['y']],
    ['a[/]b', [], ['a/b']],
    ['[x', ['[x'], ['x']],
    ['\\*', ['*', 'a/*'], ['x']],
    ['a.b+c(d)|{e}^$', ['a.b+c(d)|{e}^$'], ['axb+c(d)|{e}^$']],
    ['new\nline', ['new\nline'], ['new']],
  ])('%j', (pattern, yes, no) => {
    expect(excluded(pattern, [...yes, ...no])).toEqual(yes);
  });

  it('compares bytes that are not UTF-8', () => {
    const excluder = new Excluder({ patterns: ['a\udce9*'] }, 2);
    expect(excluder.excludes(Buffer.from('s/a\xe9\xff', 'latin1'), false)).toBe(true);
    expect(excluder.excludes(Buffer.from('s/a\xe8', 'latin1'), false)).toBe(false);
  });

  it.each(['', '/', './', '//'])('refuses %j', (pattern) => {
    expect(() => new Excluder({ patterns: [pattern] }, 0)).toThrow('the pattern has no name');
  });
});

describe('namesOf()', () => {
  it('keeps nothing but the tag of a cache, if it has the signature', () => {
    const root = mkdtempSync(join(tmpdir(), 'cfs-exclusions-'));
    try {
      const names = [Buffer.from('CACHEDIR.TAG'), Buffer.from('x')];
      const look = (name: string, content: string | undefined): number => {
        const path = join(root, name);
        mkdirSync(path);
        if (content === undefined) mkdirSync(join(path, 'CACHEDIR.TAG'));
        else writeFileSync(join(path, 'CACHEDIR.TAG'), content);
        const fd = openSync(path, 'r');
        try {
          return new Excluder({ caches: true }, 0).namesOf(fd, names).length;
        } finally {
          closeSync(fd);
        }
      };
      expect(look('tagged', 'Signature: 8a477f597d28d172789f06886806bc55\n# more')).toBe(1);
      expect(look('other', 'Signature: 8a477f597d28d172789f06886806bc56')).toBe(2);
      expect(look('short', 'Signature:')).toBe(2);
      expect(look('directory', undefined)).toBe(2);
      expect(new Excluder({}, 0).namesOf(-1, names)).toBe(names);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

it('patternsIn() has a pattern for each line that is not a comment', () => {
  expect(patternsIn('# all\n*.o\r\n\n; more\n/build/\n \\#x')).toEqual(['*.o', '/build/', ' \\#x']);
});
