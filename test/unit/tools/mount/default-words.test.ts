import { describe, expect, test } from 'vitest';
import { withDefaultUrls } from '../../../../tools/mount/default-words.ts';

describe('withDefaultUrls()', () => {
  const repositories = ['/var/lib/cfs', 'https://example.org/a,b'];

  test('adds the remote ones of the default repositories', () => {
    expect(withDefaultUrls(['ro'], repositories)).toEqual(['ro', 'repo=https://example.org/a\\,b']);
  });

  test.each(['upperdir=/u', 'verify=fsverity', 'driver=fuse-native'])('adds none with %s', (word) => {
    expect(withDefaultUrls([`ro,${word}`], repositories)).toEqual([`ro,${word}`]);
  });
});
