/** A root file system of debootstrap is packed, mounted, compared, and used. */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { debianTree } from './debian.ts';
import { expectEqual, type Packed, useScratch } from './harness.ts';
import { succeed } from './run.ts';

const scratch = useScratch();
const MINUTES = 60_000;

const HELLO = `#include <stdio.h>
int main(void) { puts("hello from the image"); return 0; }
`;

describe('a root file system', () => {
  let source: string;
  let packed: Packed;

  beforeAll(async () => {
    source = await debianTree();
    packed = await scratch.pack(source);
  }, 10 * MINUTES);

  test('is packed whole', () => {
    expect(packed.entries).toBeGreaterThan(10_000);
    expect(packed.bytes).toBeGreaterThan(400_000_000);
  });

  test('makes the same image id from a copy elsewhere, and needs no new object', async () => {
    const copy = scratch.directory('copy');
    await succeed(['cp', '-a', `${source}/.`, copy], { timeoutMs: 5 * MINUTES });
    const again = await scratch.pack(copy);
    expect(again.id).toBe(packed.id);
    expect([again.newObjects, again.newBytes]).toEqual([0, 0]);
    // also into another store, with another number of threads
    const fresh = await scratch.pack(join(copy, 'usr/share'), { store: scratch.at('fresh'), args: ['--threads', '1'] });
    const known = await scratch.pack(join(source, 'usr/share'));
    expect(fresh.id).toBe(known.id);
    rmSync(copy, { recursive: true });
  });

  test('equals its source field by field, through the kernel driver', async () => {
    const mounted = await scratch.mount(packed.image);
    const result = await expectEqual(source, mounted.path);
    expect([result.entries, result.files, result.bytes]).toEqual([packed.entries, packed.files, packed.bytes]);
  });

  test('equals its source through fuse-native, as far as that supports it', async () => {
    const mounted = await scratch.mount(packed.image, { words: ['driver=fuse-native'] });
    const result = await expectEqual(source, mounted.path, { ignore: ['mtimeNsec'] });
    expect([result.entries, result.files, result.skipped]).toEqual([packed.entries, packed.files, 0]);
  });

  test.each(['kernel', 'fuse-native'])(
    'works as a system: chroot, python3 with ssl, gcc, git; driver=%s',
    async (driver) => {
      const mounted = await scratch.mount(packed.image, { words: [`driver=${driver}`, 'suid', 'dev'] });
      const script = `
      mount -t tmpfs tmpfs "$1/tmp"
      cp "$2" "$1/tmp/hello.c"
      chroot "$1" /bin/sh -ec '
        python3 -c "import ssl; print(ssl.OPENSSL_VERSION.split()[0])"
        gcc -O1 -o /tmp/hello /tmp/hello.c && /tmp/hello
        git --version | cut -d" " -f1-2
        perl -e "print 6 * 7, qq(\\n)"
        head -c 4 /dev/zero | od -An -tx1
      '`;
      const hello = scratch.at('hello.c');
      writeFileSync(hello, HELLO);
      // in a mount namespace of its own: the tmpfs goes away with it
      const output = await succeed(['unshare', '--mount', 'sh', '-ec', script, 'sh', mounted.path, hello], {
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      });
      expect(output.split('\n')).toEqual(['OpenSSL', 'hello from the image', 'git version', '42', ' 00 00 00 00', '']);
    },
  );
});

test('debootstrap is installed', () => {
  expect(execFileSync('sh', ['-c', 'command -v debootstrap'], { encoding: 'utf8' })).toContain('debootstrap');
});
