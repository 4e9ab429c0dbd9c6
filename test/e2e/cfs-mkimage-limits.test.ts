/** cfs-mkimage with scarce or odd resources: few descriptors or threads, false sizes, sizes beyond the format. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { createDigest } from '../../src/base/digest.ts';
import { EXIT } from '../../tools/cli.ts';
import { manyFiles, messageOf, mkimage, mountTmpfs, objectsIn, packed } from './cli.ts';
import { useScratch } from './harness.ts';
import { HERE, type Outcome, run } from './run.ts';

const scratch = useScratch();

/** Runs cfs-mkimage in a shell that has set limits first. */
const limited = (limits: string, args: readonly string[]): Promise<Outcome> =>
  run(['sh', '-c', `${limits}; exec "$@"`, 'sh', ...HERE.tool('cfs-mkimage', ['--print-id', ...args])]);

describe('with few descriptors', () => {
  test('packs the same image', async () => {
    const source = manyFiles(scratch.at('many'), 2000, 200);
    let deep = source;
    for (let i = 0; i < 100; i++) {
      deep += '/d';
      mkdirSync(deep);
    }
    writeFileSync(`${deep}/file`, 'content');
    const { id } = await packed(scratch, [
      '--no-fsync',
      '--store',
      scratch.at('reference'),
      source,
      scratch.at('r.cfs'),
    ]);
    for (const limit of [80, 1024]) {
      for (const words of [[], ['--no-fsync']]) {
        const store = scratch.at(`store-${limit}-${words.length}`);
        const args = [...words, '--threads', '4', '--store', store, source, scratch.at(`${limit}.cfs`)];
        const { status, stdout, stderr } = await limited(`ulimit -n ${limit}`, args);
        expect({ limit, status, stderr, stdout }).toEqual({ limit, status: 0, stderr: '', stdout: `${id}\n` });
      }
    }
  });

  test('a deep tree is walked with fewer than planned, because other parts of the process have some, too', async () => {
    let deep = scratch.directory('deep');
    const walk = `
      import { openDirectorySource } from ${JSON.stringify(pathToFileURL('dist/src/pack/sources/directory.js').href)};
      const options = { warn: console.log, useEpoch: false, skipXattrs: false, skipDevices: false, oneFileSystem: false };
      const source = openDirectorySource(${JSON.stringify(deep)}, options);
      let entries = 0;
      for (const _ of source.entries()) entries++;
      console.log(entries);`;
    for (let i = 0; i < 100; i++) {
      deep += '/d';
      mkdirSync(deep);
      writeFileSync(`${deep}/file`, '');
    }
    const words = [process.execPath, '--input-type=module', '--eval', walk];
    const { status, stdout, stderr } = await run(['sh', '-c', 'ulimit -n 70; exec "$@"', 'sh', ...words]);
    expect({ status, stderr, stdout }).toEqual({ status: 0, stderr: '', stdout: '200\n' });
  });

  test('names the limit that is too low, and does not blame the source', async () => {
    const args = ['--store', scratch.at('hopeless'), manyFiles(scratch.at('few'), 3, 3), scratch.at('h.cfs')];
    const outcome = await limited('ulimit -n 50', args);
    expect(messageOf(outcome, EXIT.system)).toMatch(/this process may have 50 files open, and needs \d+\. Raise/);
  });
});

describe('a file whose size is made up', () => {
  test.each([
    ['0, of procfs', '/proc/version', 'it reports 0 bytes, and more can be read'],
    ['a page, of sysfs', '/sys/kernel/uevent_seqnum', 'it reports 4096 bytes, and'],
  ])('of %s is packed with its content, and does not count as changed', async (what, file, reason) => {
    if (!existsSync(file)) return;
    const source = scratch.directory(`made-up-${what.length}`);
    writeFileSync(`${source}/file`, '');
    execFileSync('mount', ['--bind', file, `${source}/file`]);
    try {
      const outcome = await mkimage(scratch, ['--store', scratch.at('made-up'), source, scratch.at('made-up.cfs')]);
      const message = messageOf(outcome, EXIT.source);
      expect(message).toContain(`Cannot pack ${source}/file: its size differs from its content: ${reason}`);
      expect(existsSync(scratch.at('made-up.cfs'))).toBe(false);
    } finally {
      execFileSync('umount', [`${source}/file`]);
    }
  });
});

describe('sparse files', () => {
  test('beyond the limits of an image are refused by their size', async () => {
    const source = await mountTmpfs(scratch.at('huge'));
    writeFileSync(`${source}/lastlog`, '');
    truncateSync(`${source}/lastlog`, 9 * 2 ** 40);
    const outcome = await mkimage(scratch, ['--store', scratch.at('huge-store'), source, scratch.at('huge.cfs')]);
    expect(messageOf(outcome, EXIT.source)).toContain(
      `Cannot pack ${source}/lastlog: it has 9895604649984 bytes; an image can hold files of at most`,
    );
  });

  test.each(['blake3', 'fsverity-sha256'] as const)('keep their holes, with %s', async (hash) => {
    const source = scratch.directory(`sparse-${hash}`);
    writeFileSync(`${source}/file`, 'begin');
    truncateSync(`${source}/file`, 50_000_001);
    const store = scratch.at(`sparse-store-${hash}`);
    await packed(scratch, ['--no-fsync', '--hash', hash, '--store', store, source, scratch.at(`${hash}.cfs`)]);
    const [name = ''] = objectsIn(store);
    const stat = statSync(`${store}/objects/${name}`);
    expect(stat.size).toBe(50_000_001);
    expect(stat.blocks * 512).toBeLessThan(1_000_000);
    const hasher = createDigest(hash);
    hasher.update(Buffer.concat([Buffer.from('begin'), Buffer.alloc(50_000_001 - 5)]));
    expect(name.replace('/', '')).toBe(toHex(hasher.digest()));
  });
});

test('a file with too many names of xattrs to list is reported with the remedy', async () => {
  const source = await mountTmpfs(scratch.at('xattrs'));
  const program = `import os, sys
open(sys.argv[1], 'w').write('x' * 100)
for i in range(5000): os.setxattr(sys.argv[1], 'user.name%05d' % i, b'1')`;
  // older kernels have no user.* on tmpfs
  if ((await run(['python3', '-c', program, `${source}/file`])).status !== 0) return;
  const args = ['--no-fsync', '--store', scratch.at('xattrs-store'), source, scratch.at('xattrs.cfs')];
  expect(messageOf(await mkimage(scratch, args), EXIT.source)).toContain(
    `Cannot read the xattrs of ${source}/file: their names have more than 64 KiB together, which Linux does not list. Remove some, or pack with --skip-xattrs.`,
  );
  await packed(scratch, ['--skip-xattrs', ...args]);
});

test('IMAGE "-" is not a file of that name, and none is made', async () => {
  const source = manyFiles(scratch.at('dash'), 1);
  const outcome = await mkimage(scratch, ['--store', scratch.at('dash-store'), source, '-']);
  expect(messageOf(outcome, EXIT.usage)).toBe(
    'Cannot write image -: an image cannot be written to standard output. Use ./- for a file of this name',
  );
});

test('without /proc both programs report that', async () => {
  const image = scratch.at('proc.cfs');
  const store = scratch.at('proc-store');
  const source = manyFiles(scratch.at('proc'), 1);
  await packed(scratch, ['--no-fsync', '--store', store, source, image]);
  const without = (tool: string, args: readonly string[]): Promise<Outcome> =>
    run(['unshare', '-m', 'sh', '-c', 'mount -t tmpfs t /proc; exec "$@"', 'sh', ...HERE.tool(tool, args)]);
  const packing = await without('cfs-mkimage', ['--store', store, source, image]);
  expect(messageOf(packing, EXIT.system)).toMatch(/^\/proc is not mounted/);
  const mounting = await without('cfs-mount', ['--repo', store, image, scratch.directory('proc-mount')]);
  expect(messageOf(mounting, EXIT.system, 'cfs-mount')).toMatch(/^\/proc is not mounted/);
});
