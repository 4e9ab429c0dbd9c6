import { expect, test } from 'vitest';
import { parseConfig } from '../../../src/base/config-text.ts';

const lists = (text: string): Record<string, unknown> => Object.fromEntries(parseConfig(text, '/etc/cfs.conf'));

/** The values of keys that have one. */
const parsed = (text: string): Record<string, unknown> =>
  Object.fromEntries([...parseConfig(text, '/etc/cfs.conf')].map(([key, [value]]) => [key, value]));

test('lines are keys and values; comments and empty lines are nothing', () => {
  expect(parsed('')).toEqual({});
  expect(parsed('# all\n\n  store =  /srv/a = b \r\ncolor=never\n#hash = x\nhash = fsverity-sha256')).toEqual({
    store: { value: '/srv/a = b', line: 3 },
    color: { value: 'never', line: 4 },
    hash: { value: 'fsverity-sha256', line: 6 },
  });
});

test('some keys may be in several lines, which count in their order', () => {
  expect(lists('repo = /b\nkey = /k\nstore = /s\nrepo = /a\nrepo = /b\n')).toEqual({
    repo: [
      { value: '/b', line: 1 },
      { value: '/a', line: 4 },
      { value: '/b', line: 5 },
    ],
    key: [{ value: '/k', line: 2 }],
    store: [{ value: '/s', line: 3 }],
  });
});

test.each([
  ['repo = /a\nrepo = b', '2: repo is an absolute path or a URL, not "b"'],
  ['key = pub.pem', '1: key is an absolute path, not "pub.pem"'],
  ['store', '1: a line is "key = value", not "store"'],
  ['\n[core]', '2: a line is "key = value", not "[core]"'],
  ['stoer = /a', '1: there is no key "stoer" (did you mean store?)'],
  ['xyzzy = /a', '1: there is no key "xyzzy"; the keys are store, repo, key, hash, color, cache, cache-size'],
  ['constructor = /a', '1: there is no key "constructor"'],
  [' = /a', '1: there is no key ""'],
  ['store =', '1: store has no value'],
  ['store = relative', '1: store is an absolute path, not "relative"'],
  ['store = /a\nstore = /b', '2: store is also in line 1'],
  ['repo = ftp://a.org/x', '1: repo is an absolute path or a URL, not "ftp://a.org/x"'],
  ['store = https://a.org/x', '1: store is an absolute path, not "https://a.org/x"'],
  ['cache = here', '1: cache is an absolute path, not "here"'],
  ['cache-size = 5%', '1: cache-size is a number of bytes, with K, M, G or T for powers of 1024, not "5%"'],
  ['cache-size = 1G\ncache-size = 2G', '2: cache-size is also in line 1'],
  ['cache-min-free = 100%', '1: cache-min-free is a number of bytes'],
  ['hash = md5', '1: hash is blake3 or fsverity-sha256, not "md5"'],
  ['color = Always', '1: color is auto or always or never, not "Always"'],
  ['store = /a\0b', '1: there is a NUL'],
  [`${'x'.repeat(10_000)} = 1`, '1: there is no key "xxx'],
])('%j is refused with file and line', (text, problem) => {
  expect(() => parsed(text)).toThrow(`/etc/cfs.conf:${problem}`);
  let message = '';
  try {
    parsed(text);
  } catch (error) {
    ({ message } = error as Error);
  }
  expect(message.length).toBeLessThan(300);
});

test('the cache, and remote repositories', () => {
  const text = 'repo = https://a.org/x|https://b.org/x\ncache = /big\ncache-size = 20G\ncache-min-free = 5%';
  expect(parsed(text)).toEqual({
    repo: { value: 'https://a.org/x|https://b.org/x', line: 1 },
    cache: { value: '/big', line: 2 },
    'cache-size': { value: '20G', line: 3 },
    'cache-min-free': { value: '5%', line: 4 },
  });
});
