/**
 * The format of upper layers with a different kernel from that of test/e2e/overlay-format.test.ts, and with fs-verity
 * below. test/vm/overlay/guest/run is the script of the virtual machine, which runs before the first test.
 */
import { cpSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { fromHex, toHex } from '../../src/base/bytes.ts';
import { decodeMetacopy, encodeMetacopy, PLAIN_METACOPY } from '../../src/upper/overlay-format.ts';
import { OverlayXattrNames } from '../../src/upper/overlay-names.ts';
import { useScratch } from '../e2e/harness.ts';
import { expectRecoded, type StoredXattr } from '../e2e/overlay-layers.ts';
import { copyProject, runMachine } from './machine.ts';
import { Results } from './results.ts';

const scratch = useScratch();
const payload = scratch.at('payload');
let results: Results;

beforeAll(async () => {
  mkdirSync(payload);
  const source = scratch.directory('source');
  for (const name of ['moved/sub', 'other', 'removed/below']) mkdirSync(join(source, name), { recursive: true });
  for (const name of ['file', 'linked', 'written', 'renamed', 'moved/file']) writeFileSync(join(source, name), name);
  linkSync(join(source, 'linked'), join(source, 'other/linked too'));
  await scratch.pack(source, { store: join(payload, 'store'), image: join(payload, 'tree.cfs') });
  mkdirSync(join(payload, 'verity'));
  for (const name of ['sealed', 'plain']) writeFileSync(join(payload, 'verity', name), `${name}\n`.repeat(1000));
  cpSync(join(import.meta.dirname, 'overlay/guest'), payload, { recursive: true });
  copyProject(join(payload, 'cfs'));
  const { lines } = await runMachine(payload, scratch.path);
  if (process.env['CFS_DEBUG'] === '1') console.log(lines.join('\n'));
  results = new Results(lines);
});

const xattrsOf = (overlay: string): StoredXattr[] =>
  results.rows('xattr', overlay).map(([path = '', name = '', hex = '']) => ({ path, name, value: fromHex(hex) }));

const storedIn = (overlay: string, file: string, name: string): Uint8Array | undefined =>
  xattrsOf(overlay).find((xattr) => xattr.path === `/tmp/${overlay}/upper/${file}` && xattr.name === name)?.value;

test('no xattr is written that is not understood', () => {
  const trusted = new OverlayXattrNames(false);
  expect([...expectRecoded(xattrsOf('changes'), trusted)].sort()).toEqual(
    ['impure', 'metacopy', 'nlink', 'opaque', 'origin', 'redirect', 'upper', 'uuid'].sort(),
  );
  const seen = expectRecoded(xattrsOf('userxattr'), new OverlayXattrNames(true));
  expect([...seen].sort()).toEqual(['impure', 'opaque', 'origin', 'uuid']);
  expect([...expectRecoded(xattrsOf('userxattr'), trusted)]).toEqual([]);
});

test('redirects and links are as on other kernels', () => {
  const redirectOf = (file: string): string =>
    Buffer.from(storedIn('changes', file, 'trusted.overlay.redirect') ?? []).toString();
  expect(redirectOf('other/moved')).toBe('/moved');
  expect(redirectOf('sub')).toBe('/moved/sub');
  expect(redirectOf('new/renamed')).toBe('/renamed');
  expect(results.map('nlink', 'changes')).toMatchObject({ linked: '1', file: '2' });
  expect(Buffer.from(storedIn('changes', 'linked', 'trusted.overlay.nlink') ?? []).toString()).toBe('U-1');
});

test('a file without data has the fs-verity digest of the one below', () => {
  const [, digest = ''] = /sha256:([0-9a-f]{64})/.exec(results.value('digest') ?? '') ?? [];
  const expected = encodeMetacopy({ flags: 0, algorithm: 1, digest: fromHex(digest) });
  const written = storedIn('verity', 'sealed', 'trusted.overlay.metacopy') ?? new Uint8Array();
  expect(toHex(written)).toBe(toHex(expected));
  expect(decodeMetacopy(written)).toMatchObject({ algorithm: 1, digest: fromHex(digest) });
  expect(storedIn('verity', 'plain', 'trusted.overlay.metacopy')).toEqual(encodeMetacopy(PLAIN_METACOPY));
});
