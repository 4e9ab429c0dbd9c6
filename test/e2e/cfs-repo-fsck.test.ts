/** cfs-repo fsck: every kind of damage is found, moved away and repaired, and the exit status reports the result. */
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { checkRepository } from '../../src/store/check/fsck.ts';
import { collectGarbage } from '../../src/store/gc/gc.ts';
import { unregisterImage } from '../../src/store/gc/register.ts';
import { openRepository } from '../../src/store/open-repository.ts';
import { expectUnlocked, expectWhole, manyFiles, messageOf, mountLoop, mountTmpfs, packed } from './cli.ts';
import { flipBit, inflict, objectPath, packVictims } from './damage.ts';
import { useScratch } from './harness.ts';
import { type Outcome, run, succeed } from './run.ts';

const scratch = useScratch();

const fsck = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-repo', ['fsck', ...args]);

interface Damaged {
  readonly object: string;
  readonly kind: string;
  readonly repaired: boolean;
  readonly quarantined?: string;
  readonly from?: string;
  readonly hindrance?: string;
}

interface Report {
  readonly status: number | null;
  readonly objects: number;
  readonly bytes: number;
  readonly damaged: readonly Damaged[];
  readonly oddities: readonly { readonly kind: string; readonly path: string; readonly mended?: boolean }[];
  readonly temporaries: number;
  readonly quarantined: number;
}

async function report(...args: readonly string[]): Promise<Report> {
  const { status, stdout, stderr } = await fsck('--json', ...args);
  expect(stderr).toBe('');
  return { status, ...(JSON.parse(stdout) as Omit<Report, 'status'>) };
}

const object = (store: string, n: number): string => {
  const all = readdirSync(join(store, 'objects')).flatMap((prefix) =>
    readdirSync(join(store, 'objects', prefix)).map((name) => prefix + name),
  );
  return all.sort()[n] as string;
};

function corrupt(store: string, digest: string): void {
  const path = objectPath(store, digest);
  chmodSync(path, 0o644);
  flipBit(path, 0);
  chmodSync(path, 0o444);
}

let good: string;
let serial = 0;
beforeAll(async () => {
  good = scratch.at('good');
  const source = manyFiles(scratch.at('source'), 50, 3000);
  writeFileSync(join(source, 'large'), Buffer.alloc(5_000_000, 'large '));
  await packed(scratch, ['--no-fsync', '--no-register', '--store', good, source, scratch.at('image.cfs')]);
});

/** A copy of the good store. */
function store(): string {
  const path = scratch.at(`store-${serial++}`);
  cpSync(good, path, { recursive: true });
  return path;
}

describe('cfs-repo fsck', () => {
  test('finds a good store good, reports the checked amount, and changes nothing', async () => {
    const { status, stdout, stderr } = await fsck(good);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^checked {5}51 objects, 5\.\d MB \(.*\)\ndamaged {5}0\n$/);
    expect(readdirSync(good).includes('quarantine')).toBe(false);
    expectUnlocked(good);
  });

  test.each(['blake3', 'fsverity-sha256'])('finds every damage in a store of %s, and repairs it', async (hash) => {
    const path = scratch.at(`victims-${hash}`);
    const victims = await packVictims(scratch, path, ['--hash', hash]);
    cpSync(path, `${path}.good`, { recursive: true });
    inflict(victims);
    const present = victims.damaged.filter(({ name }) => !name.endsWith('missing')).map(({ digest }) => digest);
    const first = await report(path);
    expect(first).toMatchObject({ status: 10 });
    expect(first.damaged.map((each) => each.object)).toEqual(expect.arrayContaining(present));
    for (const { digest } of victims.whole) expect(statSync(objectPath(path, digest)).size).toBeGreaterThan(0);
    const second = await report('--repair-from', `${path}.good`, path);
    expect(second.status).toBe(11);
    expect(second.damaged.map((each) => each.object)).toEqual(first.damaged.map((each) => each.object));
    expect(await report(path)).toMatchObject({ status: 0, damaged: [] });
  });

  test('only reports with --dry-run', async () => {
    const path = store();
    corrupt(path, object(path, 3));
    const before = statSync(objectPath(path, object(path, 3)), { bigint: true }).ctimeNs;
    const { status, damaged } = await report('-n', path);
    expect(status).toBe(10);
    expect(damaged).toMatchObject([{ object: object(path, 3), kind: 'corrupt', repaired: false }]);
    expect(statSync(objectPath(path, object(path, 3)), { bigint: true }).ctimeNs).toBe(before);
  });

  test('remembers objects in quarantine until there is a good copy', async () => {
    const path = store();
    const digest = object(path, 7);
    corrupt(path, digest);
    expect(await report(path)).toMatchObject({ status: 10, damaged: [{ quarantined: `quarantine/${digest}` }] });
    expect(await report(path)).toMatchObject({ status: 10, damaged: [{ object: digest, kind: 'quarantined' }] });
    expect(await report('--repair-from', good, path)).toMatchObject({ status: 11, damaged: [{ from: good }] });
    expect(await report(path)).toMatchObject({ status: 0, quarantined: 1 });
    expectWhole(path);
  });

  test('packing again also repairs', async () => {
    const path = store();
    corrupt(path, object(path, 9));
    expect((await report(path)).status).toBe(10);
    await packed(scratch, ['--rehash', '--store', path, scratch.at('source'), scratch.at('again.cfs')]);
    expect((await report(path)).status).toBe(0);
  });

  test('fetches from the repositories of a mount', async () => {
    const path = store();
    const other = store();
    corrupt(path, object(path, 11));
    const mounted = await scratch.mount(scratch.at('image.cfs'), { repos: [path, other] });
    const { status, damaged } = await report('--repair-from', mounted.path, path);
    expect(status).toBe(11);
    expect(damaged).toMatchObject([{ from: other, repaired: true }]);
    await mounted.unmount();
  });

  test('does not report objects as damaged that were unregistered and deleted in the meantime', async () => {
    const source = manyFiles(scratch.at('given up'), 300, 300);
    const damaged: unknown[] = [];
    for (let milliseconds = 0; milliseconds < 120; milliseconds += 20) {
      const path = store();
      const { id } = await packed(scratch, ['--no-fsync', '--store', path, source, scratch.at(`given-up-${serial}`)]);
      await packed(scratch, ['--no-fsync', '--store', path, scratch.at('source'), scratch.at(`kept-${serial}`)]);
      const repository = openRepository(path);
      const checking = checkRepository(repository, { sources: [], threads: 2, dryRun: true });
      await sleep(milliseconds);
      unregisterImage(repository, id);
      await collectGarbage(repository, {
        keep: [],
        minAgeMs: 0,
        dryRun: false,
        keepNone: false,
        emptyQuarantine: false,
      });
      const { damaged: found, badRoots } = await checking;
      damaged.push(...found, ...badRoots);
    }
    expect(damaged).toEqual([]);
  });

  test('prints the table, and reports oddities', async () => {
    const path = store();
    const digest = object(path, 5);
    corrupt(path, digest);
    chmodSync(objectPath(path, object(path, 6)), 0o644);
    writeFileSync(join(path, 'objects/00/junk'), '');
    writeFileSync(join(path, 'thesis.tex'), '');
    rmSync(join(path, 'tmp'), { recursive: true });
    mkdirSync(join(path, 'cache'), { recursive: true });
    const { status, stdout } = await fsck('--repair-from', good, path);
    expect(status).toBe(11);
    const table = stdout.slice(stdout.indexOf('\n\n') + 2).split('\n');
    expect(table[0]).toMatch(/^object +problem +in +now$/);
    // the store has no registered image that could name a file
    const now = `repaired from ${good}; moved to quarantine/${digest}`;
    expect(table[1]).toBe(`${digest}  its content is corrupted      ${now}`);
    expect(stdout).toMatch(/^damaged {5}1, of these repaired 1$/m);
    expect(stdout).toMatch(/^thesis\.tex +it does not belong to a repository +left$/m);
    expect(stdout).toMatch(/^objects\/00\/junk +its name is not a digest +left$/m);
    expect(stdout).toMatch(/^objects\/.* +its mode is 0644 +mended$/m);
    expect(stdout).toMatch(/^tmp +it is missing +mended$/m);
  });

  test('checks a store that is only readable, and reports why it repairs nothing', async () => {
    const path = store();
    corrupt(path, object(path, 2));
    const args = ['fsck', '--json', path];
    const { status, stdout } = await run(scratch.nobody().tool('cfs-repo', args));
    expect(status).toBe(10);
    expect(JSON.parse(stdout)).toMatchObject({
      damaged: [{ repaired: false, hindrance: expect.stringContaining('permission denied') }],
    });
    expect(readFileSync(objectPath(path, object(path, 2))).length).toBeGreaterThan(0);
  });

  test('names the objects that it may not read', async () => {
    const path = store();
    chmodSync(objectPath(path, object(path, 2)), 0o400);
    const { status, stdout } = await run(scratch.nobody().tool('cfs-repo', ['fsck', '--json', path]));
    expect(status).toBe(10);
    expect(JSON.parse(stdout)).toMatchObject({
      damaged: [{ kind: 'unreadable', problem: 'it cannot be read: permission denied' }],
    });
  });

  test('loses nothing if the disk is full, and repairs when there is room', async () => {
    const path = await mountLoop(scratch.at('full'), 'ext4', 24);
    await succeed(['cp', '-a', `${good}/.`, path]);
    const digest = (await succeed(['sh', '-c', `cd ${path}/objects; find . -type f -size +1M`]))
      .trim()
      .slice(2)
      .replace('/', '');
    corrupt(path, digest);
    await run(['dd', 'if=/dev/zero', `of=${path}/filler`, 'bs=64k']);
    const full = await report('--repair-from', good, path);
    expect(full.status).toBe(10);
    expect(full.damaged).toMatchObject([
      { object: digest, hindrance: expect.stringContaining('no space left on device') },
    ]);
    expect(readdirSync(join(path, 'tmp'))).toEqual([]);
    rmSync(`${path}/filler`);
    expect((await report('--repair-from', good, path)).status).toBe(11);
    expect((await report(path)).status).toBe(0);
    await succeed(['umount', path]);
  });

  test('checks a store on a file system that is read-only', async () => {
    const path = await mountTmpfs(scratch.at('read-only'));
    await succeed(['cp', '-a', `${good}/.`, path]);
    corrupt(path, object(path, 1));
    await succeed(['mount', '-o', 'remount,ro', path]);
    expect(await report('--repair-from', good, path)).toMatchObject({
      status: 10,
      damaged: [{ hindrance: expect.stringContaining('read-only file system') }],
    });
    await succeed(['umount', path]);
  });

  test.each([
    [
      'a directory that is neither a repository nor a mount',
      '/var/tmp',
      1,
      'it is neither a repository nor a mount of an image',
    ],
    ['itself', 'itself', 1, 'and no other repository'],
  ])('refuses --repair-from %s', async (_what, from, expected, words) => {
    const outcome = await fsck('--repair-from', from === 'itself' ? good : from, good);
    expect(messageOf(outcome, expected, 'cfs-repo')).toContain(words);
  });

  test('refuses --repair-from a repository of another hash', async () => {
    await succeed([
      'env',
      process.execPath,
      'dist/tools/cfs-repo.js',
      'init',
      '--hash',
      'fsverity-sha256',
      scratch.at('verity'),
    ]);
    expect(messageOf(await fsck('--repair-from', scratch.at('verity'), good), 5, 'cfs-repo')).toContain(
      'names objects by',
    );
  });
});
