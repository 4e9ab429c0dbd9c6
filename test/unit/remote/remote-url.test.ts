import { expect, test } from 'vitest';
import { isPrivateAddress } from '../../../src/remote/private-address.ts';
import { isRefName, isRemote, parseRemoteAddress } from '../../../src/remote/remote-url.ts';

const ID = 'ab'.repeat(32);

test.each([
  ['https://example.org/images', ['https://example.org/images/'], undefined, undefined],
  ['https://example.org/images/#app/v1.2', ['https://example.org/images/'], 'app/v1.2', undefined],
  [`https://example.org:8443/x@${ID.toUpperCase()}`, ['https://example.org:8443/x/'], undefined, ID],
  ['https://a/x|https://b/y#n', ['https://a/x/', 'https://b/y/'], 'n', undefined],
  ['http://127.0.0.1:80/x', ['http://127.0.0.1/x/'], undefined, undefined],
  ['http://[::1]:8080', ['http://[::1]:8080/'], undefined, undefined],
  ['http://localhost/', ['http://localhost/'], undefined, undefined],
])('%s', (word, mirrors, ref, id) => {
  const address = parseRemoteAddress(word);
  expect({ ...address, mirrors: address.mirrors.map(String) }).toMatchObject({ mirrors, ref, id });
});

test.each([
  ['ftp://example.org/x', '"ftp" is not known'],
  ['https://', 'not a URL'],
  ['https://user:secret@example.org/x', 'a user name or a password'],
  ['https://example.org/x?token=1', 'a query'],
  ['http://example.org/x', 'not encrypted'],
  ['http://127.0.0.1.example.org/x', 'not encrypted'],
  ['https://a/x|/srv/store', 'not a URL'],
  ['https://a/x#../y', 'not a name of an image'],
  ['https://a/x#', 'not a name of an image'],
])('%s is refused', (word, reason) => {
  expect(() => parseRemoteAddress(word)).toThrow(reason);
});

test('http to another machine is permitted on demand', () => {
  expect(parseRemoteAddress('http://example.org/x', true).mirrors.map(String)).toEqual(['http://example.org/x/']);
});

test.each(['app', 'app/v1.2', 'a+b_c-d', '1'])('%s is a name of an image', (name) => {
  expect(isRefName(name)).toBe(true);
});

test.each(['', '.', '..', 'a/../b', '/a', 'a/', 'a//b', 'a b', '.hidden', 'ä', 'a'.repeat(201), 'a.0123456789ab.tmp'])(
  '"%s" is not a name of an image',
  (name) => {
    expect(isRefName(name)).toBe(false);
  },
);

test('words that name something on the network', () => {
  expect(['https://a', 's3://b/c', 'oci+http://x'].map(isRemote)).toEqual([true, true, true]);
  expect(['/srv/store', 'store', './https', 'https:/x', 'a:b'].map(isRemote)).toEqual(Array(5).fill(false));
});

test.each([
  ['127.0.0.1', true, true],
  ['::1', true, true],
  ['::ffff:127.0.0.1', true, true],
  ['10.1.2.3', false, true],
  ['172.31.0.1', false, true],
  ['172.32.0.1', false, false],
  ['192.168.7.7', false, true],
  ['169.254.169.254', false, true],
  ['100.64.0.1', false, true],
  ['0.0.0.0', false, true],
  ['fe80::1', false, true],
  ['fd00::1', false, true],
  ['::ffff:10.0.0.1', false, true],
  ['9.9.9.9', false, false],
  ['2620:fe::fe', false, false],
])('%s', (address, isLoopback, isPrivate) => {
  expect(isPrivateAddress(address, 'loopback')).toBe(isLoopback);
  expect(isPrivateAddress(address)).toBe(isPrivate);
});
